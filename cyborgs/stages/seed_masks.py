"""Stage `seed masks`: the masks of round 0."""

from pathlib import Path

import numpy as np

from cyborgs.common.ahead import in_order
from cyborgs.common.errors import BadImageError, InputError
from cyborgs.common.progress import say, track
from cyborgs.config import Config
from cyborgs.images.decoding import Entry
from cyborgs.images.index import read_index
from cyborgs.mask_methods.method import MaskMethod
from cyborgs.masks.formats import storable
from cyborgs.masks.groups import groups_of, groups_of_shard
from cyborgs.masks.shards import Header, Labels, write_shard
from cyborgs.run.provenance import provenance
from cyborgs.runtime.memory import available_memory


def run(
    config: Config,
    *,
    images: Path,
    index_path: Path,
    out: Path,
    shard: int,
    annotations: Path | None = None,
    on_bad_image: str = "error",
    threads: int = 1,
) -> None:
    """Write a shard of the masks of round 0.

    Masks of a method that needs a state are made by the stage `bootstrap`, from that of round 0.
    The labels depend neither on the number of shards nor on that of threads.

    Args:
        config: uses `seed`, `shards`, `seed_masks` and `bootstrap.group`.
        images: folder of the images.
        index_path: their index.
        out: the shard to write.
        shard: which, from 0.
        annotations: COCO instances JSON, for a method that needs it.
        on_bad_image: "error", or "skip" to list an image that cannot be decoded in the shard.
        threads: images segmented at a time, fewer where memory does not allow as many
            (scikit-image leaves Python to the others while it segments).

    Raises:
        InputError: input that is missing or does not fit, by name.
    """
    index = read_index(index_path)
    method = config.seed_masks
    if method.from_state:
        raise InputError(
            f"seed_masks.kind: {method.kind!r} masks are made by `cyborgs bootstrap --round 0`"
        )
    labeller = method.labeller(images, index, annotations)
    groups = groups_of(len(index), config.bootstrap.group, config.seed)
    mine = groups_of_shard(len(groups), shard, config.shards)
    positions = [int(p) for g in mine for p in groups[g]]
    record = provenance(
        method.STAGE,
        {"seed": config.seed, "seed_masks": method.model_dump(exclude={"masks"})},
        {"index": index.digest, **labeller.inputs},
    )
    header = Header(0, labeller.stride, shard, config.shards, index.digest, record)

    def made(position: int) -> Labels | BadImageError:
        entry = index[position]
        try:
            return storable(labeller.label(position, entry), f"seed masks: image {entry.name}")
        except BadImageError as error:
            if on_bad_image == "error":
                raise
            return error

    # Otherwise there is nothing to compute, and HDF5 lets no two threads read.
    threads = _fitting(threads, [index[p] for p in positions], method) if method.threaded else 1
    with write_shard(out, header) as writer:
        found = in_order(made, positions, threads, ahead=2 * threads)
        told = track(found, len(positions), "seed masks", "images")
        for position, labels in zip(positions, told, strict=True):
            entry = index[position]
            if isinstance(labels, BadImageError):
                writer.skip(position, entry, str(labels))
                say(f"seed: left out: {labels}")
            else:
                writer.add(position, entry, labels, group=-1, clusters=len(np.unique(labels)))
    say(f"seed: masks of {len(writer)} images in {out}")


def _fitting(threads: int, entries: list[Entry], method: MaskMethod) -> int:
    """How many images can be segmented at a time, ``threads`` at most.

    Raises `InputError` where memory does not hold the largest one.
    """

    def needed(entry: Entry) -> int:
        return method.memory_needed(entry.height, entry.width)

    largest = max(entries, key=needed)
    need, free = needed(largest), available_memory()
    if free is None:
        return threads
    if need > free:
        raise InputError(
            f"image {largest.name}: {largest.height} x {largest.width} pixels take about "
            f"{need / 1e9:.1f} GB of memory to segment, {free / 1e9:.1f} GB are free; give the job "
            "more, or set seed_masks.short_side"
        )
    return min(threads, free // need)
