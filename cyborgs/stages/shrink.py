"""Stage `shrink`: a cached copy of the images at a smaller size, with their ground truth."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from cyborgs.common.ahead import in_order
from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say, track
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.decoding import Entry, pixels_of, size_of
from cyborgs.images.index import Bad, accept, read_image
from cyborgs.images.listing import names_of, others_named
from cyborgs.images.shrinking import shrink_image, shrink_mask, small_name, small_size


def run(
    images: Path,
    out: Path,
    *,
    short_side: int,
    threads: int,
    list_file: Path | None = None,
    annotations: Path | None = None,
    on_bad_image: str = "error",
) -> None:
    """Write ``out/images``, their list ``out/names``, a summary, and ``out/annotations.json``.

    Images become JPEGs; a JPEG that is small enough and upright is copied.  Those that are there,
    of that size and newer than what they are made of, are kept, so that a job that was killed goes
    on.  Nothing is removed: the list names those that count, with a zero byte after each.

    Args:
        images: folder of the images.
        out: folder to write; ``out/summary.json`` is the last file.
        short_side: in pixels.
        threads: images made at a time.
        list_file: names the images to take; else all are.
        annotations: COCO instances JSON of the images.
        on_bad_image: "error", or "skip" to leave out what cannot be decoded, and name it in the
            summary.

    Raises:
        InputError: no images, bad images, two images that would have one name, annotations that
            do not fit, or folders that lie in one another.
    """
    _require_apart(images, out / "images")
    others: Counter[str] = Counter()
    names = names_of(images, list_file, others)
    if others:
        say(f"shrink: ignored files: {others_named(others)}")
    small = {name: small_name(name) for name in names}
    if len(set(small.values())) < len(names):
        twice = next(n for n in names if n != small[n] and small[n] in small)
        raise InputError(f"images {twice} and {small[twice]} would get the same name; rename one")
    truth = None if annotations is None else GroundTruth(annotations)
    made = in_order(
        lambda name: _make(images, name, out / "images" / small[name], short_side), names, threads
    )
    entries, bad = accept(images, track(made, len(names), "shrink", "images"), on_bad_image)
    if truth is not None:
        with atomic_write(out / "annotations.json") as temporary:
            temporary.write_text(json.dumps(_annotations(truth, entries, short_side)))
    with atomic_write(out / "names") as temporary:
        temporary.write_bytes(b"".join(os.fsencode(small[e.name]) + b"\0" for e in entries))
    summary = {
        "short_side": short_side,
        "images": len(entries),
        "bad": {b.name: b.reason for b in bad},
    }
    with atomic_write(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")
    say(f"shrink: {len(entries)} images in {out / 'images'}")


def _require_apart(images: Path, target: Path) -> None:
    """Keep the copies from lying among the images, where a second try would take them for some."""
    origin, target = images.resolve(), target.resolve()
    if origin.is_relative_to(target) or target.is_relative_to(origin):
        raise InputError(
            f"{target}: the copies would lie among the images in {images}, or the images among "
            "the copies; choose another folder to write"
        )


def _make(images: Path, name: str, target: Path, short_side: int) -> Entry | Bad:
    """What an image is; makes its small copy."""
    found = read_image(images, name)
    if isinstance(found, Bad):
        return found
    entry, content = found
    if _is_made(images / name, entry, target, short_side):
        return entry
    plain = content.startswith(b"\xff\xd8") and entry.orientation == 1
    if not (plain and min(entry.height, entry.width) <= short_side):
        pixels = pixels_of(content)
        if pixels is None:
            return Bad(name, "this kind of file cannot be decoded")
        content = shrink_image(pixels, short_side)
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
    return entry


def _is_made(origin: Path, entry: Entry, target: Path, short_side: int) -> bool:
    """Whether a copy of this size is there, and newer than what it is made of."""
    if not target.exists() or target.stat().st_mtime_ns < origin.stat().st_mtime_ns:
        return False
    with suppress(InputError):
        return size_of(target) == small_size(entry.height, entry.width, short_side)
    return False


def _annotations(truth: GroundTruth, entries: Sequence[Entry], short_side: int) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    known = [e for e in entries if e.name in truth]
    for e in track(known, len(known), "shrink annotations", "images"):
        height, width = small_size(e.height, e.width, short_side)
        identity = truth.image_id(e.name)
        images.append(
            {"id": identity, "file_name": small_name(e.name), "height": height, "width": width}
        )
        for annotation, _, mask in truth.annotated(e):
            code = rle.encode(np.asfortranarray(shrink_mask(mask, height, width), np.uint8))
            annotations.append(
                {
                    # Other programs find annotations by their ids.
                    "id": annotation["id"] if truth.numbered else len(annotations) + 1,
                    "image_id": identity,
                    "category_id": annotation["category_id"],
                    "iscrowd": annotation.get("iscrowd", 0),
                    "area": int(rle.area(code)),
                    "bbox": rle.toBbox(code).tolist(),
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode()},
                }
            )
    return {"images": images, "annotations": annotations, "categories": truth.categories}
