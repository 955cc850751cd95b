"""The rule by which a pixel finds its label."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborgs.masks.alignment import at_centres, full_size, grid_size, nearest_location

STRIDES = st.sampled_from([1, 2, 3, 4, 8, 16, 32])
SIDES = st.integers(1, 70)


@pytest.mark.parametrize("stride", [1, 3, 8, 32])
def test_a_side_has_as_many_locations_as_centres_fit(stride):
    for pixels in range(1, 200):
        assert grid_size(pixels, stride) == len(range(0, pixels, stride))


def test_pixels_change_label_half_way_between_centres_at_stride_8():
    found = nearest_location(np.arange(24), locations=3, stride=8)
    assert found.tolist() == [0] * 4 + [1] * 8 + [2] * 12


@settings(max_examples=60, deadline=None)
@given(SIDES, STRIDES)
def test_a_pixel_takes_the_nearest_centre_of_two_equal_ones_the_later(pixels, stride):
    locations = grid_size(pixels, stride)
    found = nearest_location(np.arange(pixels), locations, stride)
    for x in range(pixels):
        nearest = min(range(locations), key=lambda i: (abs(x - stride * i), -i))
        assert found[x] == nearest


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, STRIDES)
def test_labels_at_full_size_are_read_back_at_the_centres(height, width, stride):
    shape = grid_size(height, stride), grid_size(width, stride)
    labels = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    full = full_size(labels, height, width, stride)
    assert full.shape == (height, width)
    assert full.dtype == labels.dtype
    np.testing.assert_array_equal(at_centres(full, stride), labels)


def test_rows_and_columns_are_not_mixed_up():
    labels = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    full = full_size(labels, height=9, width=20, stride=8)
    assert full[:4, :4].tolist() == [[1] * 4] * 4
    assert full[8].tolist() == [4] * 4 + [5] * 8 + [6] * 8
    assert full[:, 19].tolist() == [3] * 4 + [6] * 5
