"""Classifying pixels of a run's own images by a linear layer on frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.files import sha256
from cyborgs.common.progress import track
from cyborgs.evaluation.kinds import Given, Measured, OnOwnImages, OwnImages
from cyborgs.evaluation.settings import (
    Backbones,
    Evaluated,
    Layers,
    Locations,
    PixelCost,
    Share,
)
from cyborgs.models.backbones import stages_named

# Inside functions as well: whoever reads the configuration does not wait for these.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cyborgs.evaluation.pixels import Labelled


class Segmentation(Evaluated):
    """Probe: classification of pixels by a linear layer on frozen features."""

    backbones: Backbones = Field(["random", "rounds"])
    images: int = Field(500, ge=2, description="annotated images, drawn at random, at most")
    short_side: int = Field(
        224, ge=32, description="larger images are shrunk to this short side, in pixels"
    )
    layers: Layers = None
    locations: Locations = 64
    test: Share = Field(0.3, description="share of the images used for testing")
    cost: PixelCost = 1.0


def fits(settings: Segmentation, architecture: str) -> None:
    """Raise `InputError` where the architecture has no such layers."""
    stages_named(architecture, settings.layers, "downstream.segmentation.layers")


def measure(given: Given[Segmentation, OwnImages]) -> Measured:
    """Classify the pixels of annotated images, with as many splits as seeds.

    Raises `InputError` where input is missing or does not fit.
    """
    from cyborgs.evaluation.pixels import IGNORED, evaluate, miou
    from cyborgs.images.annotations import GroundTruth, draw_annotated
    from cyborgs.images.decoding import decode
    from cyborgs.images.index import read_index

    settings, data = given.settings, given.data
    index, truth = read_index(data.index), GroundTruth(data.annotations)
    positions = draw_annotated(index, truth, settings.images, "segmentation")
    if len(positions) < 2:
        raise InputError(
            f"annotations {data.annotations}: only {len(positions)} of these images are listed; "
            "two are needed, do the annotations belong to the images?"
        )

    def read(positions: Sequence[int]) -> Iterator[Labelled]:
        for position in positions:
            entry = index[position]
            instances = truth.instances(entry)
            try:
                labels = instances.category_map()
            except InputError as error:
                raise InputError(
                    f"annotations {data.annotations}: image {entry.name}: {error}"
                ) from None
            labels[instances.ignore] = IGNORED
            yield position, decode(data.folder, entry), labels

    rows = []
    for seed in track(range(given.seeds), given.seeds, "segmentation", "seeds"):
        train, test = split(positions, settings.test, seed)
        pairs = evaluate(
            given.source.load(seed),
            read(train),
            read(test),
            settings=settings,
            seed=seed,
            device=given.device,
            section="downstream.segmentation",
        )
        rows.append({"seed": seed, "train": len(train), "test": len(test), **miou(pairs)})
    inputs = {"index": index.digest, "annotations": sha256(data.annotations)}
    # Background is one.
    return Measured(rows, inputs, 1 + len(truth.categories))


def split(positions: NDArray[np.int64], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Images for training and for testing, at least one each."""
    from cyborgs.common.seeding import generator

    order = generator(seed, "segmentation").permutation(positions)
    test = min(max(1, round(share * len(order))), len(order) - 1)
    return [int(p) for p in order[test:]], [int(p) for p in order[:test]]


SEGMENTATION = OnOwnImages(
    name="segmentation",
    title="Segmentation: linear classification of pixels, frozen features",
    about="classify pixels linearly on frozen features",
    metrics={"miou": "mIoU", "accuracy": "pixels"},
    headline="miou",
    settings=Segmentation(),
    version=1,
    fits=fits,
    measure=measure,
)
