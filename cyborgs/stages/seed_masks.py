"""Stage `seed masks`: the masks of round 0."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cyborgs.ahead import in_order
from cyborgs.config import (
    Config,
    FelzenszwalbSeed,
    FileSeed,
    GlobalSeed,
    GridSeed,
    GroundTruthSeed,
    SlicSeed,
)
from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import Entry, decode
from cyborgs.data.index import read_index
from cyborgs.errors import BadImageError, InputError
from cyborgs.files import require_file, sha256
from cyborgs.masks import seeds
from cyborgs.masks.formats import storable
from cyborgs.masks.given import GivenMasks
from cyborgs.masks.groups import groups_of, groups_of_shard
from cyborgs.masks.shards import Header, write_shard
from cyborgs.memory import available_memory
from cyborgs.progress import say, track
from cyborgs.stages.provenance import provenance, seed_masks_stage

Labels = NDArray[np.integer]
Label: TypeAlias = Callable[[int, Entry], Labels]


def run(
    config: Config,
    images: Path,
    index_path: Path,
    out: Path,
    shard: int,
    annotations: Path | None = None,
    on_bad_image: str = "error",
    threads: int = 1,
) -> None:
    """Write a shard of the masks of round 0.

    Seed masks of kind `features` are made by the stage `bootstrap`, from the state of round 0.
    The labels depend neither on the number of shards nor on that of threads.

    Args:
        config: uses `seed`, `shards`, `seed_masks` and `bootstrap.group`.
        images: folder of the images.
        index_path: their index.
        out: the shard to write.
        shard: which, from 0.
        annotations: COCO instances JSON, for the kind `ground-truth`.
        on_bad_image: "error", or "skip" to list an image that cannot be decoded in the shard.
        threads: images segmented at a time, fewer where memory does not allow as many
            (scikit-image leaves Python to the others while it segments).

    Raises:
        InputError: input that is missing or does not fit, by name.
    """
    index = read_index(index_path)
    settings = config.seed_masks
    if settings.kind == "features":
        raise InputError(
            "seed_masks.kind: 'features' masks are made by `cyborgs bootstrap --round 0`"
        )
    inputs = {"index": index.digest}
    if isinstance(settings, FileSeed):
        given = GivenMasks(settings.masks, index)
        if given.resampled:
            say("seed: the given masks are of the same pictures at another size, and are resampled")
        inputs["masks"] = given.digest
        stride = given.stride
        label: Label = _reader(given)
    else:
        stride = settings.stride
        if isinstance(settings, GroundTruthSeed):
            inputs["annotations"] = sha256(_given(annotations))
        label = _labeller(settings, images, annotations)
    groups = groups_of(len(index), config.bootstrap.group, config.seed)
    mine = groups_of_shard(len(groups), shard, config.shards)
    positions = [int(p) for g in mine for p in groups[g]]
    record = provenance(
        seed_masks_stage(settings.kind),
        {"seed": config.seed, "seed_masks": settings.model_dump(exclude={"masks"})},
        inputs,
    )
    header = Header(0, stride, shard, config.shards, index.digest, record)

    def made(position: int) -> Labels | BadImageError:
        entry = index[position]
        try:
            return storable(label(position, entry), f"seed masks: image {entry.name}")
        except BadImageError as error:
            if on_bad_image == "error":
                raise
            return error

    if isinstance(settings, FelzenszwalbSeed | SlicSeed):
        threads = _fitting(threads, [index[p] for p in positions], settings)
    else:
        # Nothing to compute, and HDF5 lets no two threads read.
        threads = 1
    with write_shard(out, header) as writer:
        found = in_order(made, positions, threads, ahead=2 * threads)
        told = track(found, len(positions), "seed masks", "images")
        for position, labels in zip(positions, told, strict=True):
            entry = index[position]
            if isinstance(labels, BadImageError):
                writer.skip(position, entry, str(labels))
                say(f"seed: left out: {labels}")
            else:
                writer.add(position, entry, labels, -1, len(np.unique(labels)))
    say(f"seed: masks of {len(writer)} images in {out}")


def _fitting(threads: int, entries: list[Entry], settings: FelzenszwalbSeed | SlicSeed) -> int:
    """How many images can be segmented at a time, ``threads`` at most.

    Raises `InputError` where memory does not hold the largest one.
    """

    def needed(entry: Entry) -> int:
        return seeds.memory_needed(settings.kind, entry.height, entry.width, settings.short_side)

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


def _reader(given: GivenMasks) -> Label:
    def read(position: int, entry: Entry) -> Labels:
        if position in given.skipped:
            raise BadImageError(given.skipped[position])
        return given.read(position, entry)

    return read


def _given(annotations: Path | None) -> Path:
    if annotations is None:
        raise InputError("seed_masks.kind: 'ground-truth' needs --annotations")
    return require_file(annotations, "annotations")


def _labeller(
    settings: FelzenszwalbSeed | SlicSeed | GridSeed | GlobalSeed | GroundTruthSeed,
    images: Path,
    annotations: Path | None,
) -> Label:
    """The function that makes the labels of an image at a position of the index."""
    stride = settings.stride
    if isinstance(settings, GridSeed):
        cells = settings.cells
        return lambda _, e: seeds.grid(e.height, e.width, cells=cells, stride=stride)
    if isinstance(settings, GlobalSeed):
        return lambda _, e: seeds.one(e.height, e.width, stride=stride)
    if isinstance(settings, GroundTruthSeed):
        truth = GroundTruth(_given(annotations))
        return lambda _, e: seeds.annotated(truth, e, stride=stride)
    options = settings.model_dump(exclude={"kind"})
    if isinstance(settings, SlicSeed):
        return lambda _, e: seeds.slic(decode(images, e), **options)
    return lambda _, e: seeds.felzenszwalb(decode(images, e), **options)
