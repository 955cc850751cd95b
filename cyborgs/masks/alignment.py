"""Where a pixel finds its label.

Masks are stored at the resolution of a feature grid.  With odd kernels and symmetric
padding a grid location ``i`` of a network at stride ``s`` is centred on pixel ``s * i``
(not on the middle of the pixels ``s * i`` to ``s * i + s - 1``), so pixel ``x`` takes the
label of the nearest centre, ``min(cols - 1, (x + s // 2) // s)``; likewise for rows.

Between two sizes of one picture, the edges lie on each other: pixel ``x`` of ``n`` along a side,
whose centre is at ``x + 0.5``, lies on pixel ``floor((x + 0.5) * m / n)`` of ``m``.
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


def nearest_pixel(pixels: NDArray[np.int64], size: int, other: int) -> NDArray[np.int64]:
    """Pixel of the same picture at another size that each pixel's centre lies on.

    Args:
        pixels: integer coordinates along a side of ``size`` pixels, any shape.
        size: of that side.
        other: pixels of the same side at the other size.
    """
    return (2 * pixels + 1) * other // (2 * size)


def is_same_picture(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes, height and width, can be of one picture.

    They can where one scale takes the larger to the smaller, each side within half a pixel.
    """
    (height, width), (tall, wide) = sorted((size, other), key=lambda s: s[0] * s[1])
    # The scales that round to the height, [height ± 1/2] / tall, and those of the width, must meet.
    return (2 * height - 1) * wide <= (2 * width + 1) * tall and (2 * width - 1) * tall <= (
        2 * height + 1
    ) * wide


def centres_in(
    size: tuple[int, int], stride: int, other: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns, at another size of a picture, that an image's grid locations lie on.

    Args:
        size: height and width of the image.
        stride: of its grid, in its pixels.
        other: height and width of the same picture at the other size.

    Returns:
        int64 ``(rows, 1)`` and ``(cols,)``, to index a map of the other size by.
    """
    rows = nearest_pixel(np.arange(0, size[0], stride), size[0], other[0])
    cols = nearest_pixel(np.arange(0, size[1], stride), size[1], other[1])
    return rows[:, None], cols


def resample(
    labels: NDArray[np.integer], size: tuple[int, int], other: tuple[int, int], stride: int
) -> NDArray[np.integer]:
    """Labels of an image's grid, from those of the same picture at another size.

    Args:
        labels: ``(rows, cols)`` of the other size, at ``stride``.
        size: height and width of the image.
        other: height and width that ``labels`` are of.
        stride: pixels between two locations, in both.

    Returns:
        ``(rows, cols)`` of the image, at ``stride``.
    """
    rows, cols = centres_in(size, stride, other)
    return labels[
        nearest_location(rows, labels.shape[0], stride),
        nearest_location(cols, labels.shape[1], stride),
    ]
