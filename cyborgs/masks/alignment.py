"""Where a pixel finds its label.

Masks are stored at the resolution of a feature grid.  With odd kernels and symmetric
padding a grid location ``i`` of a network at stride ``s`` is centred on pixel ``s * i``
(not on the middle of the pixels ``s * i`` to ``s * i + s - 1``), so pixel ``x`` takes the
label of the nearest centre, ``min(cols - 1, (x + s // 2) // s)``; likewise for rows.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels = TypeVar("Pixels", int, NDArray[np.int64])


def grid_size(pixels: Pixels, stride: int) -> Pixels:
    """Number of grid locations along a side of ``pixels`` pixels: ``ceil(pixels / stride)``."""
    return -(-pixels // stride)


def nearest_location(
    pixels: NDArray[np.integer], locations: int, stride: int
) -> NDArray[np.integer]:
    """Grid location whose centre is nearest to each pixel coordinate.

    ``pixels``: integer coordinates, any shape; returns the same shape and dtype, values in
    ``0 … locations - 1``.
    """
    return np.minimum(locations - 1, (pixels + stride // 2) // stride)


def full_size(
    labels: NDArray[np.integer], height: int, width: int, stride: int
) -> NDArray[np.integer]:
    """Label of every pixel: ``(rows, cols)`` at feature resolution to ``(height, width)``."""
    rows = nearest_location(np.arange(height), labels.shape[0], stride)
    cols = nearest_location(np.arange(width), labels.shape[1], stride)
    return labels[rows[:, None], cols]


def at_centres(full: NDArray[np.integer], stride: int) -> NDArray[np.integer]:
    """Labels at the grid locations' centres: ``(height, width)`` to ``(rows, cols)``.

    The inverse of `full_size` for maps that are constant around each centre.
    """
    return full[::stride, ::stride]
