"""Boxes beside outlines: what is as far apart as programs differ, and what is another thing."""

import pytest

from cyborgs.images.boxes import edges_of, require_agreement

H, W = 480, 640
OUTLINE = (100, 120, 220, 300)


def xywh(left, top, right, bottom):
    return [left, top, right - left, bottom - top]


def test_edges():
    assert edges_of([3, 4.5, 10, 20], H, W) == (3, 4.5, 13, 24.5)
    # Coordinates are rounded.
    assert edges_of([-0.4, 0, W + 1, H + 0.6], H, W)[2] == W + 0.6
    assert edges_of([3, 4, 0, 0], H, W) == (3, 4, 3, 4)


@pytest.mark.parametrize(
    ("bbox", "told"),
    [
        (None, "missing"),
        ([], "is []"),
        ([1, 2, 3], "is [1, 2, 3]"),
        ("1 2 3 4", "is"),
        ({"x": 1}, "is"),
        ([1, 2, "3", 4], '"3"'),
        ([1, 2, None, 4], "null"),
        ([True, 2, 3, 4], "true"),
        ([1, 2, float("inf"), 4], "Infinity"),
        ([1, 2, 10**400, 0.5], "1000"),
        ([10, 10, -5, 3], "negative"),
        ([10, 10, 5, -0.1], "negative"),
        ([-20, 2, 5, 5], "lies outside"),
        ([W, 2, 5, 5], "lies outside"),
        ([500, 400, 600, 460], "looks like [left, top, right, bottom]"),
    ],
)
def test_boxes_that_are_none(bbox, told):
    with pytest.raises(ValueError, match=r"give \[left, top, width, height\] in pixels") as caught:
        edges_of(bbox, H, W)
    assert told in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "box",
    [
        OUTLINE,
        (100.004, 119.996, 220.003, 300.002),
        (100, 120, 221, 301),
        (101, 121, 219, 299),
        (98, 118, 222, 302),
        (90, 110, 235, 310),
        (120, 140, 215, 290),
        # The whole of an object that something hides.
        (100, 120, 220, 470),
        (20, 30, 600, 420),
        (0, 0, W, H),
    ],
)
def test_boxes_that_agree(box):
    require_agreement(box, OUTLINE, H, W)


def test_small_boxes_may_be_out_by_as_much_as_others():
    for outline in ((0, 0, 1, 1), (10, 10, 10.4, 12)):
        left, top, right, bottom = outline
        for by in (-2, -1, 0, 1, 2):
            require_agreement((left + by, top + by, right + by, bottom + by), outline, H, W)


@pytest.mark.parametrize(
    ("bbox", "told"),
    [
        (list(OUTLINE), "looks like [left, top, right, bottom]"),
        ([160, 210, 120, 180], "looks like [centre x, centre y, width, height]"),
        ([100 / W, 120 / H, 120 / W, 180 / H], "looks like fractions of the image"),
        (
            [100 / W, 120 / H, 220 / W, 300 / H],
            "looks like [left, top, right, bottom] in fractions of the image",
        ),
        # Of another picture, or of this one at another size.
        ([50, 60, 60, 90], "but its outline from 100, 120 to 220, 300"),
        ([200, 240, 240, 240], "but its outline"),
        ([120, 100, 180, 60], "but its outline"),
        ([400, 120, 120, 180], "but its outline"),
        ([150, 180, 30, 40], "but its outline"),
    ],
)
def test_boxes_of_something_else(bbox, told):
    left, top, width, height = bbox
    box = (left, top, left + width, top + height)
    with pytest.raises(ValueError, match=r"'bbox' reaches from") as caught:
        require_agreement(box, OUTLINE, H, W)
    assert told in str(caught.value)


def test_corners_of_an_object_near_the_corner():
    """The two are alike there, and one fits."""
    outline = (4, 10, 24, 30)
    with pytest.raises(ValueError, match="looks like"):
        require_agreement((4, 10, 4 + 24, 10 + 30), outline, 64, 64)
    require_agreement((0, 0, 24, 30), (0, 0, 24, 30), 64, 64)


def test_a_box_without_an_outline():
    with pytest.raises(ValueError, match="has no outline"):
        require_agreement((10, 10, 13, 13), None, H, W)
    # Of which no pixel may be left.
    require_agreement((10, 10, 40, 11.5), None, H, W)
