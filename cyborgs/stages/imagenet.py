"""``cyborgs data imagenet``: what of ImageNet is there, as nobody else may hand it out."""

import os
import re
from pathlib import Path

from cyborgs.common.errors import InputError

# Of ILSVRC 2012 (Russakovsky et al., 2015): images of each split, and classes.
IMAGES = {"train": 1_281_167, "val": 50_000}
CLASSES = 1000

_ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
_PAGE = "https://image-net.org/download-images.php (after registration)"


def run(folder: Path) -> list[str]:
    """Look for ``train/<class>/*.JPEG`` and ``val/<class>/*.JPEG`` below a folder.

    Returns what is missing, and where it goes, a line each; nothing where all is there.  Raises
    `InputError` where the folder cannot be read.
    """
    try:
        return [line for split in IMAGES for line in _missing(folder, split)]
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from None


def _missing(folder: Path, split: str) -> list[str]:
    where = folder / split
    archive = _ARCHIVES[split]
    if not where.is_dir():
        for found in (folder / archive, folder.parent / archive):
            if found.exists():
                return [f"{where} is missing: unpack {found} there, {_how(split)}"]
        return [f"{where} is missing: get {archive} from {_PAGE}, unpack it there, {_how(split)}"]
    classes, loose = [], 0
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.is_dir() and re.fullmatch(r"n\d{8}", entry.name):
                classes.append(entry.name)
            elif entry.name.endswith(".JPEG"):
                loose += 1
    if loose:
        return [f"{where} holds {loose:,} images that are in no class: sort them, {_how(split)}"]
    images = sum(name.endswith(".JPEG") for c in classes for name in os.listdir(where / c))
    if (len(classes), images) == (CLASSES, IMAGES[split]):
        return []
    return [
        f"{where} holds {images:,} images (*.JPEG) of {len(classes):,} classes (n01440764 …), not "
        f"{IMAGES[split]:,} of {CLASSES:,}: unpack {archive} again"
    ]


def _how(split: str) -> str:
    if split == "train":
        return "and in it each class's own archive into a folder of its name (n01440764 …)"
    return "each image into the folder of its class, by ILSVRC2012_validation_ground_truth.txt"
