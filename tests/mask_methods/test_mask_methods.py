"""Masks of round 0, against scikit-image, loops and annotations."""

import json

import numpy as np
import pytest
from skimage import segmentation

from cyborgs.images.annotations import GroundTruth
from cyborgs.images.decoding import Entry
from cyborgs.mask_methods.annotated import Annotated
from cyborgs.mask_methods.felzenszwalb import Felzenszwalb
from cyborgs.mask_methods.grid import Grid
from cyborgs.mask_methods.whole import Whole
from cyborgs.masks.alignment import full_size
from tests.mask_methods.conftest import SIZES, STRIDES, halves, noise

SETTINGS = {"scale": 100.0, "min_size": 20, "sigma": 0.8}


def felzenszwalb(image, **settings):
    return Felzenszwalb(kind="felzenszwalb", **settings).labels(image)


def grid(height, width, **settings):
    return Grid(kind="grid", **settings).labels(height, width)


def one(height, width, stride):
    return Whole(kind="global", stride=stride).labels(height, width)


def annotated(truth, entry, stride):
    return Annotated(kind="ground-truth", stride=stride).labels(truth, entry)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """Annotations of one image, 30 x 50: a rectangle, and a smaller one on top of it."""
    corners = {1: (4, 6, 26, 40), 2: (8, 16, 16, 32)}  # top, left, bottom, right
    content = {
        "images": [{"id": 1, "file_name": "a/x.jpg", "height": 30, "width": 50}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            }
            for number, (top, left, bottom, right) in corners.items()
        ],
    }
    path = tmp_path_factory.mktemp("truth") / "instances.json"
    path.write_text(json.dumps(content))
    return GroundTruth(path)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("stride", STRIDES)
def test_there_is_a_label_for_every_centre(size, stride, truth):
    height, width = size
    expected = len(range(0, height, stride)), len(range(0, width, stride))
    for labels in (
        grid(height, width, cells=5, stride=stride),
        one(height, width, stride=stride),
        annotated(truth, Entry("unknown.jpg", height, width, 1, 0), stride=stride),
        felzenszwalb(noise(height, width), **SETTINGS, short_side=None, stride=stride),
        felzenszwalb(noise(height, width), **SETTINGS, short_side=16, stride=stride),
    ):
        assert labels.shape == expected
        assert np.issubdtype(labels.dtype, np.integer)
        assert 0 <= labels.min() <= labels.max() < 2**16


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("short_side", [None, 64, 1000])
def test_segments_at_full_size_are_those_of_scikit_image(photograph, stride, short_side):
    expected = segmentation.felzenszwalb(photograph, scale=100, sigma=0.8, min_size=20)
    assert len(np.unique(expected)) > 3
    found = felzenszwalb(photograph, **SETTINGS, short_side=short_side, stride=stride)
    np.testing.assert_array_equal(found, expected[::stride, ::stride])


@pytest.mark.parametrize("setting", [{"scale": 1000.0}, {"min_size": 400}, {"sigma": 3.0}])
def test_every_setting_of_the_segmentation_counts(photograph, setting):
    given = SETTINGS | setting
    found = felzenszwalb(photograph, **given, short_side=None, stride=1)
    np.testing.assert_array_equal(found, segmentation.felzenszwalb(photograph, **given))
    assert not np.array_equal(found, segmentation.felzenszwalb(photograph, **SETTINGS))


@pytest.mark.parametrize(("size", "short_side"), [((120, 200), 40), ((200, 121), 33)])
def test_segments_of_a_shrunk_image_keep_their_place(size, short_side):
    height, width = size
    image = halves(height, width, edge=96)
    labels = felzenszwalb(image, scale=100, min_size=10, sigma=0.1, short_side=short_side, stride=8)
    shrink = min(size) / short_side
    centres = 8 * np.arange(labels.shape[1])
    left, right = centres < 96 - shrink, centres > 96 + shrink
    assert len(np.unique(labels[:, left])) == 1
    assert len(np.unique(labels[:, right])) == 1
    assert labels[0, 0] != labels[0, -1]


def test_the_smallest_segment_counts_pixels_of_the_shrunk_image():
    image = halves(100, 100, edge=50)
    image[40:60, 10:30] = 120  # 400 pixels; 25 at a quarter of the size
    settings = {"scale": 50.0, "min_size": 100, "sigma": 0.1, "stride": 1}
    assert len(np.unique(felzenszwalb(image, **settings, short_side=None))) == 3
    assert len(np.unique(felzenszwalb(image, **settings, short_side=25))) == 2


@pytest.mark.parametrize("cells", [1, 2, 5, 256])
@pytest.mark.parametrize("size", [*SIZES, (400, 300)], ids=str)
def test_a_location_is_in_the_rectangle_that_holds_its_centre(cells, size):
    height, width = size
    labels = grid(height, width, cells=cells, stride=8)
    for i, j in np.ndindex(labels.shape):
        assert labels[i, j] == (8 * i * cells // height) * cells + 8 * j * cells // width


def test_rectangles_are_equal_and_as_many_as_asked_for():
    ids, pixels = np.unique(grid(40, 60, cells=5, stride=1), return_counts=True)
    assert ids.tolist() == list(range(25))
    assert set(pixels) == {8 * 12}
    assert len(np.unique(grid(16, 16, cells=5, stride=8))) == 4


def test_one_mask_for_everything():
    assert not one(40, 60, stride=8).any()


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_annotated_instances_are_looked_up_at_the_centres(truth, stride):
    expected = np.zeros((30, 50), dtype=int)
    expected[4:26, 6:40] = 1
    expected[8:16, 16:32] = 2
    found = annotated(truth, Entry("a/x.jpg", 30, 50, 1, 0), stride=stride)
    np.testing.assert_array_equal(found, expected[::stride, ::stride])
    if stride == 1:
        np.testing.assert_array_equal(full_size(found, 30, 50, 1), expected)


def test_an_image_without_annotations_has_one_mask(truth):
    assert not annotated(truth, Entry("b.jpg", 30, 50, 1, 0), stride=8).any()


def test_annotations_of_another_size_are_refused(truth, refused):
    with refused("a/x.jpg", "30 x 50", "31 x 50"):
        annotated(truth, Entry("a/x.jpg", 31, 50, 1, 0), stride=8)
