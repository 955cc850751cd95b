"""Stage `shrink`: a cached copy of the images at a smaller size, with their ground truth."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from cyborgs.ahead import in_order
from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import BrokenImageError, Entry, decode, examine
from cyborgs.data.index import names_of
from cyborgs.data.shrinking import shrink_image, shrink_mask, small_name, small_size
from cyborgs.errors import BadImageError, InputError
from cyborgs.files import atomic_write
from cyborgs.progress import say, track


def run(
    images: Path,
    out: Path,
    short_side: int,
    threads: int,
    list_file: Path | None = None,
    annotations: Path | None = None,
    on_bad_image: str = "error",
) -> None:
    """Write ``out/images``, ``out/annotations.json`` where there are annotations, and a summary.

    Images become JPEGs; a JPEG that is small enough and upright is copied.  Those that are there,
    and newer than what they are made of, are kept, so that a job that was killed goes on; those
    whose origin is gone are removed.

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
        InputError: no images, bad images, two images that would have one name, or annotations
            that do not fit.
    """
    names = names_of(images, list_file)
    small = {name: small_name(name) for name in names}
    if len(set(small.values())) < len(names):
        twice = next(n for n in names if n != small[n] and small[n] in small)
        raise InputError(f"images {twice} and {small[twice]} would have one name; rename one")
    truth = None if annotations is None else GroundTruth(annotations)
    found: list[Entry] = []
    bad: dict[str, str] = {}
    made = in_order(
        lambda name: _make(images, name, out / "images" / small[name], short_side), names, threads
    )
    for name, entry in track(zip(names, made, strict=True), len(names), "shrink", "images"):
        if isinstance(entry, Entry):
            found.append(entry)
        else:
            bad[name] = entry
    for name, reason in bad.items():
        say(f"shrink: left out: image {images / name}: {reason}")
    if bad and on_bad_image == "error":
        raise InputError("remove or repair the files named above, or set data.on_bad_image: skip")
    _remove_others(out / "images", {small[e.name] for e in found})
    if truth is not None:
        with atomic_write(out / "annotations.json") as temporary:
            temporary.write_text(json.dumps(_annotations(truth, found, short_side)))
    summary = {"short_side": short_side, "images": len(found), "bad": bad}
    with atomic_write(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1) + "\n")
    say(f"shrink: {len(found)} images in {out / 'images'}")


def _make(images: Path, name: str, target: Path, short_side: int) -> Entry | str:
    """What an image is, or why it is bad; makes its small copy."""
    origin = images / name
    try:
        content = origin.read_bytes()
        entry = examine(name, content)
        if target.exists() and target.stat().st_mtime_ns >= origin.stat().st_mtime_ns:
            return entry
        plain = content.startswith(b"\xff\xd8") and entry.orientation == 1
        if not (plain and min(entry.height, entry.width) <= short_side):
            content = shrink_image(decode(images, entry), short_side)
    except (BrokenImageError, BadImageError) as error:
        return str(error)
    except OSError as error:
        raise InputError(f"image {origin}: cannot read: {error.strerror}") from None
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
    return entry


def _remove_others(folder: Path, names: set[str]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()


def _annotations(truth: GroundTruth, entries: Sequence[Entry], short_side: int) -> dict[str, Any]:
    images, annotations = [], []
    known = [e for e in entries if e.name in truth]
    for e in track(known, len(known), "shrink annotations", "images"):
        height, width = small_size(e.height, e.width, short_side)
        identity = truth.image_id(e.name)
        images.append(
            {"id": identity, "file_name": small_name(e.name), "height": height, "width": width}
        )
        for annotation, mask in truth.annotated(e):
            code = rle.encode(np.asfortranarray(shrink_mask(mask, height, width), np.uint8))
            annotations.append(
                {
                    "id": annotation["id"],
                    "image_id": identity,
                    "category_id": annotation["category_id"],
                    "iscrowd": annotation.get("iscrowd", 0),
                    "area": int(rle.area(code)),
                    "bbox": rle.toBbox(code).tolist(),
                    "segmentation": {"size": [height, width], "counts": code["counts"].decode()},
                }
            )
    return {"images": images, "annotations": annotations, "categories": truth.categories}
