"""Files to pixels.  The only place that decodes images."""

import io
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from cyborgs.common.errors import BadImageError, InputError

T = TypeVar("T", bound=np.generic)

# Loader processes are the parallelism; OpenCV's own threads would fight them.
cv2.setNumThreads(0)
# The caller reports what is wrong with a file, in one line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module="PIL")

# Suffixes of formats that OpenCV reads, then of those that Pillow reads instead.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff"}
    | {".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pnm"}
)

# How the files begin that OpenCV decodes here: JPEG, PNG, BMP, TIFF (RIFF is WebP).
_OPENCV = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TIFF = _OPENCV[4:]

# Pixels of an image, at most: half a gigabyte as RGB.  A file of a few kilobytes can claim more
# than any memory holds.  Pillow would refuse the same, after a warning at half of it.
MAX_PIXELS = 178_956_970
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An image file as it was indexed.

    Attributes:
        name: its path below the images folder, with ``/`` between folders.
        height, width: in pixels, as `decode` gives them: upright.
        bytes: its length.
        crc32: of its content.
        orientation: in EXIF, 1 … 8; the stored pixels are upright where it is 1.
    """

    name: str
    height: int
    width: int
    bytes: int
    crc32: int
    orientation: int = 1


class BrokenImageError(ValueError):
    """An image file that cannot be decoded; the message is the reason alone."""


def upright(pixels: NDArray[T], orientation: int) -> NDArray[T]:
    """Stored pixels ``(rows, columns, …)`` as they should be seen (EXIF 2.3, tag 0x0112)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    # For values from 5 on, rows and columns were exchanged above.
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def examine(name: str, content: bytes) -> Entry:
    """What an encoded image is, as `decode` will see it.

    All of the compressed data is read, so that a truncated file is found; a JPEG is decoded
    at an eighth of its size, which costs less than half the time.  EXIF that cannot be read is
    taken for none (`has_unread_exif`).  Raises `BrokenImageError`.
    """
    if not content:
        raise BrokenImageError("empty file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BrokenImageError(
                    f"{width} x {height} pixels; at most {MAX_PIXELS:,} are decoded"
                )
            orientation = _orientation(image)
            image.draft("RGB", (max(1, width // 8), max(1, height // 8)))
            image.load()
    except BrokenImageError:
        raise
    except UnidentifiedImageError:
        raise BrokenImageError("not an image in a known format") from None
    except Exception as error:
        # Pillow's decoders raise many types (OSError, SyntaxError, struct.error, …).
        raise BrokenImageError(" ".join(str(error).split()) or type(error).__name__) from None
    if content.startswith(b"\xff\xd8"):
        if orientation >= 5:
            height, width = width, height
    else:
        # The two libraries read different pictures of some files; take the one that training will
        # read.
        pixels = _decoded(content, orientation)
        if pixels is None:
            raise BrokenImageError("this kind of file cannot be decoded")
        height, width = pixels.shape[:2]
    return Entry(name, int(height), int(width), len(content), zlib.crc32(content), orientation)


def _orientation(image: Image.Image) -> int:
    """That of EXIF, 1 … 8; 1 where EXIF has none, or cannot be read.

    The only place that asks: `decode` turns pixels by what was found here.
    """
    try:
        value = _exif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # garbage, in as many ways as above
        return 1
    # Written as a fraction by some cameras; some write a text.
    return int(value) if value in range(1, 9) else 1


def _exif(image: Image.Image) -> Image.Exif:
    if image.format == "TIFF":
        return image.getexif()
    # That of EXIF alone: Pillow would ask XMP too.
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return exif


def has_unread_exif(content: bytes) -> bool:
    """Whether an encoded image has EXIF that cannot be read, and may have to be turned."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            _exif(image).get(ExifTags.Base.Orientation)
    except Exception:  # garbage, in as many ways as above
        return True
    return False


def pixels_of(content: bytes) -> NDArray[np.uint8] | None:
    """Pixels of an encoded image: RGB ``(height, width, 3)``, upright; None where it is broken."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            orientation = _orientation(image)
    except Exception:  # Pillow raises many types
        return None
    return _decoded(content, orientation)


def _decoded(content: bytes, orientation: int) -> NDArray[np.uint8] | None:
    """Pixels of an encoded image, turned from that orientation."""
    if not content.startswith(_OPENCV):
        pixels = _decoded_by_pillow(content)
    else:
        # OpenCV is twice as fast as Pillow here, with the same pixels for JPEG.
        kind = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            found = cv2.imdecode(np.frombuffer(content, np.uint8), kind)
        except cv2.error:
            # Raised for a file that is not an image but claims a huge size.
            return None
        pixels = None if found is None else np.asarray(found, dtype=np.uint8)
        # OpenCV always applies the orientation of a TIFF, even when told not to.
        if content.startswith(_TIFF):
            orientation = 1
    if pixels is None:
        return None
    return np.ascontiguousarray(upright(pixels, orientation))


def _decoded_by_pillow(content: bytes) -> NDArray[np.uint8] | None:
    """Stored pixels of a format that not every OpenCV has; of several pictures, the first."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            # Of 16 bits the upper 8, as OpenCV has it; Pillow would cut values off at 255.
            if image.mode.startswith("I"):
                grey = np.asarray(image).astype(np.uint32) >> 8
                return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(image.convert("RGB"))
    except Exception:  # Pillow raises many types
        return None


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """Pixels of an image that no index lists: RGB ``(height, width, 3)``, upright.

    Raises `InputError` where the file cannot be read or decoded.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"image {path} cannot be read: {error.strerror}") from None
    pixels = pixels_of(content) if content else None
    if pixels is None:
        raise InputError(f"image {path} cannot be decoded; restore it")
    return pixels


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of an image as `read_pixels` gives it; of a JPEG, from its header alone.

    Raises `InputError` where the file cannot be read, or is no image.
    """
    # If the header is odd, the whole image is decoded below.
    with suppress(Exception), open(path, "rb") as stream:
        if stream.read(2) == b"\xff\xd8":
            with Image.open(stream) as image:
                width, height = image.size
                return (width, height) if _orientation(image) >= 5 else (height, width)
    height, width, _ = read_pixels(path).shape
    return height, width


def format_of(content: bytes) -> str:
    """Name of an encoded image's format, such as JPEG, from its header alone."""
    with Image.open(io.BytesIO(content)) as image:
        return image.format or "unknown"


def decode(folder: Path, entry: Entry) -> NDArray[np.uint8]:
    """Pixels of an indexed image: RGB ``(height, width, 3)``, EXIF orientation applied.

    Args:
        folder: of the images.
        entry: the image in their index.

    Raises:
        BadImageError: the file is not the one that was indexed, or cannot be decoded.
        InputError: it cannot be read: a fault of the disk or the network may pass.
    """
    path = folder / entry.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"image {entry.name}: cannot read {path}: {error.strerror}") from None
    if len(content) != entry.bytes:
        raise BadImageError(
            f"image {entry.name}: {path} has {len(content)} bytes, {entry.bytes} when it was "
            "indexed; restore it, or index again"
        )
    if zlib.crc32(content) != entry.crc32:
        raise BadImageError(
            f"image {entry.name}: {path} has changed since it was indexed; restore it, or index "
            "again"
        )
    pixels = _decoded(content, entry.orientation)
    if pixels is None or pixels.shape != (entry.height, entry.width, 3):
        # The file is the one that was indexed: two libraries, or two versions, read it differently.
        raise BadImageError(
            f"image {entry.name}: {path} cannot be decoded by OpenCV {cv2.__version__} "
            f"({entry.height} x {entry.width} pixels when it was indexed); save it again"
        )
    return pixels
