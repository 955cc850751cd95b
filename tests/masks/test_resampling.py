"""Masks of one picture at two sizes, against exact fractions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborgs.images.shrinking import original_name, shrink_mask, small_name, small_size
from cyborgs.masks.alignment import at_centres, centres_in, full_size, is_same_picture, resample

SIDES = st.integers(1, 60)
SIZES = st.tuples(SIDES, SIDES)
HALF = Fraction(1, 2)


def lies_on(pixel, size, other):
    """Pixel of a side of ``other`` pixels that holds the centre of a pixel of one of ``size``."""
    return floor((pixel + HALF) * Fraction(other, size))


def nearest(pixel, locations, stride):
    """Location whose centre is nearest to a pixel; of two, the one to the right."""
    return min(range(locations), key=lambda i: (abs(stride * i - pixel), -i))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SIZES, SIZES, st.sampled_from([1, 2, 8, 32]))
def test_a_location_takes_the_pixel_that_its_centre_lies_on(size, other, stride):
    full = np.arange(other[0] * other[1]).reshape(other)
    found = full[centres_in(size, stride, other)]
    assert found.tolist() == [
        [
            full[lies_on(y, size[0], other[0]), lies_on(x, size[1], other[1])]
            for x in range(0, size[1], stride)
        ]
        for y in range(0, size[0], stride)
    ]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SIZES, SIZES, st.sampled_from([1, 2, 7, 8, 32]))
def test_stored_labels_are_looked_up_by_the_rule_of_the_files(size, other, stride):
    """Each location takes the label that the pixel which it lies on has there."""
    shape = tuple(-(-side // stride) for side in other)
    labels = np.arange(shape[0] * shape[1]).reshape(shape)
    found = resample(labels, size, other, stride)
    rows = [lies_on(y, size[0], other[0]) for y in range(0, size[0], stride)]
    columns = [lies_on(x, size[1], other[1]) for x in range(0, size[1], stride)]
    assert found.tolist() == [
        [labels[nearest(y, shape[0], stride), nearest(x, shape[1], stride)] for x in columns]
        for y in rows
    ]
    whole = full_size(labels, *other, stride)
    np.testing.assert_array_equal(found, whole[np.ix_(rows, columns)])


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_at_one_size_nothing_changes(stride):
    full = np.random.default_rng(0).integers(0, 9, (37, 50))
    np.testing.assert_array_equal(
        full[centres_in((37, 50), stride, (37, 50))], at_centres(full, stride)
    )
    labels = at_centres(full, stride)
    np.testing.assert_array_equal(resample(labels, (37, 50), (37, 50), stride), labels)


def test_it_is_the_rule_by_which_annotations_are_shrunk():
    mask = np.random.default_rng(0).random((480, 640)) < 0.5
    small = shrink_mask(mask, 224, 299)
    np.testing.assert_array_equal(mask[centres_in((224, 299), 1, (480, 640))], small)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 1000))
def test_every_smaller_copy_is_the_same_picture(height, width, short_side):
    small = small_size(height, width, short_side)
    assert is_same_picture((height, width), small)
    assert is_same_picture(small, (height, width))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SIZES, SIZES)
def test_two_sizes_are_of_one_picture_where_one_scale_rounds_to_both_sides(size, other):
    small, large = sorted((size, other), key=lambda s: s[0] * s[1])
    low = max(Fraction(2 * a - 1, 2 * b) for a, b in zip(small, large, strict=True))
    high = min(Fraction(2 * a + 1, 2 * b) for a, b in zip(small, large, strict=True))
    assert is_same_picture(size, other) == (low <= high)


@pytest.mark.parametrize(
    ("size", "other", "same"),
    [
        ((480, 640), (224, 299), True),
        ((427, 640), (256, 384), True),
        ((427, 640), (256, 383), True),  # rounded down
        ((480, 640), (640, 480), False),
        ((480, 640), (224, 300), False),
        ((480, 640), (480, 638), False),
        ((480, 640), (427, 640), False),
    ],
)
def test_what_is_one_picture(size, other, same):
    assert is_same_picture(size, other) is same
    assert is_same_picture(other, size) is same


@pytest.mark.parametrize("name", ["a.png", "b/c.WEBP", "x.y.tif", "a.jpg.png", "ü 'q.gif"])
def test_the_name_of_the_original_of_a_copy(name):
    assert original_name(small_name(name)) == name


@pytest.mark.parametrize("name", ["a.jpg", "b/c.JPEG", "a.jpg.jpg", "png.jpg", "a.txt.jpg", ""])
def test_a_name_that_a_copy_keeps(name):
    assert original_name(name) is None
