"""Ground truth: the instances that a COCO instances JSON gives for an image.

The format is described at https://cocodataset.org/#format-data; masks are decoded by
pycocotools.
"""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

from cyborgs.data.decoding import Entry, upright
from cyborgs.data.index import Index
from cyborgs.errors import InputError
from cyborgs.files import require_file
from cyborgs.seeding import generator

# Keys an entry of each list must have, and the types of their values.
_REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "images": {"id": (int, str), "file_name": str, "height": int, "width": int},
    "annotations": {"id": int, "image_id": (int, str), "category_id": int},
    "categories": {"id": int},
}


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
        areas = [np.count_nonzero(mask) for mask in self.masks]
        labels = np.zeros(self.ignore.shape, dtype=np.int32)
        # Later ones paint over earlier ones; the stable sort keeps equal areas in order.
        for number in np.argsort(areas, kind="stable")[::-1]:
            labels[self.masks[number]] = 1 + number
        return labels

    def category_map(self) -> NDArray[np.int32]:
        """Category id of every pixel, ``(height, width)``, 0 where there is no instance.

        Overlaps are resolved as by `label_map`.  Raises `InputError` where a category id is
        not positive, as 0 would be taken for background.
        """
        if (self.categories < 1).any():
            raise InputError(
                f"annotations: category id {self.categories.min()} cannot be told from "
                "background; number the categories from 1"
            )
        lookup = np.concatenate([[0], self.categories]).astype(np.int32)
        return lookup[self.label_map()]


class GroundTruth:
    """The annotations of a set of images, from a COCO instances JSON.

    An image goes by its ``file_name``: its path below the images folder, with ``/`` between
    folders.

    Raises:
        InputError: the file is missing, is not JSON, lacks one of the lists ``images``,
            ``annotations`` and ``categories``, has an entry without one of the keys that are
            read, or gives two images one name or one id.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        dataset = _read(path)
        for key in ("file_name", "id"):
            _require_unique(path, key, [image[key] for image in dataset["images"]])
        self._ids = {image["file_name"]: image["id"] for image in dataset["images"]}
        self._coco = COCO()
        self._coco.dataset = dataset
        # It reports its progress on standard output.
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco.createIndex()

    @property
    def names(self) -> Set[str]:
        """Names of the images that the annotations know."""
        return self._ids.keys()

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The categories, as the file gives them."""
        return list(self._coco.dataset["categories"])

    def image_id(self, name: str) -> int | str:
        """The id of an image.  Raises `KeyError` where the annotations do not know it."""
        return self._ids[name]

    def size(self, name: str) -> tuple[int, int]:
        """Height and width that the file gives an image."""
        image = self._coco.imgs[self._ids[name]]
        return image["height"], image["width"]

    def __contains__(self, name: str) -> bool:
        return name in self._ids

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
        for annotation, mask in self.annotated(entry):
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

    def annotated(self, entry: Entry) -> Iterator[tuple[dict[str, Any], NDArray[np.bool_]]]:
        """Each annotation of an image, in the order of their ids, and its mask.

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
                f"annotations {self._path}: image {name} has {size[0]} x {size[1]} pixels "
                f"(height x width) there, but its file has {height} x {width}; use the "
                "annotations of these very images"
            )
        for annotation, outline in zip(self.raw(name), self.outlines(name), strict=True):
            yield annotation, upright(outline.mask(), orientation)

    def raw(self, name: str) -> list[dict[str, Any]]:
        """The annotations of an image as the file has them, in the order of their ids."""
        # Asked for with a default: the index would remember every image it is asked about.
        return sorted(self._coco.imgToAnns.get(self._ids[name], []), key=lambda a: a["id"])

    def outlines(self, name: str) -> tuple["Outline", ...]:
        """The masks of an image's annotations, in the order of their ids, not decoded yet."""
        size = self.size(name)
        return tuple(
            Outline(self._path, name, annotation["id"], annotation.get("segmentation"), *size)
            for annotation in self.raw(name)
        )

    def for_scoring(self) -> COCO:
        """The file as pycocotools scores against it, which asks for more than this class, and
        changes what it is given.

        Areas and crowd marks that are missing are added; masks are run lengths.  Annotations of
        images that the file does not have are left out.

        Raises `InputError` where a mask cannot be decoded, or an area is no number.
        """
        copy = COCO()
        completed = [a for name in self._ids for a in self._completed(name)]
        copy.dataset = {**self._coco.dataset, "annotations": completed}
        with contextlib.redirect_stdout(io.StringIO()):
            copy.createIndex()
        return copy

    def _completed(self, name: str) -> Iterator[dict[str, Any]]:
        for annotation, outline in zip(self.raw(name), self.outlines(name), strict=True):
            runs = outline.run_lengths()
            area = annotation.get("area", run_lengths.area(runs))
            if not isinstance(area, int | float | np.integer):
                raise InputError(
                    f"annotations {self._path}: 'area' of annotation {annotation['id']} is "
                    f"{area!r}; give a number of pixels, or leave it out"
                )
            yield {"iscrowd": 0, **annotation, "area": float(area), "segmentation": runs}


@dataclass(frozen=True)
class Outline:
    """The mask of an annotation, as a COCO JSON gives it.

    Attributes:
        path: of the JSON.
        image: name of the image.
        annotation: id of the annotation.
        segmentation: polygons or run lengths, not checked.
        height, width: of the image, in pixels.
    """

    path: Path
    image: str
    annotation: int
    segmentation: Any
    height: int
    width: int

    def mask(self) -> NDArray[np.bool_]:
        """Bool ``(height, width)``; all false where polygons enclose nothing.

        Raises `InputError` where it cannot be decoded.
        """
        return np.asarray(run_lengths.decode(self.run_lengths()), dtype=bool)

    def run_lengths(self) -> dict[str, Any]:
        """As pycocotools has them, compressed.  Raises `InputError` where it cannot be decoded."""
        try:
            return self._encoded()
        except Exception as error:  # pycocotools raises Exception itself, among many others
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"annotations {self.path}: segmentation of annotation {self.annotation}, image "
                f"{self.image}, cannot be decoded ({reason}); give polygons, or run lengths of "
                f"{self.height} x {self.width} pixels"
            ) from None

    def _encoded(self) -> dict[str, Any]:
        size = self.height, self.width
        if self.segmentation is None:
            raise ValueError("it is missing")
        if isinstance(self.segmentation, list):
            # Fewer than three points enclose nothing; pycocotools fails on some of them, and
            # on an empty list.
            polygons = [polygon for polygon in self.segmentation if len(polygon) >= 6]
            if polygons:
                return dict(run_lengths.merge(run_lengths.frPyObjects(polygons, *size)))
            runs = [self.height * self.width]
        else:
            runs = _runs(self.segmentation, *size)
        return dict(run_lengths.frPyObjects({"size": list(size), "counts": runs}, *size))


def draw_annotated(index: Index, truth: GroundTruth, most: int, purpose: str) -> NDArray[np.int64]:
    """Positions of annotated images of an index, at most so many, drawn at random; rising.

    The same for every seed of a run, and every backbone.
    """
    annotated = np.array([p for p in range(len(index)) if index[p].name in truth], np.int64)
    return np.sort(generator(0, purpose).permutation(annotated)[:most])


def _runs(segmentation: dict[str, Any], height: int, width: int) -> list[int]:
    """Run lengths, not compressed.

    Raises `ValueError` where they do not cover an image of this size exactly: pycocotools leaves
    memory unset where they end early.
    """
    counts = segmentation["counts"]
    runs: list[int] = counts if isinstance(counts, list) else _decompress(counts)
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"run lengths of size {segmentation['size']}")
    if sum(runs) != height * width or min(runs) < 0:
        raise ValueError(f"run lengths cover {sum(runs)} pixels")
    return runs


def _decompress(counts: str) -> list[int]:
    """Run lengths from their compressed form (pycocotools, maskApi.c, rleFrString).

    Each is a signed number of 5 bits a character, lowest first: bit 5 is set where another
    character follows, bit 4 of the last one is the sign.  From the fourth on they are
    differences to the run length two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        code = character - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def _read(path: Path) -> dict[str, Any]:
    require_file(path, "annotations")
    try:
        dataset: dict[str, Any] = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"annotations {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"annotations {path} is not JSON ({error}); give a COCO instances JSON"
        ) from None
    for key, required in _REQUIRED.items():
        entries = dataset.get(key) if isinstance(dataset, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"annotations {path} has no list '{key}'; give a COCO instances JSON")
        for number, entry in enumerate(entries):
            for name, kind in required.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(name), kind):
                    raise InputError(
                        f"annotations {path}: '{name}' of {key}[{number}] is missing or of the "
                        "wrong type; give a COCO instances JSON"
                    )
    return dataset


def _refuse(constant: str) -> NoReturn:
    # Python's reader lets NaN and Infinity pass; the polygon decoder never returns from them.
    raise ValueError(f"{constant} is not a number")


def _require_unique(path: Path, key: str, values: list[Any]) -> None:
    again = [value for value, times in Counter(values).items() if times > 1]
    if again:
        raise InputError(
            f"annotations {path}: {len(again)} values of '{key}' stand for more than one image, "
            f"{again[0]} among them; keep one entry an image"
        )
