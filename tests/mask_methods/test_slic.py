"""Superpixels, against scikit-image and what makes them such."""

import numpy as np
import pytest
from skimage import segmentation
from skimage.measure import label as connected

from cyborgs.mask_methods.slic import Slic
from tests.mask_methods.conftest import SIZES, STRIDES, halves, noise

SLIC = {"n_segments": 30, "compactness": 10.0, "sigma": 0.0}


def slic(image, **settings):
    return Slic(kind="slic", **settings).labels(image)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stride", STRIDES)
def test_there_is_a_superpixel_for_every_centre(size, stride):
    for short_side in (None, 16):
        labels = slic(noise(*size), **SLIC, short_side=short_side, stride=stride)
        assert labels.shape == tuple(len(range(0, side, stride)) for side in size)
        assert np.issubdtype(labels.dtype, np.integer)
        assert 0 <= labels.min() <= labels.max() < 2**16


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("short_side", [None, 64, 1000])
def test_superpixels_at_full_size_are_those_of_scikit_image(photograph, stride, short_side):
    expected = segmentation.slic(photograph, n_segments=30, compactness=10.0, start_label=0)
    assert len(np.unique(expected)) > 10
    found = slic(photograph, **SLIC, short_side=short_side, stride=stride)
    np.testing.assert_array_equal(found, expected[::stride, ::stride])


@pytest.mark.parametrize("setting", [{"n_segments": 60}, {"compactness": 0.5}, {"sigma": 3.0}])
def test_every_setting_of_superpixels_counts(photograph, setting):
    given = SLIC | setting
    found = slic(photograph, **given, short_side=None, stride=1)
    expected = segmentation.slic(photograph, **given, start_label=0)
    np.testing.assert_array_equal(found, expected)
    usual = slic(photograph, **SLIC, short_side=None, stride=1)
    assert found.shape == usual.shape
    assert not np.array_equal(found, usual)


def test_superpixels_are_as_many_as_asked_for_each_in_one_piece_and_keep_to_edges():
    image = halves(120, 160, edge=71)
    labels = slic(image, **SLIC | {"n_segments": 48}, short_side=None, stride=1)
    ids = np.unique(labels)
    assert 36 <= len(ids) <= 60
    assert connected(labels, background=-1, connectivity=1).max() == len(ids)
    assert not set(labels[:, :71].ravel()) & set(labels[:, 71:].ravel())


@pytest.mark.parametrize(("size", "short_side"), [((120, 200), 40), ((200, 121), 33)])
def test_superpixels_of_a_shrunk_image_keep_their_place(size, short_side):
    image = halves(*size, edge=96)
    labels = slic(image, **SLIC, short_side=short_side, stride=8)
    shrink = min(size) / short_side
    centres = 8 * np.arange(labels.shape[1])
    left, right = centres < 96 - shrink, centres > 96 + shrink
    assert left.any()
    assert right.any()
    assert not set(labels[:, left].ravel()) & set(labels[:, right].ravel())
