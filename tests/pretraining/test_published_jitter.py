"""The published jitter against vectors, against its arithmetic, and on photographs."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from cyborgs.config import Views
from cyborgs.pretraining.published_jitter import published_jitter
from cyborgs.pretraining.views import draw_view, render

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
PUBLISHED = Views(colour="published", jitter=1, greyscale=0, blur=[0, 0], solarise=[0, 0])


def jittered(image, brightness, contrast, saturation, hue):
    return published_jitter(
        image, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue
    )


def test_vectors_of_the_published_program():
    path = SHARED / "vectors" / "published_jitter.npz"
    if not path.exists():
        pytest.skip("reference vectors are not there: published_jitter.npz in ../shared/vectors")
    arrays = np.load(path)
    for image, factors, expected in zip(
        arrays["images"], arrays["factors"], arrays["expected"], strict=True
    ):
        np.testing.assert_array_equal(jittered(image, *map(float, factors)), expected)


def by_the_letter(image, brightness, contrast, saturation, hue):
    """The arithmetic, value by value; only the conversions to and from HSV are OpenCV's."""
    values = image.reshape(-1).tolist()
    offset = np.float32((brightness - 1) * (sum(values) / len(values)))
    changed = []
    for v in values:
        shifted = np.float32(contrast) * np.float32(v) + offset
        changed.append(int(min(max(float(shifted), 0.0), 255.0)))
    hsv = cv2.cvtColor(np.array(changed, np.uint8).reshape(image.shape), cv2.COLOR_RGB2HSV)
    for pixel in hsv.reshape(-1, 3):
        h, s = int(pixel[0]), int(pixel[1])
        pixel[0] = (h + int(hue * 255)) % 180
        pixel[1] = min(255, max(0, s + int(saturation * 255)))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


@pytest.mark.parametrize(
    "factors",
    [
        (1.4, 1.4, 1.2, 0.1),
        (0.6, 0.6, 0.8, -0.1),
        (0.6, 1.4, 0.9, -0.0999),
        (1.4, 0.6, 1.1, 0.003),  # a hue of less than a step
        (1.0, 1.0, 0.0, 0.0),  # saturation 0: nothing is added
        (1.0, 1.0, 0.5, 0.5),
        (1.7, 0.2, 2.0, -0.5),
    ],
)
def test_the_arithmetic_value_by_value(factors):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    image[:4] = image[:4, :, :1]  # greys, whose hue is none
    image[4:6] = 0
    image[6:8] = 255
    before = image.copy()
    np.testing.assert_array_equal(jittered(image, *factors), by_the_letter(image, *factors))
    np.testing.assert_array_equal(image, before)


def test_brightness_moves_all_values_and_contrast_multiplies_them():
    grey = np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_array_equal(jittered(grey, 1.0, 0.6, 0.0, 0.0), 60)
    np.testing.assert_array_equal(jittered(grey, 1.4, 1.0, 0.0, 0.0), 140)
    np.testing.assert_array_equal(jittered(grey, 0.6, 0.6, 0.0, 0.0), 20)


def test_the_mistake_stays_where_it_is():
    """A saturation factor of 1, which should change nothing, saturates: grey becomes red."""
    grey = np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_array_equal(jittered(grey, 1.0, 1.0, 1.0, 0.0)[0, 0], [100, 0, 0])


def test_views_are_jittered_as_drawn_after_the_crop():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    settings = PUBLISHED.model_copy(update={"crop": 64})
    for seed in range(5):
        view = draw_view(np.random.default_rng(seed), settings, 0, height=90, width=120)
        j = view.jitter
        bare = render(image, replace(view, jitter=None), settings)
        expected = by_the_letter(bare, j.brightness, j.contrast, j.saturation, j.hue)
        np.testing.assert_array_equal(render(image, view, settings), expected)


def test_nothing_else_of_a_view_depends_on_the_choice():
    for seed in range(20):
        one, other = (
            draw_view(
                np.random.default_rng(seed), Views(colour=colour), seed % 2, height=100, width=130
            )
            for colour in ("detcon-like", "published")
        )
        assert one == other


def test_ranges_follow_the_strengths():
    settings = Views(
        colour="published", jitter=1, brightness=0.1, contrast=0.2, saturation=0.3, hue=0.4
    )
    rng = np.random.default_rng(0)
    drawn = [draw_view(rng, settings, 0, height=50, width=50).jitter for _ in range(1000)]
    for name, low, high in (
        ("brightness", 0.9, 1.1),
        ("contrast", 0.8, 1.2),
        ("saturation", 0.7, 1.3),
        ("hue", -0.4, 0.4),
    ):
        values = [getattr(j, name) for j in drawn]
        assert low <= min(values) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < max(values) <= high


def saturation(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]


def test_photographs_lose_their_colours():
    """Nearly all pixels end fully saturated; each changes by more than twice what is usual."""
    folder = SHARED / "data" / "coco" / "train2017"
    if not folder.is_dir():
        pytest.skip("photographs are not there: ../shared/data/coco/train2017")
    rng = np.random.default_rng(0)
    before, after, saturated, changes = [], [], [], {"published": [], "detcon-like": []}
    for path in sorted(folder.glob("*.jpg"))[:48]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        view = draw_view(rng, PUBLISHED, 0, height=height, width=width)
        bare = render(image, replace(view, jitter=None), PUBLISHED)
        before.append(saturation(bare).mean())
        for colour, found in changes.items():
            shown = render(image, view, PUBLISHED.model_copy(update={"colour": colour}))
            found.append(np.abs(shown.astype(int) - bare).mean())
            if colour == "published":
                after.append(saturation(shown).mean())
                saturated.append((saturation(shown) >= 250).mean())
    assert 60 < np.mean(before) < 100
    assert np.mean(after) > 240
    assert np.mean(saturated) > 0.8
    assert np.mean(changes["published"]) > 2 * np.mean(changes["detcon-like"])
