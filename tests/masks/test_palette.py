"""Colours that can be told apart."""

import numpy as np
import pytest

from cyborgs.masks.palette import colours, lab


def test_256_different_colours():
    palette = colours()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert len({tuple(c) for c in palette.tolist()}) == 256
    assert not palette.flags.writeable


# Distances in CIELAB; about 2 can just be seen side by side.
@pytest.mark.parametrize(("first", "least"), [(4, 40), (8, 25), (16, 16)])
@pytest.mark.parametrize("vision", ["normal", "protanopia", "deuteranopia", "tritanopia"])
def test_the_first_ones_differ_most_for_every_eye(vision, first, least):
    seen = lab(colours()[:first], vision)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert apart[~np.eye(first, dtype=bool)].min() > least


def test_none_is_grey_black_or_white():
    lightness, a, b = lab(colours(), "normal").T
    assert lightness.min() > 30
    assert lightness.max() < 95
    assert np.hypot(a, b).min() > 20


def test_conversion_of_known_colours():
    """Values from the definition of CIELAB under D65."""
    rgb = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], dtype=np.uint8)
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]
    np.testing.assert_allclose(lab(rgb, "normal"), expected, atol=0.3)


def test_red_and_green_are_alike_without_one_kind_of_cone():
    rgb = np.array([[190, 90, 0], [110, 120, 0]], dtype=np.uint8)
    normal, without = (
        np.linalg.norm(np.diff(lab(rgb, v), axis=0)) for v in ("normal", "protanopia")
    )
    assert without < normal / 2
