"""Ground truth: the instances that a COCO instances JSON gives for an image.

Masks are decoded by pycocotools.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from cyborgs.common.errors import InputError
from cyborgs.common.seeding import generator
from cyborgs.images.boxes import edges_of
from cyborgs.images.coco import read_coco, with_slashes
from cyborgs.images.decoding import Entry, upright
from cyborgs.images.index import Index
from cyborgs.images.outlines import Outline, brief, shown

# pycocotools leaves out what is larger, in pixels.
_LARGEST_AREA = 10**10

# Share of objects whose outlines may enclose no pixel before scoring asks what they are.
_EMPTY = 0.1


@dataclass(frozen=True, eq=False)
class Instances:
    """The annotated instances of one image; they may overlap.

    Attributes:
        masks: bool ``(n, height, width)``, one an instance.
        categories: int64 ``(n,)``, category id of each instance.
        ignore: bool ``(height, width)``, pixels that no measurement should count: they belong
            to some objects, but to which is not annotated.
    """

    masks: NDArray[np.bool_]
    categories: NDArray[np.int64]
    ignore: NDArray[np.bool_]

    def label_map(self) -> NDArray[np.int32]:
        """One instance a pixel: ``(height, width)``, 1 + its number, 0 where there is none.

        Where instances overlap the one of fewer pixels wins, so that what lies in front of or
        on something larger stays visible; of equal ones the first wins.
        """
        areas = [int(np.count_nonzero(mask)) for mask in self.masks]
        return paint(areas, self.masks.__getitem__, self.ignore.shape)

    def category_map(self) -> NDArray[np.int32]:
        """Category id of every pixel, ``(height, width)``, 0 where there is no instance.

        Overlaps are resolved as by `label_map`.  Raises `InputError` where a category id is
        not positive, as 0 would be taken for background.
        """
        if (self.categories < 1).any():
            raise InputError(
                f"category id {self.categories.min()} cannot be told from background; number the "
                "categories from 1"
            )
        lookup = np.concatenate([[0], self.categories]).astype(np.int32)
        return lookup[self.label_map()]


def paint(
    areas: Sequence[int], mask: Callable[[int], NDArray[np.bool_]], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """One region a pixel: int32 of a shape, 1 + its number, 0 where there is none.

    Where regions overlap the one of smaller area wins, of equal ones the first.

    Args:
        areas: of the regions.
        mask: gives the mask of a region by its number, bool of that shape; asked for once each.
        shape: of the masks.
    """
    labels = np.zeros(shape, dtype=np.int32)
    # Later ones paint over earlier ones; the stable sort keeps equal areas in order.
    for number in np.argsort(areas, kind="stable")[::-1]:
        labels[mask(number)] = 1 + number
    return labels


class GroundTruth:
    """The annotations of a set of images, from a COCO instances JSON.

    An image goes by its ``file_name``: its path below the images folder, with ``/`` between
    folders; with ``\\`` between them, it is found by either.

    Args:
        path: of the JSON.
        images: another COCO JSON, which lists the images, where that one is a list of results.

    Raises:
        InputError: the file cannot be used, as `read_coco` has it.
    """

    def __init__(self, path: Path, images: Path | None = None) -> None:
        self._file = read_coco(path, images)
        self._named = dict(self._file.images)
        for name, image in self._file.images.items():
            if "\\" in name:
                self._named.setdefault(with_slashes(name), image)

    @property
    def names(self) -> Set[str]:
        """Names of the images that the annotations know, as the file has them."""
        return self._file.images.keys()

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The categories, as the file gives them; their ids are whole numbers, each its own."""
        return list(self._file.categories)

    @property
    def numbered(self) -> bool:
        """Whether each annotation has a positive whole number of its own for an id."""
        return self._file.numbered

    @property
    def orphaned(self) -> list[str]:
        """Annotations whose ``image_id`` is that of no image, as messages name them."""
        return [self._file.label(place) for place in self._file.orphaned]

    def image_id(self, name: str) -> int | str:
        """The id of an image.  Raises `KeyError` where the annotations do not know it."""
        identity: int | str = self._named[name]["id"]
        return identity

    def size(self, name: str) -> tuple[int, int]:
        """Height and width that the file gives an image."""
        image = self._named[name]
        return image["height"], image["width"]

    def __contains__(self, name: str) -> bool:
        return name in self._named

    def instances(self, entry: Entry) -> Instances:
        """The instances of an image, in the order of their annotation ids.

        Annotations without a pixel in the image are left out.  Pixels of crowd regions
        (``iscrowd`` 1) that no instance covers are ignored.

        Annotations of an image that EXIF turns are taken for those of the upright picture, which
        annotators are shown, or of the stored pixels where they give their height and width.

        Args:
            entry: the image in its index.

        Raises:
            KeyError: the annotations do not know the image.
            InputError: they give another size for it, or a mask that cannot be decoded.
        """
        masks: list[NDArray[np.bool_]] = []
        categories: list[int] = []
        crowd = np.zeros((entry.height, entry.width), dtype=bool)
        for annotation, _, mask in self.annotated(entry):
            if annotation.get("iscrowd", 0):
                crowd |= mask
            elif mask.any():
                masks.append(mask)
                categories.append(annotation["category_id"])
        stacked = np.zeros((len(masks), *crowd.shape), dtype=bool)
        for number, mask in enumerate(masks):
            stacked[number] = mask
        return Instances(
            masks=stacked,
            categories=np.array(categories, dtype=np.int64),
            ignore=crowd & ~stacked.any(axis=0),
        )

    def annotated(
        self, entry: Entry
    ) -> Iterator[tuple[dict[str, Any], Outline, NDArray[np.bool_]]]:
        """Each annotation of an image, in the order of their ids, its outline and its mask.

        Masks are bool ``(height, width)``, upright; crowd regions are among them.  Raises as
        `instances` does.
        """
        name, height, width = entry.name, entry.height, entry.width
        size = self.size(name)
        orientation = 1
        if entry.orientation >= 5 and height != width and size == (width, height):
            orientation, height, width = entry.orientation, width, height
        if size != (height, width):
            raise InputError(
                f"annotations {self._file.path}: image {shown(name)} has {size[0]} x {size[1]} "
                f"pixels (height x width) there, but its file has {height} x {width}; use the "
                "annotations of these very images"
            )
        for annotation, outline in zip(self.raw(name), self.outlines(name), strict=True):
            yield annotation, outline, upright(outline.mask(), orientation)

    def raw(self, name: str) -> list[dict[str, Any]]:
        """The annotations of an image, in the order of their ids.

        As the file has them, but that ``image_id``, ``category_id`` and ``iscrowd`` are whole
        numbers (an image's id may be text).  Those without an id come last; they, and those of
        equal ids, are in the file's order.
        """
        return [self._file.annotations[place] for place in self._places(name)]

    def outlines(self, name: str) -> tuple[Outline, ...]:
        """The masks of an image's annotations, in the order of `raw`, not decoded yet."""
        size = self.size(name)
        return tuple(
            Outline(
                self._file.path,
                name,
                self._file.label(place),
                self._file.annotations[place].get("segmentation"),
                *size,
            )
            for place in self._places(name)
        )

    def _places(self, name: str) -> list[int]:
        return self._file.of_image[self.image_id(name)]

    def for_scoring(self) -> COCO:
        """The annotations as pycocotools scores against them.

        It asks for more than this class, and finds objects by their ids, of which 0 means that
        nothing was found: they are numbered from 1.  Areas that are missing are those of the
        masks, which are run lengths.  Annotations of images that the file does not have are left
        out.

        Raises `InputError` where a mask cannot be decoded, a box lies outside of its image, an
        area is no number of pixels, or most objects would have no pixel.
        """
        found: list[dict[str, Any]] = []
        objects = empty = 0
        largest = pixels = 0.0
        for name in self.names:
            for annotation, outline in zip(self.raw(name), self.outlines(name), strict=True):
                code = outline.run_lengths()
                drawn = int(run_lengths.area(code))
                area = self._area(annotation, outline, drawn)
                if annotation.get("area") is not None:
                    largest, pixels = max(largest, area), max(pixels, drawn)
                if not annotation.get("iscrowd", 0):
                    objects += 1
                    empty += drawn == 0
                found.append(
                    {
                        "id": len(found) + 1,
                        "image_id": annotation["image_id"],
                        "category_id": annotation["category_id"],
                        "iscrowd": annotation.get("iscrowd", 0),
                        "area": area,
                        "bbox": self._bbox(annotation, outline),
                        "segmentation": code,
                    }
                )
        if empty > _EMPTY * objects:
            raise InputError(
                f"annotations {self._file.path}: the outlines of {empty} of {objects} objects "
                "enclose no pixel; masks cannot be scored with these annotations"
            )
        if largest <= 1 < pixels:
            raise InputError(
                f"annotations {self._file.path}: no 'area' is larger than {largest:g}, but masks "
                f"have up to {pixels:g} pixels; give numbers of pixels, or leave them out"
            )
        scored = COCO()
        scored.dataset = {
            "images": list(self._file.images.values()),
            "annotations": found,
            "categories": self._file.categories,
        }
        # It reports its progress on standard output.
        with contextlib.redirect_stdout(io.StringIO()):
            scored.createIndex()
        return scored

    def _area(self, annotation: dict[str, Any], outline: Outline, drawn: int) -> float:
        area = annotation.get("area")
        if area is None:
            return float(drawn)
        if type(area) in (int, float) and 0 <= area <= _LARGEST_AREA:
            return float(area)
        raise InputError(
            f"annotations {self._file.path}: 'area' of {outline.annotation} is {brief(area)}; "
            "give a number of pixels, or leave it out"
        )

    def _bbox(self, annotation: dict[str, Any], outline: Outline) -> list[float]:
        bbox: list[float] = annotation.get("bbox")  # type: ignore[assignment]
        try:
            edges_of(bbox, outline.height, outline.width)
        except ValueError as error:
            raise InputError(
                f"annotations {self._file.path}: {outline.annotation}: {error}"
            ) from None
        return bbox


def draw_annotated(index: Index, truth: GroundTruth, most: int, purpose: str) -> NDArray[np.int64]:
    """Positions of annotated images of an index, at most so many, drawn at random; rising.

    The same for every seed of a run, and every backbone.
    """
    annotated = np.array([p for p in range(len(index)) if index[p].name in truth], np.int64)
    return np.sort(generator(0, purpose).permutation(annotated)[:most])
