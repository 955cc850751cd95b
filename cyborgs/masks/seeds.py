"""Masks to begin with: round 0, before there are features to cluster.

Each function gives the labels of one image at feature resolution, ``(rows, cols)``, by the
rule of `cyborgs.masks.alignment`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import segmentation

from cyborgs.data.annotations import GroundTruth
from cyborgs.data.decoding import Entry
from cyborgs.masks.alignment import at_centres, grid_size

Labels = NDArray[np.integer]

# What scikit-image takes at most for a pixel that it segments, in bytes, measured on photographs,
# noise and one colour: 344 to 346 (edges of a graph, in 64 bits), and 122 to 148.
_BYTES_A_PIXEL = {"felzenszwalb": 350, "slic": 150}


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

    DetCon (Hénaff et al., 2021) has ``scale`` 1000 and ``min_size`` 1000 at full size.

    The image, RGB ``(height, width, 3)``, is shrunk to ``short_side`` pixels first, where it is
    larger; ``min_size`` and ``sigma`` are in pixels of the shrunk image.
    """
    small = _shrunk(image, short_side)
    segments: Labels = segmentation.felzenszwalb(small, scale=scale, sigma=sigma, min_size=min_size)
    return _at_centres(segments, image, stride)


def slic(
    image: NDArray[np.uint8],
    *,
    n_segments: int,
    compactness: float,
    sigma: float,
    short_side: int | None,
    stride: int,
) -> Labels:
    """Superpixels (SLIC): k-means of colour, in CIELAB, and place (Achanta et al., 2012).

    Each is one piece.  The image, RGB ``(height, width, 3)``, is shrunk to ``short_side`` pixels
    first, where it is larger; ``sigma`` is in pixels of the shrunk image.
    """
    segments: Labels = segmentation.slic(
        _shrunk(image, short_side),
        n_segments=n_segments,
        compactness=compactness,
        sigma=sigma,
        start_label=0,
    )
    return _at_centres(segments, image, stride)


def memory_needed(kind: str, height: int, width: int, short_side: int | None) -> int:
    """Bytes that it takes to decode and segment an image of ``height`` x ``width`` pixels, about.

    ``kind`` is "felzenszwalb" or "slic".
    """
    rows, columns = _segmented_size(height, width, short_side)
    return rows * columns * _BYTES_A_PIXEL[kind] + height * width * 3


def _segmented_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    factor = 1.0 if short_side is None else min(1.0, short_side / min(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _shrunk(image: NDArray[np.uint8], short_side: int | None) -> NDArray[np.uint8]:
    height, width = _segmented_size(image.shape[0], image.shape[1], short_side)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def _at_centres(segments: Labels, image: NDArray[np.uint8], stride: int) -> Labels:
    """Labels of an image's grid locations, from segments of the image or of a shrunk one."""
    height, width = image.shape[:2]
    # Pixel of the shrunk image under each location's centre.
    rows = np.arange(0, height, stride) * segments.shape[0] // height
    cols = np.arange(0, width, stride) * segments.shape[1] // width
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
