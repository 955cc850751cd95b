"""Stage `seed masks`: the masks of round 0."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cyborgs.config import (
    Config,
    FelzenszwalbSeed,
    FileSeed,
    GlobalSeed,
    GridSeed,
    GroundTruthSeed,
)
from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import Entry, decode
from cyborgs.data.index import read_index
from cyborgs.errors import BadImageError, InputError
from cyborgs.files import require_file, sha256
from cyborgs.masks import seeds
from cyborgs.masks.groups import groups_of, groups_of_shard
from cyborgs.masks.shards import Header, Masks, write_shard
from cyborgs.progress import say, track
from cyborgs.stages.provenance import provenance

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
) -> None:
    """Write a shard of the masks of round 0.

    Seed masks of kind `features` are made by the stage `bootstrap`, from the state of round 0.

    Args:
        config: uses `seed`, `shards`, `seed_masks` and `bootstrap.group`.
        images: folder of the images.
        index_path: their index.
        out: the shard to write.
        shard: which, from 0.
        annotations: COCO instances JSON, for the kind `ground-truth`.
        on_bad_image: "error", or "skip" to list an image that cannot be decoded in the shard.

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
        given = Masks(settings.masks, index)
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
        "seed-masks",
        {"seed": config.seed, "seed_masks": settings.model_dump(exclude={"masks"})},
        inputs,
    )
    header = Header(0, stride, shard, config.shards, index.digest, record)
    with write_shard(out, header) as writer:
        for position in track(positions, len(positions), "seed masks", "images"):
            entry = index[position]
            try:
                labels = label(position, entry)
            except BadImageError as error:
                if on_bad_image == "error":
                    raise
                writer.skip(position, entry, str(error))
                say(f"seed: left out: {error}")
                continue
            writer.add(position, entry, labels, -1, len(np.unique(labels)))
    say(f"seed: masks of {len(writer)} images in {out}")


def _reader(given: Masks) -> Label:
    def read(position: int, _: Entry) -> Labels:
        if position in given.skipped:
            raise BadImageError(given.skipped[position])
        return given.read(position)

    return read


def _given(annotations: Path | None) -> Path:
    if annotations is None:
        raise InputError("seed_masks.kind: 'ground-truth' needs --annotations")
    return require_file(annotations, "annotations")


def _labeller(
    settings: FelzenszwalbSeed | GridSeed | GlobalSeed | GroundTruthSeed,
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
    return lambda _, e: seeds.felzenszwalb(decode(images, e), **options)
