"""``cyborgs data check``: what is in a folder of images, and what its annotations cover."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cyborgs.common.ahead import in_order
from cyborgs.common.errors import InputError
from cyborgs.common.files import sha256
from cyborgs.common.progress import track
from cyborgs.common.section import CELL
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.boxes import edges_of, require_agreement
from cyborgs.images.coco import with_slashes
from cyborgs.images.decoding import Entry, format_of, has_unread_exif
from cyborgs.images.index import Bad, read_image
from cyborgs.images.listing import names_of, others_named
from cyborgs.images.outlines import Outline

# Names that a line of the page shows.
_SHOWN = 5

# Lines of the page about annotations, and what each one counts.
_COVER = {
    "bare": "images that are listed in the annotations file but have no annotation",
    "unknown": "images that are not listed in the annotations file",
    "missing": "images that are listed in the annotations file but not in the folder",
    "misfits": "images whose annotations do not fit, such as another size",
    "empty": "annotations that cover no pixel; they are left out",
    "boxes": "annotations whose box does not match the outline",
    "repeated": "annotations that repeat another one of the same image",
    "orphaned": "annotations of images that are not listed",
}


def run(
    images: Path, threads: int, list_file: Path | None = None, annotations: Path | None = None
) -> dict[str, Any]:
    """Read all images below a folder, or those that a list names, to their ends.

    Args:
        images: the folder.
        threads: files read at a time.
        list_file: names the files to look at; else all image files are.
        annotations: COCO instances JSON of the images.

    Returns:
        ``images`` and ``bytes``; ``folders`` (that hold any); ``formats`` (images of each);
        ``height``, ``width`` (least, median and most pixels); ``turned`` (images that EXIF turns);
        ``small`` (names of images with a side under 32 pixels, which is one cell of training);
        ``duplicates`` (names of files with the same bytes, a list each); ``broken`` (of each file
        that cannot be decoded, why); ``others`` (files of the folder that are not taken for
        images, by suffix); ``unread_exif`` (names of images with EXIF that cannot be read, which
        is ignored); and, with annotations, ``annotations``:

        - ``annotated`` images, ``instances``, ``crowds`` and ``categories``: how many; of the
          images here, as is all that follows but for ``missing`` and ``orphaned``;
        - ``bare``: names of images that the annotations list, and that have none;
        - ``unknown``: names of images that the annotations do not list;
        - ``missing``: names in them that are no image here; with a list, no file in the folder;
        - ``misfits``: what does not fit an image, such as another size; of each one the first;
        - ``empty``: annotations whose outline encloses no pixel of the image, which are left out;
        - ``boxes``: annotations whose box is not where the outline is, and why (detectors are
          trained on boxes, nothing else reads them);
        - ``repeated``: annotations that are, but for the id, those of another of the image;
        - ``orphaned``: annotations whose ``image_id`` is that of no listed image.

    Raises:
        InputError: no folder, no images, a disk that fails, or annotations that cannot be read.
    """
    truth = None if annotations is None else GroundTruth(annotations)
    others: Counter[str] = Counter()
    names = names_of(images, list_file, others)
    entries: list[Entry] = []
    formats = Counter[str]()
    broken: dict[str, str] = {}
    unread: list[str] = []
    looked = in_order(lambda name: _look(images, name), names, threads)
    for found in track(looked, len(names), "check", "images"):
        if isinstance(found, Bad):
            broken[found.name] = found.reason
            continue
        entry, form, odd = found
        entries.append(entry)
        formats[form] += 1
        if odd:
            unread.append(entry.name)
    result = {
        "images": len(entries),
        "bytes": sum(e.bytes for e in entries),
        "folders": len({e.name.rpartition("/")[0] for e in entries}),
        "formats": dict(formats.most_common()),
        "height": _spread([e.height for e in entries]),
        "width": _spread([e.width for e in entries]),
        "turned": sum(e.orientation != 1 for e in entries),
        "small": [e.name for e in entries if min(e.height, e.width) < CELL],
        "duplicates": _duplicates(images, entries),
        "broken": broken,
        "others": dict(others.most_common()),
        "unread_exif": unread,
    }
    if truth is not None:
        result["annotations"] = _coverage(truth, entries, images if list_file else None)
    return result


def _look(images: Path, name: str) -> tuple[Entry, str, bool] | Bad:
    """What an image is, its format, and whether it has EXIF that cannot be read."""
    found = read_image(images, name)
    if isinstance(found, Bad):
        return found
    entry, content = found
    return entry, format_of(content), has_unread_exif(content)


def _spread(values: list[int]) -> list[int]:
    return [min(values), int(np.median(values)), max(values)] if values else []


def _duplicates(images: Path, entries: Sequence[Entry]) -> list[list[str]]:
    alike: dict[tuple[int, int], list[str]] = defaultdict(list)
    for e in entries:
        alike[e.bytes, e.crc32].append(e.name)
    same: dict[str, list[str]] = defaultdict(list)
    for names in alike.values():
        # Among millions of files, some checksums of 32 bits are equal by chance.
        for name in names if len(names) > 1 else []:
            same[sha256(images / name)].append(name)
    return [names for names in same.values() if len(names) > 1]


def _coverage(truth: GroundTruth, entries: Sequence[Entry], folder: Path | None) -> dict[str, Any]:
    """What annotations say of images; of a ``folder``, where a list chose them."""
    known = [e for e in entries if e.name in truth]
    annotated = instances = crowds = 0
    categories: set[int] = set()
    bare, misfits, empty, boxes, repeated = [], [], [], [], []
    for entry in track(known, len(known), "annotations", "images"):
        try:
            found = list(truth.annotated(entry))
        except InputError as error:
            misfits.append(str(error))
            continue
        if not found:
            bare.append(entry.name)
        before = instances
        seen = set()
        for annotation, outline, mask in found:
            if not mask.any():
                empty.append(outline.annotation)
            elif annotation.get("iscrowd", 0):
                crowds += 1
            else:
                instances += 1
                categories.add(annotation["category_id"])
            if annotation.get("bbox") and (reason := _misplaced(annotation["bbox"], outline)):
                boxes.append(f"{outline.annotation}: {reason}")
            content = json.dumps({k: v for k, v in annotation.items() if k != "id"}, sort_keys=True)
            if content in seen:
                repeated.append(outline.annotation)
            seen.add(content)
        annotated += instances > before
    listed = {truth.image_id(e.name) for e in known}
    missing = [n for n in truth.names if truth.image_id(n) not in listed]
    if folder is not None:
        missing = [
            n
            for n in missing
            if not any(os.path.isfile(folder / form) for form in (n, with_slashes(n)))
        ]
    return {
        "annotated": annotated,
        "instances": instances,
        "crowds": crowds,
        "categories": len(categories),
        "bare": bare,
        "unknown": [e.name for e in entries if e.name not in truth],
        "missing": sorted(missing),
        "misfits": misfits,
        "empty": empty,
        "boxes": boxes,
        "repeated": repeated,
        "orphaned": truth.orphaned,
    }


def _misplaced(bbox: Any, outline: Outline) -> str | None:
    """Why a box is none, or not that of its outline; None where it is."""
    try:
        edges = edges_of(bbox, outline.height, outline.width)
        require_agreement(edges, outline.edges(), outline.height, outline.width)
    except ValueError as error:
        return str(error)
    return None


def sound(result: dict[str, Any]) -> bool:
    """Whether every file can be decoded, and annotations and images belong together.

    They do if each annotation belongs to a listed image and fits it, and at least one object is in
    an image here.  Either side may have images that the other lacks.  If both do, they probably
    use different names.
    """
    if result["broken"]:
        return False
    cover = result.get("annotations")
    if cover is None:
        return True
    strange = cover["unknown"] and cover["missing"]
    return bool(cover["instances"] and not (cover["misfits"] or cover["orphaned"] or strange))


def text(images: Path, result: dict[str, Any]) -> str:
    """The result for people: one page."""
    formats = ", ".join(f"{name} {count:,}" for name, count in result["formats"].items())
    lines = [
        ("images", f"{result['images']:,} below {images}, in {result['folders']:,} folders"),
        ("on disk", f"{result['bytes'] / 1e6:,.1f} MB"),
        ("formats", formats or "none"),
    ]
    for side in ("height", "width"):
        if result[side]:
            least, median, most = result[side]
            lines.append((side, f"{least} … {most} pixels, median {median}"))
    lines += [
        ("turned", f"{result['turned']:,} by EXIF"),
        ("small", _some(result["small"], f"with a side under {CELL} pixels")),
        ("duplicates", _some([" = ".join(names) for names in result["duplicates"]], "sets")),
        ("broken", _some([f"{n}: {why}" for n, why in result["broken"].items()], "files")),
    ]
    if result["unread_exif"]:
        told = "with EXIF that cannot be read; it is ignored"
        lines.append(("EXIF", _some(result["unread_exif"], told)))
    if result["others"]:
        lines.append(("others", f"ignored files: {others_named(Counter(result['others']))}"))
    if (cover := result.get("annotations")) is not None:
        lines += [
            (
                "annotations",
                f"{cover['instances']:,} instances of {cover['categories']:,} categories in "
                f"{cover['annotated']:,} images, and {cover['crowds']:,} crowds",
            ),
            *((name, _some(cover[name], what)) for name, what in _COVER.items()),
        ]
    return "\n".join(f"{name:<12} {value}" for name, value in lines)


def _some(items: Sequence[str], what: str) -> str:
    """How many there are, and the first ones, a line each."""
    # Names may hold line ends, and bytes that are no text.
    shown = [json.dumps(i, ensure_ascii=False)[1:-1].replace('\\"', '"') for i in items[:_SHOWN]]
    if len(items) > _SHOWN:
        shown.append(f"… and {len(items) - _SHOWN:,} more")
    return "\n".join([f"{len(items):,} {what}", *(f"{'':<15}{line}" for line in shown)])
