"""The published program's colour jitter, mistakes and all.

Its released weights were trained with it, so it stays as it is; `cyborgs.pretraining.views` has the
jitter to train with.  It calls its factors brightness, contrast, saturation and hue, and draws
them from the usual ranges, but takes them for other quantities than those names say.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_LEVELS = np.arange(256)


def published_jitter(
    image: NDArray[Any], *, brightness: float, contrast: float, saturation: float, hue: float
) -> NDArray[Any]:
    """Jitter an image as albumentations 1.1.0 does with what the published program hands it.

    With m the mean of the image over all pixels and channels:

    1. v becomes ``contrast v + (brightness - 1) m`` in float32, clipped to 0 … 255 and truncated:
       contrast about 0 instead of the mean, and brightness an offset.
    2. In OpenCV's 8-bit HSV, ``trunc(255 hue)`` is added to the hue (modulo 180), and
       ``trunc(255 saturation)`` to the saturation (clipped to 255).  A saturation factor lies
       about 1, so this adds about 255: almost every pixel becomes fully saturated.

    Args:
        image: uint8 RGB ``(height, width, 3)``.
        brightness, contrast, saturation: drawn about 1.
        hue: drawn about 0.

    Returns:
        uint8 RGB of the same shape.
    """
    offset = np.float32((brightness - 1) * image.mean())
    values = _LEVELS.astype(np.float32) * np.float32(contrast) + offset
    image = cv2.LUT(image, np.clip(values, 0, 255).astype(np.uint8))
    hsv = (
        (_LEVELS + int(255 * hue)) % 180,
        np.clip(_LEVELS + int(255 * saturation), 0, 255),
        _LEVELS,
    )
    table = np.stack(hsv, axis=-1).astype(np.uint8)[:, None]  # a column for each channel
    image = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(image, cv2.COLOR_HSV2RGB)
