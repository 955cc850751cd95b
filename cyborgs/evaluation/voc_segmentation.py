"""VOC12 segmentation: classifying pixels by a linear layer on frozen features.

Trained on VOC2012's 1,464 annotated images of ``train`` and scored on its 1,449 of ``val``, at full
size, by the mean IoU of the 20 classes and the background (Everingham et al., 2015, section 2.3).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file
from cyborgs.common.progress import track
from cyborgs.evaluation.kinds import Given, Measured, OnDatasets
from cyborgs.evaluation.settings import Backbones, Evaluated, Layers, Locations, PixelCost
from cyborgs.models.backbones import stages_named

# Inside functions as well: whoever reads the configuration does not wait for these.
if TYPE_CHECKING:
    from cyborgs.evaluation.pixels import Labelled, Labels, Pixels

# Number of a mask's pixels to class.
CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip

# Borders of objects, and what is too hard to tell: no measurement counts it.
_VOID = 255

_AGAIN = "fetch PASCAL VOC again"


class VocSegmentation(Evaluated):
    """VOC12 segmentation: classification of pixels by a linear layer on frozen features."""

    backbones: Backbones = Field(["random", "last"])
    short_side: int = Field(
        512,
        ge=32,
        description="larger images are shrunk to this short side, in pixels; VOC2012 has none",
    )
    layers: Layers = None
    locations: Locations = 64
    cost: PixelCost = 1.0


def fits(settings: VocSegmentation, architecture: str) -> None:
    """Raise `InputError` where the architecture has no such layers."""
    stages_named(architecture, settings.layers, "downstream.voc_segmentation.layers")


def measure(given: Given[VocSegmentation, Path]) -> Measured:
    """Fit on ``train`` of ``VOC2012``, score on its ``val``.

    Seeds differ in the locations that are drawn, and in random weights.  The mean IoU is over the
    classes that the test images show or are taken for: all 21 of VOC2012.  A row also has
    ``classes``, the IoU of each.

    Raises `InputError` where data are missing, damaged, or too little.
    """
    from cyborgs.common.ahead import in_order
    from cyborgs.evaluation.data.voc import voc_images
    from cyborgs.evaluation.pixels import accuracy, evaluate, ious

    root = given.data / "VOC2012"
    splits = {split: voc_images(root, split, "Segmentation") for split in ("train", "val")}
    digests = {split: _digest(root, names) for split, names in splits.items()}

    def images(split: str) -> Iterator[Labelled]:
        names = splits[split]
        # Threads are enough: OpenCV decodes without Python's lock.
        read = in_order(partial(_read, root), names, max(1, given.compute.workers))
        tracked = track(read, len(names), f"voc_segmentation, {split}", "images")
        for number, (image, labels) in enumerate(tracked):
            yield number, image, labels

    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        pairs = evaluate(
            given.source.load(seed),
            images("train"),
            images("val"),
            settings=given.settings,
            seed=seed,
            device=given.device,
            section="downstream.voc_segmentation",
        )
        found = {CLASSES[number]: iou for number, iou in sorted(ious(pairs).items())}
        rows.append(
            {
                "seed": seed,
                "train": len(splits["train"]),
                "test": len(splits["val"]),
                "miou": sum(found.values()) / len(found),
                "accuracy": accuracy(pairs),
                "classes": found,
            }
        )
    return Measured(rows, digests, len(CLASSES))


def _digest(root: Path, names: Sequence[str]) -> str:
    """SHA-256 of the masks and of the sizes of the image files; each pair is checked."""
    from cyborgs.images.decoding import size_of

    digest = hashlib.sha256()
    for name in names:
        image, mask = _files(root, name)
        content = require_file(mask, "mask").read_bytes()
        digest.update(content)
        digest.update(str(require_file(image, "image").stat().st_size).encode())
        labels = _labels(mask, content)
        height, width = size_of(image)
        if labels.shape != (height, width):
            raise InputError(
                f"mask {mask} has {labels.shape[0]} x {labels.shape[1]} pixels, but its image "
                f"{height} x {width}; {_AGAIN}"
            )
    return digest.hexdigest()


def _read(root: Path, name: str) -> tuple[Pixels, Labels]:
    from cyborgs.images.decoding import read_pixels

    image, mask = _files(root, name)
    return read_pixels(image), _labels(mask, mask.read_bytes())


def _files(root: Path, name: str) -> tuple[Path, Path]:
    return root / f"JPEGImages/{name}.jpg", root / f"SegmentationClass/{name}.png"


def _labels(path: Path, content: bytes) -> Labels:
    """The class of every pixel; those of the void are `cyborgs.evaluation.pixels.IGNORED`."""
    import numpy as np
    from PIL import Image

    from cyborgs.evaluation.pixels import IGNORED

    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, numbers = image.mode, np.array(image)
    except Exception as error:  # Pillow raises many types
        raise InputError(f"mask {path} cannot be decoded ({error}); {_AGAIN}") from None
    if mode not in ("P", "L"):
        raise InputError(
            f"mask {path} has colours ({mode}), not numbers of classes as PASCAL VOC's; {_AGAIN}"
        )
    labels = np.where(numbers == _VOID, IGNORED, numbers.astype(np.int32))
    if labels.max() >= len(CLASSES):
        raise InputError(
            f"mask {path}: class {labels.max()}, but VOC2012 has 0 … {len(CLASSES) - 1}, and "
            f"{_VOID} for void; {_AGAIN}"
        )
    return labels


VOC_SEGMENTATION = OnDatasets(
    name="voc_segmentation",
    title="VOC12 segmentation: linear classification of pixels, frozen features",
    about="VOC12 segmentation: classify pixels linearly on frozen features",
    metrics={"miou": "mIoU", "accuracy": "pixels"},
    headline="miou",
    settings=VocSegmentation(),
    version=1,
    needed=(
        "VOC2012/ImageSets/Segmentation/train.txt",
        "VOC2012/ImageSets/Segmentation/val.txt",
        "VOC2012/JPEGImages",
        "VOC2012/SegmentationClass",
    ),
    fits=fits,
    measure=measure,
)
