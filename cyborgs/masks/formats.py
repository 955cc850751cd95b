"""Masks in other programs' formats: a label map as PNG or `.npy`, clusters as COCO annotations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as rle

from cyborgs.common.errors import InputError
from cyborgs.common.section import MOST_LABELS
from cyborgs.masks.palette import colours

Labels = NDArray[np.integer]

# Pillow's modes of one number a pixel: 1 bit, indexed, 8 bits, 16 bits.
_NUMBER_MODES = {"1", "P", "L", "I;16", "I;16B", "I"}


def write_png(path: Path, labels: Labels) -> bool:
    """Labels ``(height, width)``, 0 … 65535, as an indexed PNG, or as 16-bit grey above 255.

    Returns whether it is indexed.
    """
    indexed = bool(labels.max() < 256)
    if indexed:
        image = Image.fromarray(labels.astype(np.uint8)).convert("P")
        image.putpalette(colours().tobytes())
    else:
        image = Image.fromarray(labels.astype(np.uint16))
    image.save(path, "PNG")
    return indexed


def read_png(path: Path) -> Labels:
    """The numbers of a PNG's pixels ``(height, width)``: palette indexes or grey values.

    Grey of 2 or 4 bits is stretched to 0 … 255 by the decoder, which keeps labels apart.
    Raises `InputError` where it cannot be read or has several channels.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode = image.mode
            pixels = np.asarray(image) if mode in _NUMBER_MODES else None
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, …).
        raise _unreadable(path, error) from None
    if pixels is None:
        raise InputError(
            f"mask {path} is a picture in colours ({mode}), not labels; save it as an indexed or "
            "greyscale PNG whose pixel values are the labels"
        )
    return pixels.astype(np.uint8) if mode == "1" else pixels


def write_npy(path: Path, labels: Labels) -> None:
    """Labels as the published program read them: int64, at image size."""
    with open(path, "wb") as stream:
        np.save(stream, labels.astype(np.int64))


def read_npy(path: Path) -> Labels:
    """The labels of a `.npy` file.  Raises `InputError` where it holds no 2-D integers."""
    try:
        # Memory mapping detects a truncated file before memory is allocated.
        labels = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        # A damaged header raises many types (ValueError, EOFError, TokenError, …).
        raise _unreadable(path, error) from None
    if not isinstance(labels, np.ndarray) or labels.ndim != 2 or labels.dtype.kind not in "iub":
        what = f"{getattr(labels, 'dtype', type(labels).__name__)}, {np.ndim(labels)}-D"
        raise InputError(f"mask {path} holds {what}; it must hold 2-D integers (height, width)")
    return labels.astype(np.uint8) if labels.dtype.kind == "b" else labels


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"mask {path} cannot be read ({reason}); replace it")


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

    Where one is larger (ids of panoptic segments, say), the image's labels are numbered anew in
    their order: which pixels belong together stays the same.  Raises `InputError`, naming
    ``what``, for labels below 0 and for more than 65,536 of them.
    """
    if labels.min() < 0:
        raise InputError(f"{what} has the label {labels.min()}; labels begin with 0")
    if labels.max() < MOST_LABELS:
        return labels
    present, numbered = np.unique(labels, return_inverse=True)
    if len(present) > MOST_LABELS:
        raise InputError(f"{what} has {len(present)} labels; at most {MOST_LABELS} are allowed")
    return numbered.reshape(labels.shape)
