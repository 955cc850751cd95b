"""Boundaries and tolerance, against SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy import ndimage

from cyborgs.quality.boundaries import boundaries, near, share


def nothing(shape):
    return np.zeros(shape, dtype=bool)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_both_sides_of_a_line_are_boundary(dtype):
    labels = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 3, 3]], dtype=dtype)
    expected = [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert boundaries(labels, nothing(labels.shape)).astype(int).tolist() == expected


def test_corners_do_not_touch():
    labels = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    expected = [[0, 0, 0], [0, 0, 1], [0, 1, 1]]
    assert boundaries(labels, nothing((3, 3))).astype(int).tolist() == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_one_label_has_none(shape):
    assert not boundaries(np.full(shape, 4), nothing(shape)).any()


def test_where_an_ignored_region_ends_there_is_none():
    labels = np.array([[0, 0, 1, 1, 1, 2]])
    ignore = np.array([[0, 0, 1, 0, 0, 0]], dtype=bool)
    assert boundaries(labels, ignore).astype(int).tolist() == [[0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("distance", [1, 2, 3])
def test_tolerance_is_a_square(distance):
    found = np.random.default_rng(0).random((40, 50)) < 0.01
    expected = ndimage.distance_transform_cdt(~found, metric="chessboard") <= distance
    np.testing.assert_array_equal(near(found, distance), expected)
    np.testing.assert_array_equal(near(nothing((5, 6))), nothing((5, 6)))


def test_share():
    of = np.array([1, 1, 1, 1, 0], dtype=bool)
    assert share(of, np.array([1, 0, 0, 1, 1], dtype=bool)) == 0.5
    assert math.isnan(share(nothing(5), of))
