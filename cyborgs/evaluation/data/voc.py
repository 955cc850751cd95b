"""PASCAL VOC's layout: image lists, classes of images, and boxes of objects.

``JPEGImages/*.jpg``, ``Annotations/*.xml``, ``ImageSets/Main/*.txt`` (Everingham et al., 2010, and
the development kit's manual, section 4).  Classes are those that ``ImageSets/Main`` names.
"""

import hashlib
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.files import as_utf8, require_file
from cyborgs.evaluation.data.detection import Annotated, DetectionSet
from cyborgs.evaluation.data.packed import Packed


def voc_classes(root: Path) -> list[str]:
    """Names of the classes, in the order of the alphabet.

    Raises `InputError` where there are fewer than two lists ``<class>_trainval.txt``, or other ones
    of ``test``.
    """
    folder = root / "ImageSets/Main"
    train, test = (
        {path.name.removesuffix(f"_{split}.txt") for path in folder.glob(f"*_{split}.txt")}
        for split in ("trainval", "test")
    )
    if len(train) < 2:
        raise InputError(
            f"{folder} has no lists CLASS_trainval.txt: {root} is no folder of PASCAL VOC, or it "
            "is incomplete (`cyborgs data download voc` fetches it)"
        )
    if train != test:
        name = min(train ^ test)
        lacking = "test" if name in train else "trainval"
        raise InputError(
            f"{folder / f'{name}_{lacking}.txt'} does not exist, but its counterpart does; fetch "
            "PASCAL VOC again"
        )
    return sorted(train)


def voc_images(root: Path, split: str, task: str = "Main") -> list[str]:
    """Names of a split's images, without ``.jpg``; ``task`` is the folder of its list.

    Raises `InputError` where there are none, or one is there twice.
    """
    path = root / f"ImageSets/{task}/{split}.txt"
    names = _text(path, "list of images").split()
    if not names:
        raise InputError(f"list of images {path} is empty; fetch PASCAL VOC again")
    if len(set(names)) < len(names):
        again = next(name for name, times in Counter(names).items() if times > 1)
        raise InputError(f"list of images {path} names {again} twice; fetch PASCAL VOC again")
    return names


def voc_labels(
    root: Path, split: str, classes: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Whether each image shows each class.

    Returns:
        Names of the images, and ``(images, classes)``: 1 it does, -1 it does not, 0 only
        difficult objects of the class do.

    Raises:
        InputError: a list that is missing or damaged, or of other images than the split's.
    """
    names = voc_images(root, split)
    rows = {name: number for number, name in enumerate(names)}
    labels = np.full((len(names), len(classes)), 2, np.int64)
    for column, name in enumerate(classes):
        path = root / f"ImageSets/Main/{name}_{split}.txt"
        for number, line in enumerate(_text(path, "list of a class").splitlines(), start=1):
            parts = line.split()
            if len(parts) != 2 or parts[0] not in rows or parts[1] not in ("1", "0", "-1"):
                raise InputError(
                    f"list {path}, line {number}: {line!r} is not an image of {split}.txt and 1, 0 "
                    "or -1; fetch PASCAL VOC again"
                )
            labels[rows[parts[0]], column] = int(parts[1])
        missing = np.flatnonzero(labels[:, column] == 2)
        if len(missing):
            raise InputError(
                f"list {path} does not have image {names[missing[0]]} of {split}.txt; fetch "
                "PASCAL VOC again"
            )
    return names, labels


def _text(path: Path, what: str) -> str:
    try:
        return as_utf8(require_file(path, what).read_bytes()).decode()
    except UnicodeDecodeError:
        raise InputError(f"{what} {path} is not text; fetch PASCAL VOC again") from None


def voc_objects(roots: Sequence[Path], split: str, classes: Sequence[str]) -> DetectionSet:
    """The annotated objects of a split, of one or several years together.

    The digest is of the annotations and of the sizes of the image files.  Raises `InputError` where
    a file is missing, is damaged, or names another class.
    """
    digest = hashlib.sha256()
    images: list[Annotated] = []
    for root in roots:
        for name in voc_images(root, split):
            path = require_file(root / f"Annotations/{name}.xml", "annotation")
            content = path.read_bytes()
            digest.update(content)
            picture = require_file(root / f"JPEGImages/{name}.jpg", "image")
            digest.update(str(picture.stat().st_size).encode())
            images.append(
                _annotated(path, content, picture, number=len(images) + 1, classes=classes)
            )
    return DetectionSet(Packed(images), tuple(classes), digest.hexdigest())


def _annotated(
    path: Path, content: bytes, picture: Path, *, number: int, classes: Sequence[str]
) -> Annotated:
    try:
        tree = ElementTree.fromstring(content)
        objects = tree.findall("object")
        names = [thing.findtext("name", "") for thing in objects]
        boxes = [
            [float(thing.findtext(f"bndbox/{side}", "")) for side in _SIDES] for thing in objects
        ]
        difficult = [int(thing.findtext("difficult", "0")) == 1 for thing in objects]
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(
            f"annotation {path} is damaged ({error}); fetch PASCAL VOC again"
        ) from None
    for name in names:
        if name not in classes:
            raise InputError(
                f"annotation {path}: class {name!r} has no list in ImageSets/Main; its classes "
                f"are {', '.join(classes)}"
            )
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    # Pixels are counted from 1, and the last one is inside: edges instead of pixels.
    corners[:, :2] -= 1
    if not np.isfinite(corners).all() or (corners[:, 2:] <= corners[:, :2]).any():
        raise InputError(f"annotation {path}: a box without area; fetch PASCAL VOC again")
    return Annotated(
        path=picture,
        identity=number,
        boxes=corners,
        labels=np.array([1 + classes.index(name) for name in names], np.int64),
        ignored=np.array(difficult, bool),
    )


_SIDES = ("xmin", "ymin", "xmax", "ymax")
