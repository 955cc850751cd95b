"""Masks as other programs leave them: label maps, lists of regions an image, and COCO JSONs."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file, sha256
from cyborgs.common.progress import say, track
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.coco import parse_json
from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index
from cyborgs.images.outlines import Outline, brief, shown
from cyborgs.images.shrinking import original_name
from cyborgs.masks.alignment import centres_in, is_same_picture
from cyborgs.masks.exported import file_name, require_distinct
from cyborgs.masks.formats import read_npy, read_png, storable
from cyborgs.masks.regions import own_size, region_labels

Labels = NDArray[np.integer]

_READERS: dict[str, Callable[[Path], Labels]] = {".png": read_png, ".npy": read_npy}

# What regions are rated by: detectors write `score`, Segment Anything `predicted_iou`.
_SCORES = ("score", "predicted_iou")

_LIST = "give a list of regions, each with a 'segmentation' of run lengths"


class ForeignMasks(ABC):
    """Masks of the images of an index, made by another program.

    Attributes:
        inputs: SHA-256 of what was read, by its role.
        bare: images that had no region so far.
    """

    inputs: dict[str, str]
    bare: int = 0

    @abstractmethod
    def labels(self, entry: Entry, stride: int) -> Labels:
        """Labels of an image's grid, ``(rows, cols)``, 0 … 65535.

        Raises `InputError` where the image's mask cannot be read, or is of another picture's size.
        """


def open_foreign(
    source: Path, index: Index, images: Path | None, min_score: float | None
) -> ForeignMasks:
    """Masks as `imports.run` describes them.

    Raises `InputError` where the source is none, lacks masks of images, or does not go with the
    other arguments.
    """
    if min_score is not None and not isfinite(min_score):
        raise InputError(f"--min-score: {min_score} is not a score; give a number")
    if source.is_dir():
        _refuse_images(source, images)
        suffix = _suffix(source)
        if suffix == ".json":
            return _Lists(source, index, min_score)
        if min_score is not None:
            raise InputError(
                f"--min-score: label maps, as in {source}, have no scores; leave it out"
            )
        return _LabelMaps(source, index, suffix)
    if not source.exists():
        raise InputError(f"masks {source} do not exist; give a folder, or a COCO JSON")
    if _is_list(source):
        if images is None:
            raise InputError(
                f"masks {source} are a list of results, which does not say what images they are "
                "of; give --annotations, the COCO JSON that lists those"
            )
    else:
        _refuse_images(source, images)
    return _Coco(source, index, images, min_score)


def _refuse_images(source: Path, images: Path | None) -> None:
    if images is not None:
        raise InputError(
            f"--annotations is only for lists of results, and {source} is not one; leave it out"
        )


def _is_list(path: Path) -> bool:
    """Whether a JSON file is a list."""
    require_file(path, "masks")
    # Parsing reports what cannot be read.
    with suppress(OSError), open(path, "rb") as stream:
        return stream.read(64).lstrip(b" \t\r\n").startswith(b"[")
    return False


def _suffix(source: Path) -> str:
    """Which kind of masks a folder holds."""
    kinds = (*_READERS, ".json")
    found = [suffix for suffix in kinds if any(source.rglob(f"*{suffix}"))]
    if not found:
        raise InputError(f"masks {source}: the folder holds neither .png, .npy nor .json files")
    if len(found) > 1:
        both = " and ".join(found)
        raise InputError(
            f"masks {source}: the folder holds both {both} files; give one of one kind"
        )
    return found[0]


class _LabelMaps(ForeignMasks):
    """A folder of label maps, a file an image."""

    def __init__(self, source: Path, index: Index, suffix: str) -> None:
        self._read = _READERS[suffix]
        self._files = _files(source, index, suffix)
        self.inputs = {"source": _digest(self._files.values())}

    def labels(self, entry: Entry, stride: int) -> Labels:
        path = self._files[entry.name]
        labels = self._read(path)
        height, width = labels.shape
        image = (entry.height, entry.width)
        if labels.size == 0 or not is_same_picture((height, width), image):
            raise InputError(
                f"mask {path} is {height} x {width} pixels (height x width), image {entry.name} "
                f"{image[0]} x {image[1]}, which cannot be one picture at two sizes; give the "
                "mask of this image"
            )
        # All labels, so that they are numbered the same at every stride.
        return storable(labels, f"mask {path}")[centres_in(image, stride, (height, width))]


class _Lists(ForeignMasks):
    """A folder of JSON files, a list of regions an image, as Segment Anything leaves them."""

    def __init__(self, source: Path, index: Index, min_score: float | None) -> None:
        self._files = _files(source, index, ".json")
        self._min_score = min_score
        self.inputs = {"source": _digest(self._files.values())}

    def labels(self, entry: Entry, stride: int) -> Labels:
        path = self._files[entry.name]
        regions = _regions(path)
        kept = _rated(regions, self._min_score, lambda place: f"annotations {path}: [{place}]")
        size = own_size([region["segmentation"] for _, region in kept])
        outlines = [
            Outline(
                path,
                entry.name,
                f"[{place}]",
                region["segmentation"],
                *(size or (entry.height, entry.width)),
            )
            for place, region in kept
        ]
        self.bare += not outlines
        labels = region_labels(outlines, entry, stride)
        return storable(labels, f"annotations {path}")


class _Coco(ForeignMasks):
    """A COCO JSON of all images, or a list of results and the COCO JSON that lists the images."""

    def __init__(
        self, source: Path, index: Index, images: Path | None, min_score: float | None
    ) -> None:
        self._source = source
        self._min_score = min_score
        self._truth = GroundTruth(source, images)
        listing = source if images is None else images
        missing = [e.name for e in index.entries if self._name(e) is None]
        if missing:
            raise InputError(
                f"annotations {listing}: {len(missing)} of {len(index)} images are not listed, "
                f"{shown(missing[0])} among them; give the annotations of these images"
            )
        if self._truth.orphaned:
            say(
                f"import: left out {len(self._truth.orphaned)} masks of no image that {listing} "
                f"lists, {self._truth.orphaned[0]} among them"
            )
        self.inputs = {"source": sha256(source)}
        if images is not None:
            self.inputs["annotations"] = sha256(images)

    def _name(self, entry: Entry) -> str | None:
        """What the annotations call an image: they may be of the original of a smaller copy."""
        if entry.name in self._truth:
            return entry.name
        original = original_name(entry.name)
        return original if original is not None and original in self._truth else None

    def labels(self, entry: Entry, stride: int) -> Labels:
        name = self._name(entry)
        assert name is not None  # __init__ has looked
        pairs = zip(self._truth.raw(name), self._truth.outlines(name), strict=True)
        # Which objects a crowd region is of is not annotated.
        single = [(region, outline) for region, outline in pairs if not region.get("iscrowd", 0)]
        kept = _rated(
            [region for region, _ in single],
            self._min_score,
            lambda place: f"annotations {self._source}: {single[place][1].annotation}",
        )
        chosen = [single[place][1] for place, _ in kept]
        size = own_size([outline.segmentation for outline in chosen])
        if size is not None:
            chosen = [Outline(o.path, o.image, o.annotation, o.segmentation, *size) for o in chosen]
        self.bare += not chosen
        labels = region_labels(chosen, entry, stride)
        return storable(labels, f"annotations {self._source}: image {entry.name}")


def _files(source: Path, index: Index, suffix: str) -> dict[str, Path]:
    """The file of each image's mask, by the image's name.

    It is named as the image is, or as the original of a smaller copy is, but for the suffix.
    """
    names: dict[str, str] = {}
    missing: list[tuple[str, str]] = []
    for entry in index.entries:
        own = file_name(entry.name, suffix)
        original = original_name(entry.name)
        names[entry.name] = entry.name
        if not (source / own).is_file():
            if original is not None and (source / file_name(original, suffix)).is_file():
                names[entry.name] = original
            else:
                missing.append((own, entry.name))
    require_distinct(list(names.values()), suffix)
    if missing:
        file, name = missing[0]
        raise InputError(
            f"masks {source}: {len(missing)} of {len(index)} images have none, {file} for image "
            f"{name} among them; a mask is named as its image but for the suffix"
        )
    return {name: source / file_name(called, suffix) for name, called in names.items()}


def _digest(files: Iterable[Path]) -> str:
    """SHA-256 over the SHA-256 of each file, in hexadecimal."""
    content = hashlib.sha256()
    paths = list(files)
    for file in track(paths, len(paths), "import, checksums", "files"):
        try:
            content.update(sha256(file).encode())
        except OSError as error:
            raise InputError(f"mask {file} cannot be read: {error.strerror}") from None
    return content.hexdigest()


def _regions(path: Path) -> list[dict[str, Any]]:
    """The regions of an image: a list, or, as SA-1B has it, 'annotations' beside the 'image'."""
    content = parse_json(path, _LIST)
    if isinstance(content, dict):
        content = content.get("annotations")
    if not isinstance(content, list):
        raise InputError(f"annotations {path} hold no list; {_LIST}")
    for place, region in enumerate(content):
        if not isinstance(region, dict) or not isinstance(region.get("segmentation"), dict):
            raise InputError(f"annotations {path}: [{place}] has no run lengths; {_LIST}")
    return content


def _rated(
    regions: list[dict[str, Any]], min_score: float | None, named: Callable[[int], str]
) -> list[tuple[int, dict[str, Any]]]:
    """Places and regions of at least a score.  Raises `InputError` where one has none."""
    if min_score is None:
        return list(enumerate(regions))
    kept = []
    for place, region in enumerate(regions):
        score = next((region[key] for key in _SCORES if key in region), None)
        if isinstance(score, bool) or not isinstance(score, int | float):
            what = "has no" if score is None else f"has {brief(score)} for its"
            raise InputError(
                f"{named(place)} {what} {' or '.join(map(repr, _SCORES))}; leave --min-score out"
            )
        if score >= min_score:
            kept.append((place, region))
    return kept
