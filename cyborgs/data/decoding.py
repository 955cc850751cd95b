"""Files to pixels.  The only place that decodes images."""

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from cyborgs.errors import BadImageError, InputError

# Loader processes are the parallelism; OpenCV's own threads would fight them.
cv2.setNumThreads(0)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

# EXIF orientations that swap height and width.
_TRANSPOSED = frozenset({5, 6, 7, 8})


class BrokenImageError(ValueError):
    """An image file that cannot be decoded; the message is the reason alone."""


def inspect(content: bytes) -> tuple[int, int]:
    """Height and width in pixels of an encoded image, as `decode` will give them.

    All of the compressed data is read, so that a truncated file is found; a JPEG is decoded
    at an eighth of its size, which costs less than half the time.  Raises `BrokenImageError`.
    """
    if not content:
        raise BrokenImageError("empty file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            # The orientation in EXIF alone: `decode` knows no other.
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
            transposed = exif.get(ExifTags.Base.Orientation) in _TRANSPOSED
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
    except UnidentifiedImageError:
        raise BrokenImageError("not an image in a known format") from None
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, …).
        raise BrokenImageError(" ".join(str(error).split()) or type(error).__name__) from None
    if content.startswith(b"\xff\xd8"):
        return (width, height) if transposed else (height, width)
    # Of other formats the two libraries take different parts: what training will read counts.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise BrokenImageError("this kind of file cannot be decoded")
    return int(pixels.shape[0]), int(pixels.shape[1])


def decode(path: Path, name: str, size: int, height: int, width: int) -> NDArray[np.uint8]:
    """Pixels of an indexed image: RGB ``(height, width, 3)``, EXIF orientation applied.

    Args:
        path: the file.
        name: what the index calls it, for messages.
        size: its length in bytes when it was indexed.
        height, width: in pixels, when it was indexed.

    Raises:
        BadImageError: the file cannot be decoded, or is not the one that was indexed.
        InputError: it cannot be read: a fault of the disk or the network may pass.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"image {name}: cannot read {path}: {error.strerror}") from None
    if len(content) != size:
        raise BadImageError(
            f"image {name}: {path} has {len(content)} bytes, {size} when it was indexed; "
            "restore it, or index again"
        )
    # OpenCV is twice as fast as Pillow here, with the same pixels for JPEG.  It fills in what
    # a truncated file lacks, hence the check of the length above.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise BadImageError(f"image {name}: {path} cannot be decoded; index again")
    if pixels.shape != (height, width, 3):
        raise BadImageError(
            f"image {name}: {path} is {pixels.shape[0]} x {pixels.shape[1]} pixels, "
            f"{height} x {width} when it was indexed; index again"
        )
    return np.asarray(pixels, dtype=np.uint8)
