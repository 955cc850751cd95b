"""Images to make masks of, and the sizes and strides that all methods are tried with."""

import numpy as np
import pytest
from skimage import data

SIZES = [(1, 1), (1, 50), (9, 8), (64, 65), (37, 120)]
STRIDES = [1, 8, 16]


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def halves(height, width, edge):
    """Dark to the left of a column, bright from there on."""
    image = np.full((height, width, 3), 20, dtype=np.uint8)
    image[:, edge:] = 220
    return image


@pytest.fixture(scope="module")
def photograph():
    """A photograph's middle, 64 x 90."""
    return np.ascontiguousarray(data.astronaut()[100:164, 180:270])
