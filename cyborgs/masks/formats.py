"""Masks in other programs' formats: a label map as PNG or `.npy`, clusters as COCO annotations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle

from cyborgs.config import MOST_LABELS
from cyborgs.errors import InputError
from cyborgs.masks.palette import colours

Labels = NDArray[np.integer]

# Pillow's modes of one number a pixel: indexed, 8 bits, 16 bits.
_NUMBER_MODES = {"P", "L", "I;16", "I;16B", "I"}


def write_png(path: Path, labels: Labels) -> None:
    """Labels ``(height, width)`` as an indexed PNG; as 16-bit grey where a label is above 255."""
    if labels.max() < 256:
        image = Image.fromarray(labels.astype(np.uint8)).convert("P")
        image.putpalette(colours().tobytes())
    else:
        image = Image.fromarray(labels.astype(np.uint16))
    image.save(path, "PNG")


def read_png(path: Path) -> Labels:
    """The numbers of a PNG's pixels ``(height, width)``: palette indexes or grey values.

    Raises `InputError` where it cannot be read or has several channels.
    """
    try:
        with Image.open(path) as image:
            mode = image.mode
            labels = np.asarray(image) if mode in _NUMBER_MODES else None
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, …).
        reason = " ".join(str(error).split())
        raise InputError(f"mask {path} cannot be read ({reason})") from None
    if labels is None:
        raise InputError(
            f"mask {path} is a picture in colours ({mode}), not labels; save it as an indexed or "
            "greyscale PNG whose pixel values are the labels"
        )
    return labels


def write_npy(path: Path, labels: Labels) -> None:
    """Labels as the published program read them: int64, at image size."""
    with open(path, "wb") as stream:
        np.save(stream, labels.astype(np.int64))


def read_npy(path: Path) -> Labels:
    """The labels of a `.npy` file.  Raises `InputError` where it holds no 2-D integers."""
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"mask {path} cannot be read ({reason})") from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "iub":
        what = f"{getattr(labels, 'dtype', type(labels).__name__)}, {np.ndim(labels)}-D"
        raise InputError(f"mask {path} holds {what}; it must hold 2-D integers (height, width)")
    return labels.astype(np.int64) if labels.dtype.kind == "b" else labels


def coco_annotations(labels: Labels, image_id: int, first_id: int) -> Iterator[dict[str, Any]]:
    """Clusters of an image as COCO annotations with compressed run lengths.

    Each has the keys of COCO's object annotations, all of category 1, and ``label``.

    Args:
        labels: ``(height, width)`` of the image.
        image_id: of the image.
        first_id: of the first annotation; the others follow.
    """
    for number, label in enumerate(np.unique(labels)):
        code = rle.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        yield {
            "id": first_id + number,
            "image_id": image_id,
            "category_id": 1,
            "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
            "area": int(rle.area(code)),
            "bbox": [float(side) for side in rle.toBbox(code)],
            "iscrowd": 0,
            "label": int(label),
        }


def storable(labels: Labels, what: str) -> Labels:
    """Labels that a shard can hold, 0 … 65535.

    Larger ones (ids of panoptic segments, say) are numbered anew in their order where the image
    has no more than 65,536: which pixels belong together stays the same.  Raises `InputError`,
    naming ``what``, for labels below 0 and for more of them.
    """
    if labels.min() < 0:
        raise InputError(f"{what} has the label {labels.min()}; labels begin with 0")
    if labels.max() < MOST_LABELS:
        return labels
    present, numbered = np.unique(labels, return_inverse=True)
    if len(present) > MOST_LABELS:
        raise InputError(f"{what} has {len(present)} labels; {MOST_LABELS} are the most")
    return numbered.reshape(labels.shape)
