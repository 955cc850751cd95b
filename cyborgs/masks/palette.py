"""Colours for labels, in shards and in pictures."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

# What is seen without one kind of cone, in linear RGB (Machado, Oliveira and Fernandes, 2009, at
# full severity).
_VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
_FIRST = (0, 114, 178)  # the blue of Okabe and Ito (2008)


@cache
def colours() -> NDArray[np.uint8]:
    """256 RGB colours, ``(256, 3)``, read-only; the first ones differ most.

    Each is the one farthest from all before it, in CIELAB, as seen with normal vision or
    without one kind of cone, whichever is least.  None is near black, white or grey, so that
    all can be told from a photograph in grey.
    """
    levels = np.linspace(0, 255, 12).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lightness, a, b = lab(candidates, "normal").T
    candidates = candidates[(lightness > 35) & (lightness < 90) & (np.hypot(a, b) > 25)]
    candidates = np.concatenate([[np.array(_FIRST, dtype=np.uint8)], candidates])
    seen = [lab(candidates, vision) for vision in _VISIONS]
    chosen = [0]
    nearest = np.full(len(candidates), np.inf)
    while len(chosen) < 256:
        apart = np.min([np.linalg.norm(s - s[chosen[-1]], axis=1) for s in seen], axis=0)
        nearest = np.minimum(nearest, apart)
        chosen.append(int(nearest.argmax()))
    palette = candidates[chosen]
    palette.flags.writeable = False
    return palette


def lab(rgb: NDArray[np.uint8], vision: str) -> NDArray[np.float32]:
    """CIELAB of colours ``(n, 3)`` as a kind of vision sees them.

    ``vision``: "normal", "protanopia", "deuteranopia" or "tritanopia".
    """
    share = rgb.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ _VISIONS[vision].T, 0, 1)
    # OpenCV's conversion from linear RGB, "L" for linear.
    seen: NDArray[np.float32] = cv2.cvtColor(linear.astype(np.float32)[None], cv2.COLOR_LRGB2Lab)[0]
    return seen
