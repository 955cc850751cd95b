"""The rule by which a pixel finds its label, alone and through the views of training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyborgs.config import Views
from cyborgs.images.index import Index, scan
from cyborgs.images.listing import names_of
from cyborgs.masks.alignment import at_centres, full_size, grid_size, nearest_location
from cyborgs.masks.shards import Header, Masks, write_shard
from cyborgs.pretraining.samples import TwoViews
from cyborgs.pretraining.views import Crop, View, cell_labels, draw_view, render

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


# Three ids, painted in red, green and blue: wherever colours blend, the largest channel still
# tells which label has most of a pixel.
IDS = np.array([5, 90, 3000], dtype=np.uint16)
UNCHANGED = {"jitter": 0, "greyscale": 0, "blur": [0, 0], "solarise": [0, 0]}


def random_map(rng, height, width, stride):
    """Which of the three ids each location has, so mixed that no cell is of one id alone."""
    return rng.integers(0, 3, (grid_size(height, stride), grid_size(width, stride)))


def painted(numbers, height, width, stride):
    """An image in which every pixel has the colour of the nearest centre, pixel by pixel."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for y in range(height):
        row = min(range(len(numbers)), key=lambda i: (abs(y - stride * i), -i))
        for x in range(width):
            col = min(numbers.shape[1] - 1, (x + stride // 2) // stride)
            image[y, x, numbers[row, col]] = 255
    return image


def votes(shown):
    """Pixels of each of the three colours in each cell of a view, ``(grid, grid, 3)``."""
    cells = len(shown) // 32
    colours = shown.argmax(-1).reshape(cells, 32, cells, 32)
    return np.stack([(colours == c).sum((1, 3)) for c in range(3)], -1)


def clear_cells(shown, cells):
    """Number of cells whose vote is not close; all of these must have the label that won."""
    counted = votes(shown)
    runner_up, first = np.sort(counted, -1)[..., -2:].transpose(2, 0, 1)
    clear = first - runner_up > 60
    np.testing.assert_array_equal(cells[clear], IDS[counted.argmax(-1)][clear])
    return np.count_nonzero(clear)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("stride", [4, 8, 16])
def test_cells_of_a_view_count_its_own_pixels(flip, stride):
    """Without resizing nothing blends, and the votes must agree to the pixel."""
    rng = np.random.default_rng(stride)
    numbers = random_map(rng, 150, 190, stride)
    image = painted(numbers, 150, 190, stride)
    for _ in range(25):
        crop = Crop(int(rng.integers(150 - 95)), int(rng.integers(190 - 95)), 96, 96, flip)
        shown = render(image, View(crop, None, False, None, False), Views(crop=96))
        expected = IDS[votes(shown).argmax(-1)]
        np.testing.assert_array_equal(
            cell_labels(IDS[numbers], stride, crop, side=96, cell=32), expected
        )


def test_cells_of_a_resized_view_follow_its_image():
    rng = np.random.default_rng(0)
    settings = Views(crop=96, area=[0.2, 1])
    numbers = random_map(rng, 140, 200, 8)
    image = painted(numbers, 140, 200, 8)
    clear = 0
    for _ in range(100):
        crop = draw_view(rng, settings, 0, height=140, width=200).crop
        shown = render(image, View(crop, None, False, None, False), settings)
        clear += clear_cells(shown, cell_labels(IDS[numbers], 8, crop, side=96, cell=32))
    assert clear > 500


def test_samples_of_training_have_the_cells_of_their_images(tmp_path, write_image):
    rng = np.random.default_rng(1)
    maps = {}
    for name, height, width in [("a/x.png", 96, 130), ("b/x.png", 120, 90), ("c.png", 70, 70)]:
        maps[name] = random_map(rng, height, width, 8)
        write_image(tmp_path / "images" / name, painted(maps[name], height, width, 8))
    index = Index(list(scan(tmp_path / "images", names_of(tmp_path / "images"), 1)), "digest")
    with write_shard(tmp_path / "masks.h5", Header(0, 8, 0, 1, "digest", {})) as writer:
        for position in (2, 0, 1):
            entry = index[position]
            writer.add(position, entry, IDS[maps[entry.name]], group=-1, clusters=3)
    masks = Masks(str(tmp_path / "masks.h5"), index)
    settings = Views(crop=64, area=[0.2, 1], **UNCHANGED)
    dataset = TwoViews(tmp_path / "images", index, masks, settings, cell=32, samples=4, seed=0)
    clear = 0
    for epoch in range(20):
        for position in range(3):
            sample = dataset[(epoch, position)]
            for view in range(2):
                clear += clear_cells(sample["images"][view], sample["cells"][view])
    assert clear > 250
