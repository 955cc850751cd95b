"""Masks to begin with: round 0, before there are features to cluster.

Each function gives the labels of one image at feature resolution, ``(rows, cols)``, by the
rule of `cyborgs.masks.alignment`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb as segment

from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import Entry
from cyborgs.masks.alignment import at_centres, grid_size

Labels = NDArray[np.integer]


def felzenszwalb(
    image: NDArray[np.uint8],
    *,
    scale: float,
    min_size: int,
    sigma: float,
    short_side: int | None,
    stride: int,
) -> Labels:
    """Graph-based segments (Felzenszwalb and Huttenlocher, 2004), as DetCon seeds its masks.

    The image, RGB ``(height, width, 3)``, is shrunk to ``short_side`` pixels first, where it is
    larger; ``min_size`` and ``sigma`` are in pixels of the shrunk image.
    """
    height, width = image.shape[:2]
    factor = 1.0 if short_side is None else min(1.0, short_side / min(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    segments: Labels = segment(small, scale=scale, sigma=sigma, min_size=min_size)
    # Pixel of the shrunk image under each location's centre.
    rows = np.arange(0, height, stride) * size[1] // height
    cols = np.arange(0, width, stride) * size[0] // width
    return segments[rows[:, None], cols]


def grid(height: int, width: int, *, cells: int, stride: int) -> Labels:
    """Equal rectangles, ``cells`` a side (fewer where the image has fewer locations)."""
    rows = np.arange(0, height, stride) * cells // height
    cols = np.arange(0, width, stride) * cells // width
    return rows[:, None] * cells + cols


def one(height: int, width: int, *, stride: int) -> Labels:
    """One mask for the whole image."""
    return np.zeros((grid_size(height, stride), grid_size(width, stride)), dtype=np.uint8)


def annotated(truth: GroundTruth, entry: Entry, *, stride: int) -> Labels:
    """Annotated instances: 0 is everything else, and instance i of the image is 1 + i.

    An image that the annotations do not know has one mask.
    """
    if entry.name not in truth:
        return one(entry.height, entry.width, stride=stride)
    return at_centres(truth.instances(entry).label_map(), stride)
