"""Views: cell labels against an explicit loop over pixels, and images that stay in step."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF

from cyborgs.config import Views
from cyborgs.masks.alignment import grid_size
from cyborgs.pretraining.views import Crop, Jitter, View, cell_labels, draw_view, render, sample_ids

PLAIN = Views(crop=64)


def slow_cells(labels, stride, crop, side):
    """METHOD by the letter: the label map of the view, pixel by pixel, then a vote a cell."""
    rows, cols = labels.shape
    view = np.empty((side, side), dtype=np.int64)
    for u in range(side):
        y = crop.top + int((u + 0.5) * crop.height / side)
        for v in range(side):
            x = crop.left + int((v + 0.5) * crop.width / side)
            view[u, v] = labels[
                min(rows - 1, (y + stride // 2) // stride),
                min(cols - 1, (x + stride // 2) // stride),
            ]
    if crop.flip:
        view = view[:, ::-1]
    grid = side // 32
    out = np.empty((grid, grid), dtype=np.int64)
    for i in range(grid):
        for j in range(grid):
            ids, counts = np.unique(
                view[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32], return_counts=True
            )
            out[i, j] = ids[counts.argmax()]
    return out


@pytest.mark.parametrize("stride", [1, 4, 8, 16])
@pytest.mark.parametrize("most", [3, 200, 60000])
def test_cell_labels_agree_with_a_loop_over_pixels(stride, most):
    rng = np.random.default_rng(stride * most)
    for height, width in [(90, 130), (40, 33), (5, 70), (1, 1)]:
        shape = grid_size(height, stride), grid_size(width, stride)
        labels = rng.integers(0, most, shape).astype(np.uint16 if most > 256 else np.uint8)
        for _ in range(3):
            crop = draw_view(rng, PLAIN, 0, height=height, width=width).crop
            np.testing.assert_array_equal(
                cell_labels(labels, stride, crop, side=64, cell=32),
                slow_cells(labels, stride, crop, 64),
            )


def test_a_tie_goes_to_the_smaller_id():
    labels = np.array([[9, 5]], dtype=np.uint8).repeat(8, 0).repeat(4, 1)  # halves of 32 pixels
    crop = Crop(top=0, left=12, height=32, width=32, flip=False)
    full = slow_cells(labels, 8, crop, 32)
    assert full.item() == 5
    assert cell_labels(labels, 8, crop, side=32, cell=32).item() == 5


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("stride", [4, 8])
def test_image_and_labels_stay_in_step(flip, stride):
    """An image painted by its labels, rendered, has in each cell the colour of its label.

    The labels change from block to block, so a shift of one cell, a mirrored mask or a swap of
    rows and columns would show.
    """
    rng = np.random.default_rng(3)
    height, width, side = 320, 480, 128
    labels = rng.permutation(40).reshape(5, 8).astype(np.uint8)
    labels = labels.repeat(64 // stride, 0).repeat(64 // stride, 1)[
        : grid_size(height, stride), : grid_size(width, stride)
    ]
    ys, xs = np.mgrid[:height, :width]
    centres = labels[
        np.minimum(labels.shape[0] - 1, (ys + stride // 2) // stride),
        np.minimum(labels.shape[1] - 1, (xs + stride // 2) // stride),
    ]
    image = np.repeat(centres[..., None], 3, axis=2).astype(np.uint8)
    settings = Views(crop=side)
    pure = 0
    for _ in range(20):
        crop = draw_view(rng, settings, 0, height=height, width=width).crop
        crop = Crop(crop.top, crop.left, crop.height, crop.width, flip)
        shown = render(image, View(crop, None, False, None, False), settings)[..., 0]
        cells = cell_labels(labels, stride, crop, side=side, cell=32)
        for i in range(side // 32):
            for j in range(side // 32):
                block = shown[i * 32 : i * 32 + 32, j * 32 : j * 32 + 32]
                values, counts = np.unique(block, return_counts=True)
                if counts.max() > 0.6 * block.size:  # elsewhere edges blend and votes are close
                    pure += 1
                    assert values[counts.argmax()] == cells[i, j]
    assert pure > 60


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (480, 640), (33, 47)])
def test_crops_lie_in_the_image(size):
    height, width = size
    rng = np.random.default_rng(0)
    for _ in range(200):
        crop = draw_view(rng, PLAIN, 0, height=height, width=width).crop
        assert crop.height >= 1
        assert crop.width >= 1
        assert 0 <= crop.top <= height - crop.height
        assert 0 <= crop.left <= width - crop.width


def test_crops_have_the_area_and_ratio_that_are_set():
    rng = np.random.default_rng(0)
    crops = [draw_view(rng, PLAIN, 0, height=480, width=640).crop for _ in range(2000)]
    areas = np.array([c.height * c.width / (480 * 640) for c in crops])
    ratios = np.array([c.width / c.height for c in crops])
    assert 0.078 < areas.min() < 0.1
    assert 0.9 < areas.max() <= 1
    assert 0.73 < ratios.min() < 0.77
    assert 1.3 < ratios.max() < 1.36
    assert abs(np.mean([c.flip for c in crops]) - 0.5) < 0.05


def test_probabilities_by_view():
    rng = np.random.default_rng(0)
    always = Views(jitter=1, greyscale=1, blur=[1, 0], solarise=[0, 1], flip=0)
    for _ in range(50):
        first = draw_view(rng, always, 0, height=100, width=100)
        second = draw_view(rng, always, 1, height=100, width=100)
        assert first.jitter is not None
        assert first.greyscale
        assert first.blur_sigma is not None
        assert 0.1 <= first.blur_sigma <= 2.0
        assert second.blur_sigma is None
        assert (first.solarise, second.solarise) == (False, True)
        assert not first.crop.flip


def test_the_same_generator_draws_the_same_view():
    views = [draw_view(np.random.default_rng(7), PLAIN, 0, height=100, width=90) for _ in range(2)]
    assert views[0] == views[1]


def photograph():
    """Smooth colours, as photographs have, 64 x 64."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (64, 64), interpolation=cv2.INTER_CUBIC)


WHOLE = Crop(0, 0, 64, 64, False)


@pytest.mark.parametrize(
    ("name", "factor", "reference"),
    [
        ("brightness", 1.3, TF.adjust_brightness),
        ("contrast", 0.7, TF.adjust_contrast),
        ("saturation", 1.2, TF.adjust_saturation),
        ("hue", 0.1, TF.adjust_hue),
        ("hue", -0.08, TF.adjust_hue),
    ],
)
def test_colour_changes_are_torchvisions(name, factor, reference):
    image = photograph()
    factors = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, name: factor}
    view = View(WHOLE, Jitter((name,), **factors), False, None, False)
    expected = reference(torch.from_numpy(image).permute(2, 0, 1), factor).permute(1, 2, 0).numpy()
    difference = np.abs(render(image, view, PLAIN).astype(int) - expected)
    # OpenCV's hue has 256 steps, torchvision's is continuous.
    assert difference.max() <= (16 if name == "hue" else 2)
    assert difference.mean() < 3
    assert np.abs(expected.astype(int) - image).max() > 20


def test_greyscale_solarise_and_blur():
    image = photograph()
    grey = render(image, View(WHOLE, None, True, None, False), PLAIN)
    assert np.ptp(grey, axis=2).max() == 0
    solarised = render(image, View(WHOLE, None, False, None, True), PLAIN)
    np.testing.assert_array_equal(solarised, np.where(image >= 128, 255 - image, image))
    blurred = render(image, View(WHOLE, None, False, 2.0, False), PLAIN)
    expected = TF.gaussian_blur(torch.from_numpy(image).permute(2, 0, 1), [23, 23], [2.0, 2.0])
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(blurred.astype(int) - expected.permute(1, 2, 0).numpy())[inner].max() <= 2


def test_ids_are_drawn_with_replacement_among_those_present():
    cells = np.array([[3, 300], [3, 70]], dtype=np.int32)
    drawn = np.stack([sample_ids(np.random.default_rng(i), cells, 16) for i in range(200)])
    assert drawn.shape == (200, 2, 16)
    share = [(drawn == i).mean() for i in (3, 70, 300)]
    assert sum(share) == pytest.approx(1)
    assert np.allclose(share, 1 / 3, atol=0.03)  # by id, not by area
    assert (drawn[:, 0] != drawn[:, 1]).any(1).all()
    assert (sample_ids(np.random.default_rng(0), np.full((2, 2), 9), 4) == 9).all()


def uniformity(values, low, high):
    """Largest distance between the distribution of values and the uniform one (Kolmogorov)."""
    shares = np.sort((np.asarray(values) - low) / (high - low))
    return np.abs(shares - (np.arange(len(shares)) + 0.5) / len(shares)).max()


# The distance of 3000 fair draws passes this once in more than a million times.
FAR = 0.05


def test_every_choice_is_drawn_evenly_from_its_range():
    rng = np.random.default_rng(0)
    # Crops this small always fit, so that none is drawn again.
    settings = Views(area=[0.1, 0.4], ratio=[0.5, 2.0], jitter=1, blur=[1, 1])
    views = [draw_view(rng, settings, 0, height=1000, width=1000) for _ in range(3000)]
    crops, jitters = [v.crop for v in views], [v.jitter for v in views]
    assert uniformity([c.height * c.width / 1e6 for c in crops], 0.1, 0.4) < FAR
    assert uniformity([np.log2(c.width / c.height) for c in crops], -1, 1) < FAR
    assert uniformity([c.top / (1000 - c.height) for c in crops], 0, 1) < FAR
    assert uniformity([c.left / (1000 - c.width) for c in crops], 0, 1) < FAR
    for name, strength in (("brightness", 0.4), ("contrast", 0.4), ("saturation", 0.2)):
        factors = [getattr(j, name) for j in jitters]
        assert uniformity(factors, 1 - strength, 1 + strength) < FAR
    assert uniformity([j.hue for j in jitters], -0.1, 0.1) < FAR
    assert uniformity([v.blur_sigma for v in views], 0.1, 2.0) < FAR
    orders, times = np.unique([j.order for j in jitters], axis=0, return_counts=True)
    assert len(orders) == 24
    assert times.min() > 3000 / 24 / 2


@pytest.mark.parametrize("which", [0, 1])
def test_changes_are_as_frequent_as_the_recipe_says(which):
    rng = np.random.default_rng(which)
    views = [draw_view(rng, Views(), which, height=300, width=400) for _ in range(4000)]
    made = {
        "flip": (0.5, [v.crop.flip for v in views]),
        "jitter": (0.8, [v.jitter is not None for v in views]),
        "greyscale": (0.2, [v.greyscale for v in views]),
        "blur": ((1.0, 0.1)[which], [v.blur_sigma is not None for v in views]),
        "solarise": ((0.0, 0.2)[which], [v.solarise for v in views]),
    }
    for name, (probability, outcomes) in made.items():
        # Five standard deviations; none where the probability is 0 or 1.
        tolerance = 5 * np.sqrt(probability * (1 - probability) / len(views))
        assert abs(np.mean(outcomes) - probability) <= tolerance, name


def test_changes_are_independent_of_one_another():
    rng = np.random.default_rng(0)
    half = Views(jitter=0.5, greyscale=0.5, blur=[0.5, 0.5], solarise=[0.5, 0.5])
    outcomes = []
    for _ in range(4000):
        v = draw_view(rng, half, 0, height=300, width=400)
        changes = v.jitter is not None, v.greyscale, v.blur_sigma is not None, v.solarise
        outcomes.append((v.crop.flip, *changes))
    between = np.corrcoef(np.array(outcomes, dtype=float).T) - np.eye(5)
    assert np.abs(between).max() < 0.08


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (300, 2), (64, 64), (200, 31)])
def test_views_of_any_image_have_one_shape_and_leave_the_image_alone(size):
    height, width = size
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = image.copy()
    everything = Views(crop=96, jitter=1, hue=0.5, greyscale=0.5, blur=[1, 1], solarise=[0.5, 0.5])
    for _ in range(20):
        view = draw_view(rng, everything, 0, height=height, width=width)
        shown = render(image, view, everything)
        assert shown.shape == (96, 96, 3)
        assert shown.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


def test_jitter_is_carried_out_in_the_order_that_was_drawn():
    image = photograph()
    order = ("contrast", "brightness", "hue", "saturation")
    factors = {"brightness": 0.5, "contrast": 1.4, "saturation": 0.3, "hue": 0.2}
    expected = image
    for name in order:
        alone = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | {
            name: factors[name]
        }
        expected = render(
            expected, View(WHOLE, Jitter((name,), **alone), False, None, False), PLAIN
        )
    both = [Jitter(o, **factors) for o in (order, order[::-1])]
    shown, other = (render(image, View(WHOLE, j, False, None, False), PLAIN) for j in both)
    np.testing.assert_array_equal(shown, expected)
    assert np.abs(shown.astype(int) - other).max() > 10


def whole(height, width):
    """A view of the whole image, changed in nothing but size."""
    return View(Crop(0, 0, height, width, False), None, False, None, False)


@pytest.mark.parametrize("size", [(448, 448), (500, 640), (900, 1200)])
def test_shrinking_averages_fine_texture(size):
    """Stripes of one pixel turn grey; skipping pixels would leave some of them black or white."""
    image = np.zeros((*size, 3), np.uint8)
    image[:, ::2] = 255
    shrunk = render(image, whole(*size), Views())
    assert np.abs(shrunk.mean() - 127.5) < 2
    assert shrunk.std() <= 0.5 * image.std()


@pytest.mark.parametrize("size", [(448, 560), (900, 1200)])
def test_shrinking_is_close_to_the_mean_over_areas(size):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
    image = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
    areas = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    difference = np.abs(render(image, whole(*size), Views()).astype(float) - areas)
    assert difference.mean() < 2


@pytest.mark.parametrize("sigma", [0.1, 0.4, 1.0, 1.7, 2.0])
def test_blur_is_that_of_the_full_kernel(sigma):
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    view = replace(whole(224, 224), blur_sigma=sigma)
    kernel = cv2.getGaussianKernel(23, sigma)
    exact = cv2.sepFilter2D(image.astype(np.float64), -1, kernel, kernel)
    # To the nearest grey level.
    assert np.abs(render(image, view, Views()) - exact).max() < 0.51
