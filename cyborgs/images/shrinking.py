"""Images and ground truth at a smaller size, in step."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cyborgs.images.decoding import SUFFIXES

# Quality of the JPEGs that are written.
_QUALITY = 92


def small_name(name: str) -> str:
    """What a shrunk image is called: it is a JPEG, and keeps the rest of its name."""
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"


def original_name(name: str) -> str | None:
    """The name of the image that `small_name` gave this name; None where it kept its own."""
    original, dot, _ = name.rpartition(".")
    changed = Path(original).suffix.lower() in SUFFIXES and small_name(original) == name
    return original if dot and changed else None


def small_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width in pixels with that short side; an image that is small stays as it is."""
    scale = min(1.0, short_side / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink_image(pixels: NDArray[np.uint8], short_side: int) -> bytes:
    """A JPEG of an RGB image ``(height, width, 3)``, each pixel the mean of those it covers."""
    height, width = small_size(pixels.shape[0], pixels.shape[1], short_side)
    if (height, width) != pixels.shape[:2]:
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done  # only a picture larger than JPEG allows, 65535 pixels a side, is refused
    return content.tobytes()


def shrink_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """A mask at another size: each pixel takes what its centre lies on."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(np.intp)
    return mask[rows[:, None], columns]
