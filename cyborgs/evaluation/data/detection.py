"""Images with boxes and masks of objects: what detectors are trained and scored on."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cyborgs.common.errors import InputError
from cyborgs.common.files import sha256
from cyborgs.common.seeding import generator
from cyborgs.evaluation.data.packed import Packed
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.boxes import edges_of, require_agreement
from cyborgs.images.coco import with_slashes
from cyborgs.images.decoding import read_pixels, size_of
from cyborgs.images.outlines import Outline, brief, shown

Masks = NDArray[np.bool_]

# An image and its objects as torchvision's detectors take them, in NumPy's arrays: from a loader
# process, each tensor would take a file descriptor.
Example = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Annotated:
    """An image file and its objects.

    Attributes:
        path: the file.
        identity: number of the image, for scoring.
        boxes: float32 ``(n, 4)``: left, top, right and bottom edge, in pixels from the top left.
        labels: int64 ``(n,)``, from 1.
        ignored: bool ``(n,)``: VOC's difficult objects, COCO's crowds.
        size: height and width that the annotations give the image, where they do.
        outlines: of the masks of the objects, where they have some.
    """

    path: Path
    identity: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    size: tuple[int, int] | None = None
    outlines: tuple[Outline, ...] | None = None

    def check(self) -> None:
        """Find what training or scoring would find, but for pixels that cannot be decoded.

        Raises `InputError` where the annotations are of another image, or a mask cannot be read,
        or is not where its box is.
        """
        self.require_fit(size_of(self.path))
        if self.outlines is None:
            return
        for box, outline in zip(self.boxes.tolist(), self.outlines, strict=True):
            edges = outline.edges()
            try:
                require_agreement(box, edges, outline.height, outline.width)
            except ValueError as error:
                raise InputError(
                    f"annotations {outline.path}: {outline.annotation}, image "
                    f"{shown(outline.image)}: {error}"
                ) from None

    def require_fit(self, size: tuple[int, ...]) -> None:
        """Compare the image's height and width with those that its annotations take for granted.

        Boxes may lie outside by as much as they are rounded.  Raises `InputError`.
        """
        edges = self.boxes.max(0, initial=0)
        if self.size not in (None, size):
            told = f"its annotations {self.size[0]} x {self.size[1]}"
        elif edges[2] > size[1] + 1 or edges[3] > size[0] + 1:
            told = f"but an object that reaches to {edges[3]:g} x {edges[2]:g}"
        else:
            return
        raise InputError(
            f"image {shown(str(self.path))} has {size[0]} x {size[1]} pixels "
            f"(height x width, upright), {told}; use the annotations of these very images"
        )


@dataclass(frozen=True, eq=False)
class DetectionSet:
    """Annotated images.

    Attributes:
        images: in a fixed order.
        classes: names; label 1 is the first.
        digest: SHA-256 of the annotations and the sizes of the image files, in bytes.
        truth: that they are scored against, where they come from a COCO JSON.
    """

    images: Sequence[Annotated]
    classes: tuple[str, ...]
    digest: str
    truth: GroundTruth | None = None


def coco_objects(images: Path, annotations: Path) -> DetectionSet:
    """The annotated objects of a COCO instances JSON, all of whose images must be there.

    Raises `InputError` where a file is missing or damaged, a box is missing or lies outside of its
    image, an annotation has no mask, or two categories have one name.  Masks are decoded when they
    are asked for, and held against the boxes by `Annotated.check`.
    """
    truth = GroundTruth(annotations)
    classes = _classes(truth, annotations)
    found = Packed(_coco_images(truth, images, annotations))
    digest = hashlib.sha256(sha256(annotations).encode())
    for name in sorted(truth.names):
        digest.update(str(_file_of(images, name).stat().st_size).encode())
    return DetectionSet(found, classes, digest.hexdigest(), truth)


def _file_of(images: Path, name: str) -> Path:
    """The file of an image, whose name may have folders as Windows writes them."""
    if "\\" in name and not os.path.isfile(images / name):
        name = with_slashes(name)
    return images / name


def _classes(truth: GroundTruth, annotations: Path) -> tuple[str, ...]:
    """Names of the categories, in their order: results go by them."""
    ids: dict[str, int] = {}
    for category in truth.categories:
        name = category.get("name")
        if name is None:
            name = category["id"]
        if type(name) not in (str, int):
            raise InputError(
                f"annotations {annotations}: 'name' of category {category['id']} is {brief(name)}; "
                "give its name"
            )
        if str(name) in ids:
            raise InputError(
                f"annotations {annotations}: categories {ids[str(name)]} and {category['id']} are "
                f"both named {brief(name)}; give each its own name"
            )
        ids[str(name)] = category["id"]
    return tuple(ids)


def _coco_images(truth: GroundTruth, images: Path, annotations: Path) -> Iterator[Annotated]:
    numbers = {c["id"]: number for number, c in enumerate(truth.categories, start=1)}
    for name in sorted(truth.names):
        path = _file_of(images, name)
        if not (os.path.isfile(path) and os.access(path, os.R_OK)):
            raise InputError(
                f"image (of {annotations}) {images}/{shown(name)} does not exist or cannot be read"
            )
        identity, size, outlines = truth.image_id(name), truth.size(name), truth.outlines(name)
        if not isinstance(identity, int):
            raise InputError(
                f"annotations {annotations}: the id of image {shown(name)} is {brief(identity)}; "
                "number the images"
            )
        boxes, labels, ignored = [], [], []
        for annotation, outline in zip(truth.raw(name), outlines, strict=True):
            try:
                boxes.append(edges_of(annotation.get("bbox"), *size))
            except ValueError as error:
                raise InputError(
                    f"annotations {annotations}: {outline.annotation}: {error}"
                ) from None
            if not isinstance(outline.segmentation, list | dict):
                raise InputError(
                    f"annotations {annotations}: {outline.annotation} has no 'segmentation'; give "
                    "polygons, or run lengths"
                )
            labels.append(numbers[annotation["category_id"]])
            ignored.append(bool(annotation.get("iscrowd", 0)))
        yield Annotated(
            path=path,
            identity=identity,
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            labels=np.array(labels, np.int64),
            ignored=np.array(ignored, bool),
            size=size,
            outlines=outlines,
        )


class TrainingExamples(Dataset[Example | InputError]):
    """Examples by ``(epoch, position)``, each mirrored or not by the seed, epoch and position.

    An example is a dict: ``image`` uint8 ``(height, width, 3)``, ``boxes`` float32 ``(n, 4)``,
    ``labels`` int64 ``(n,)``, ``masks`` uint8 ``(n, height, width)`` where there are any, and
    ``name``, the file.  Bad input comes back as the `InputError` itself.

    Args:
        images: annotated images.
        seed: of the mirroring.
        ignored: whether ignored objects are trained on too, as is usual for VOC's difficult ones.
    """

    def __init__(self, images: DetectionSet, seed: int, ignored: bool) -> None:
        self._ignored = ignored
        self._seed = seed
        self._images = images.images
        kept = [number for number, image in enumerate(self._images) if self._chosen(image).any()]
        if not kept:
            raise InputError("no image for training has an object; is this the right data set?")
        self._positions = np.array(kept)

    def __len__(self) -> int:
        return len(self._positions)

    def _chosen(self, image: Annotated) -> NDArray[np.bool_]:
        width, height = (image.boxes[:, 2:] - image.boxes[:, :2]).T
        # A thinner box could vanish when mirrored: float32 coordinates have seven digits.
        chosen = (width > 1e-3) & (height > 1e-3)
        return chosen if self._ignored else chosen & ~image.ignored

    def __getitem__(self, key: tuple[int, int]) -> Example | InputError:
        try:
            return self._example(*key)
        except InputError as error:
            return error

    def _example(self, epoch: int, position: int) -> Example:
        image = self._images[self._positions[position]]
        pixels = read_pixels(image.path)
        image.require_fit(pixels.shape[:2])
        chosen = self._chosen(image)
        boxes = image.boxes[chosen]
        masks = None
        if image.outlines is not None:
            masks = np.stack([image.outlines[i].mask() for i in np.flatnonzero(chosen)])
        if generator(self._seed, "mirror", epoch, position).random() < 0.5:
            pixels = pixels[:, ::-1]
            boxes = np.stack(
                [
                    pixels.shape[1] - boxes[:, 2],
                    boxes[:, 1],
                    pixels.shape[1] - boxes[:, 0],
                    boxes[:, 3],
                ],
                axis=1,
            )
            masks = None if masks is None else masks[:, :, ::-1]
        example = {
            "image": np.ascontiguousarray(pixels),
            "boxes": np.ascontiguousarray(boxes),
            "labels": image.labels[chosen],
            "name": str(image.path),
        }
        if masks is not None:
            example["masks"] = np.ascontiguousarray(masks).astype(np.uint8)
        return example


class TestImages(Dataset[Example | InputError]):
    """Every so many-th image: ``image`` uint8 ``(height, width, 3)`` and ``position``."""

    # Not a class of tests, whatever pytest takes it for.
    __test__ = False

    def __init__(self, images: DetectionSet, rank: int, ranks: int) -> None:
        self._images = images.images
        self._positions = range(rank, len(images.images), ranks)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, number: int) -> Example | InputError:
        position = self._positions[number]
        image = self._images[position]
        try:
            pixels = read_pixels(image.path)
            image.require_fit(pixels.shape[:2])
        except InputError as error:
            return error
        return {"image": pixels, "position": position}
