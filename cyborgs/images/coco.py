"""COCO instances JSONs: read, and checked once, so that what reads them need not.

The format is described at https://cocodataset.org/#format-data.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file
from cyborgs.images.decoding import MAX_PIXELS
from cyborgs.images.outlines import brief, lies_in_unit_square

# Ids are stored as 64 bits, those of categories, which label pixels, as 32.
_LARGEST_ID = 2**63 - 1
_LARGEST_CATEGORY = 2**31 - 1

# One outline in this many may lie within the first pixel by chance.
_CHANCE = 1000

# Accepted values of `iscrowd`.  A missing value may be null; true and 1.0 equal 1.
_CROWD: dict[Any, int] = {0: 0, 1: 1, "0": 0, "1": 1, None: 0}

_FORMAT = "give a COCO instances JSON"


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A COCO instances JSON whose entries have what is read of them, in one form.

    Ids that are whole numbers are `int`, whatever they were written as; ``height`` and ``width``
    are `int`; ``iscrowd`` is 0 or 1.  Boxes, areas and outlines are as the file has them.

    Attributes:
        path: of the file.
        images: entry of each image, by its path below the images folder.
        annotations: all of them, in the file's order.
        categories: all of them, in the file's order.
        of_image: for each image id, the places in ``annotations`` of its own, in the order of
            their ids; without ids, and among equal ones, in the file's order.
        orphaned: places of annotations whose ``image_id`` no image has.
        numbered: whether each annotation has a positive whole number of its own for an id.
        repeated: ids that more than one annotation has.
    """

    path: Path
    images: dict[str, dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    of_image: dict[int | str, list[int]]
    orphaned: list[int]
    numbered: bool
    repeated: frozenset[int | str]

    def label(self, place: int) -> str:
        """How messages name an annotation: by its id, and by its place where that is not enough."""
        identity = _identity(self.annotations[place].get("id"))
        if identity is None:
            return f"annotations[{place}]"
        name = f"annotation {identity if isinstance(identity, int) else brief(identity)}"
        return f"{name} (annotations[{place}])" if identity in self.repeated else name


def read_coco(path: Path, images: Path | None = None) -> CocoFile:
    """Read a COCO instances JSON and check the types of its entries.

    With ``images``, the path of another one that lists the images, ``path`` is a list of results as
    detectors leave it (https://cocodataset.org/#format-results): annotations alone, whose
    categories count for nothing.

    Whole numbers may be written as 1, 1.0 or "1" where they are ids; ids of images may be any
    other text as well.  An annotation's own ``id`` only names it in messages, and may be anything
    or missing.  ``iscrowd`` may be 0, 1, false, true, null (as missing: 0), "0" or "1".

    Raises:
        InputError: the file is missing, is not JSON, lacks one of the lists ``images``,
            ``annotations`` and ``categories``, has an entry without one of the keys that are
            read or with a value that is none, gives two images one name or one id, or two
            categories one id, has annotations but none of its own images, or outlines in
            fractions of the image.
    """
    if images is None:
        dataset = _parse(path)
    else:
        dataset = _parse(images) | {"annotations": _results(path), "categories": [{"id": 1}]}
    listed = _images(images or path, dataset["images"])
    categories = _categories(path, dataset["categories"])
    annotations: list[dict[str, Any]] = dataset["annotations"]
    of_image: dict[int | str, list[int]] = {image["id"]: [] for image in listed.values()}
    ids, orphaned = _assign(path, annotations, {c["id"] for c in categories}, of_image)
    times = Counter(identity for identity in ids if identity is not None)
    numbered = len(times) == len(ids) and all(isinstance(i, int) and i > 0 for i in times)
    rank = [(0, i) if isinstance(i, int) else (1, 0) for i in ids]
    for places in of_image.values():
        places.sort(key=rank.__getitem__)
    found = CocoFile(
        path=path,
        images=listed,
        annotations=annotations,
        categories=categories,
        of_image=of_image,
        orphaned=orphaned,
        numbered=numbered,
        repeated=frozenset(identity for identity, count in times.items() if count > 1),
    )
    _require_pixels(found)
    return found


def parse_json(path: Path, give: str) -> Any:
    """The content of a JSON file of annotations.

    Raises `InputError`, with what to ``give`` instead, where it is missing or no JSON.
    """
    require_file(path, "annotations")
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise InputError(f"annotations {path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"annotations {path} is not JSON ({error}); {give}") from None


def _results(path: Path) -> list[dict[str, Any]]:
    results = parse_json(path, "give a list of results")
    if not isinstance(results, list):
        raise InputError(f"annotations {path} is not a list; give a list of results")
    return [{**r, "category_id": 1} if isinstance(r, dict) else r for r in results]


def _parse(path: Path) -> dict[str, list[Any]]:
    dataset: dict[str, list[Any]] = parse_json(path, _FORMAT)
    for key in ("images", "annotations", "categories"):
        entries = dataset.get(key) if isinstance(dataset, dict) else None
        if not isinstance(entries, list):
            raise InputError(f"annotations {path} has no list '{key}'; {_FORMAT}")
    return dataset


def _refuse(constant: str) -> NoReturn:
    # Python's reader lets NaN and Infinity pass; the polygon decoder never returns from them.
    raise ValueError(f"{constant} is not a number")


def _images(path: Path, entries: list[Any]) -> dict[str, dict[str, Any]]:
    for number, entry in enumerate(entries):
        where = f"images[{number}]"
        _require_entry(path, where, entry)
        entry["id"] = _required_id(path, where, entry, "id")
        name = entry.get("file_name")
        if not isinstance(name, str) or not name:
            _wrong(path, where, entry, "file_name", give="the image's path below the images folder")
        entry["file_name"] = _plain(name)
        for side in ("height", "width"):
            entry[side] = _side(path, where, entry, side)
        if entry["height"] * entry["width"] > MAX_PIXELS:
            raise InputError(
                f"annotations {path}: {where} has {entry['height']} x {entry['width']} pixels; "
                f"at most {MAX_PIXELS:,} are decoded"
            )
    for key in ("file_name", "id"):
        _require_unique(path, key, "image", (entry[key] for entry in entries))
    return {entry["file_name"]: entry for entry in entries}


def _categories(path: Path, entries: list[Any]) -> list[dict[str, Any]]:
    for number, entry in enumerate(entries):
        where = f"categories[{number}]"
        _require_entry(path, where, entry)
        identity = _whole(entry.get("id"))
        if identity is None or not 0 <= identity <= _LARGEST_CATEGORY:
            _wrong(path, where, entry, "id", give=f"a whole number of 0 … {_LARGEST_CATEGORY}")
        entry["id"] = identity
    _require_unique(path, "id", "category", (entry["id"] for entry in entries))
    return entries


def _assign(
    path: Path,
    annotations: list[Any],
    categories: set[int],
    of_image: dict[int | str, list[int]],
) -> tuple[list[int | str | None], list[int]]:
    """Give each annotation to its image; returns all ids, and the places of those without image."""
    ids: list[int | str | None] = []
    orphaned: list[int] = []
    for place, entry in enumerate(annotations):
        # Of 860,000 annotations of COCO, each line here takes a tenth of a second.
        if type(entry) is not dict:
            _require_entry(path, f"annotations[{place}]", entry)
        identity = entry.get("id")
        if type(identity) is not int:
            identity = _identity(identity)
            if identity is not None:
                entry["id"] = identity
        ids.append(identity)
        image = entry.get("image_id")
        if type(image) is not int:
            image = entry["image_id"] = _required_id(path, _at(place, entry), entry, "image_id")
        category = entry.get("category_id")
        if type(category) is not int:
            category = _whole(category)
            if category is None:
                _wrong(path, _at(place, entry), entry, "category_id", give="the id of a category")
            entry["category_id"] = category
        if category not in categories:
            raise InputError(
                f"annotations {path}: 'category_id' of {_at(place, entry)} is {category}, which "
                "'categories' does not have; list that category there"
            )
        crowd = entry.get("iscrowd", 0)
        if type(crowd) is not int or crowd not in (0, 1):
            if isinstance(crowd, list | dict) or crowd not in _CROWD:
                _wrong(path, _at(place, entry), entry, "iscrowd", give="0 or 1, or leave it out")
            entry["iscrowd"] = _CROWD[crowd]
        own = of_image.get(image)
        (orphaned if own is None else own).append(place)
    if annotations and len(orphaned) == len(annotations):
        raise InputError(
            f"annotations {path}: none of {len(annotations)} annotations is of an image in "
            f"'images'; 'image_id' of {_at(0, annotations[0])} is "
            f"{brief(annotations[0]['image_id'])}; give the ids of the images"
        )
    return ids, orphaned


def _require_pixels(found: CocoFile) -> None:
    """Raise `InputError` where outlines are in fractions of the image's width and height."""
    outlines = fractions = 0
    first = 0
    for place, annotation in enumerate(found.annotations):
        segmentation = annotation.get("segmentation")
        if type(segmentation) is list and segmentation:
            outlines += 1
            if lies_in_unit_square(segmentation):
                first = first if fractions else place
                fractions += 1
    if fractions * _CHANCE > outlines:
        raise InputError(
            f"annotations {found.path}: {fractions} of {outlines} outlines lie within 0 … 1, for "
            f"example that of {found.label(first)}; these look like fractions of the image: "
            "multiply them by its width and height"
        )


def _require_entry(path: Path, where: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"annotations {path}: 'id' of {where} is missing; {_FORMAT}")


def _required_id(path: Path, where: str, entry: dict[str, Any], key: str) -> int | str:
    identity = _identity(entry.get(key))
    if identity is None:
        _wrong(path, where, entry, key, give="the image's id, a whole number")
    return identity


def _side(path: Path, where: str, entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    side = None if isinstance(value, str) else _whole(value)
    if side is None or side < 1:
        _wrong(path, where, entry, key, give="a whole number of pixels")
    return side


def _wrong(path: Path, where: str, entry: dict[str, Any], key: str, *, give: str) -> NoReturn:
    told = f"is {brief(entry[key])}" if key in entry else "is missing"
    raise InputError(f"annotations {path}: '{key}' of {where} {told}; give {give}")


def _at(place: int, entry: dict[str, Any]) -> str:
    """An annotation by its place, and by its id where it has one."""
    identity = _identity(entry.get("id"))
    where = f"annotations[{place}]"
    return where if identity is None else f"{where} (annotation {brief(identity)})"


def _identity(value: Any) -> int | str | None:
    """An id in its one form: a whole number, or text that is none; None where it is neither."""
    number = _whole(value)
    return number if number is not None or not isinstance(value, str) else value


def _whole(value: Any) -> int | None:
    """The whole number that 1, 1.0 or "1" is; None where it is none, or takes over 64 bits."""
    if type(value) is int:  # `True` is an `int` as well
        number = value
    elif type(value) is float and value.is_integer():
        number = int(value)
    elif type(value) is str and len(value) <= 20 and value.removeprefix("-").isdecimal():
        number = int(value)
        if str(number) != value:  # "007" is a name
            return None
    else:
        return None
    return number if -_LARGEST_ID <= number <= _LARGEST_ID else None


def _plain(name: str) -> str:
    """A path without the parts that lead nowhere: ``./a//b.jpg`` is ``a/b.jpg``."""
    if "./" not in name and "//" not in name:
        return name
    start = "/" if name.startswith("/") else ""
    return start + "/".join(part for part in name.split("/") if part not in ("", "."))


def with_slashes(name: str) -> str:
    """A path as Windows writes it (``a\\b.jpg``) with ``/`` between its folders."""
    return _plain(name.replace("\\", "/"))


def _require_unique(path: Path, key: str, what: str, values: Iterable[Any]) -> None:
    again = [value for value, times in Counter(values).items() if times > 1]
    if again:
        raise InputError(
            f"annotations {path}: {len(again)} values of '{key}' stand for more than one {what}, "
            f"{brief(again[0])} among them; keep one entry each"
        )
