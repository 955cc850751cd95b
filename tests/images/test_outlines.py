"""Every form of a mask against pycocotools on the published form, and numbers that it cannot take.

What ends the process where it gets through is here: it must be refused before.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle

from cyborgs.images.outlines import Outline, brief, lies_in_unit_square

H, W = 17, 23


def outline(segmentation, height=H, width=W):
    return Outline(Path("x.json"), "a.png", "annotation 5", segmentation, height, width)


def drawn(polygons):
    """By pycocotools, from ``[x, y, x, y, …]`` each: a mask."""
    codes = rle.frPyObjects([[float(v) for p in polygon for v in p] for polygon in polygons], H, W)
    return rle.decode(rle.merge(codes)).astype(bool)


def counts_of(mask):
    """Column by column, pixel by pixel."""
    counts, value = [0], False
    for pixel in mask.T.ravel():
        if pixel != value:
            counts.append(0)
            value = not value
        counts[-1] += 1
    return counts


def runs(mask, kind=int):
    return {"size": [H, W], "counts": [kind(c) for c in counts_of(mask)]}


def compressed(mask):
    code = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [H, W], "counts": code["counts"].decode()}


def flat(polygon):
    return [value for point in polygon for value in point]


def pairs(polygon):
    return [list(point) for point in polygon]


NUMBERS = st.integers(-12, 4 * W + 12).map(lambda v: v / 4) | st.integers(-3, W + 3)
POLYGONS = st.lists(
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=8), min_size=1, max_size=3
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(POLYGONS)
def test_every_form_is_one_mask(polygons):
    mask = drawn(polygons)
    first, rest = drawn(polygons[:1]), polygons[1:]
    forms = {
        "polygons": [flat(p) for p in polygons],
        "polygons of pairs": [pairs(p) for p in polygons],
        "some of pairs": [pairs(polygons[0]), *map(flat, rest)],
        "polygons, and points that enclose nothing": [*map(flat, polygons), [1, 1], [2, 2, 3, 3]],
        "run lengths": runs(mask),
        "as floats": runs(mask, float),
        "compressed": compressed(mask),
        "in a list": [compressed(mask)],
        "in parts": [runs(first), *(compressed(drawn([p])) for p in rest)],
        "run lengths beside polygons": [runs(first), *map(flat, rest)],
        "polygons beside run lengths": [*map(pairs, rest), compressed(first)],
    }
    if not rest:
        forms |= {"a polygon alone": flat(polygons[0]), "its points alone": pairs(polygons[0])}
    for name, form in forms.items():
        # As it is read from a file.
        found = outline(json.loads(json.dumps(form)))
        np.testing.assert_array_equal(found.mask(), mask, err_msg=name)
        assert rle.decode(found.run_lengths()).sum() == mask.sum()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.integers(0, v) for v in (W, H, W, H)]), min_size=1, max_size=3))
def test_rectangles_pixel_by_pixel(corners):
    """Without pycocotools: the union of boxes, and the box around it."""
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    boxes = [box for box in boxes if box[0] < box[2] and box[1] < box[3]]
    assume(boxes)
    mask = np.zeros((H, W), bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    points = [[[x, y], [z, y], [z, w], [x, w]] for x, y, z, w in boxes]
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    around = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    for form in (points, [flat(p) for p in points], runs(mask), [compressed(mask)]):
        np.testing.assert_array_equal(outline(form).mask(), mask)
        assert outline(form).edges() == around


@pytest.mark.parametrize(
    "segmentation",
    [[], [[]], [[], []], [[4, 4]], [[4, 4], [5, 6]], [[1, 1, 5, 5]], [1, 1, 5, 5], [[[1, 2]]]],
)
def test_what_encloses_nothing(segmentation):
    assert not outline(segmentation).mask().any()
    assert outline(segmentation).edges() is None


def test_the_box_of_run_lengths_without_a_pixel():
    assert outline({"size": [H, W], "counts": [H * W]}).edges() is None
    assert outline({"size": [H, W], "counts": [3, 0, H * W - 3]}).edges() is None


def test_edges_are_those_within_the_image():
    assert outline([[-5, -3, 10, -3, 10, 8, -5, 8]]).edges() == (0, 0, 10, 8)
    assert outline([[5, 3, 99, 3, 99, 77, 5, 77]]).edges() == (5, 3, W, H)
    assert outline([[50, 50, 60, 50, 60, 60]]).edges() is None
    assert outline([[1, 1, 3, 1, 3, 3], [9.5, 2, 12, 2, 12, 4]]).edges() == (1, 1, 12, 4)


@pytest.mark.parametrize("far", [1, 40, 90 * W])
def test_what_lies_outside_leaves_the_mask_as_it_is(far):
    """Uncut outlines of a large picture, on a tile of it."""
    mask = outline([[-far, -far, 10, -far, 10, 8, -far, 8]]).mask()
    expected = np.zeros((H, W), bool)
    expected[:8, :10] = True
    np.testing.assert_array_equal(mask, expected)


SQUARE = [1, 1, 9, 1, 9, 9, 1, 9]


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        (None, "it is missing"),
        (True, "it is true"),
        (5, "it is 5"),
        ("abc", 'it is "abc"'),
        ([[*SQUARE, 5]], "9 numbers"),
        ([*SQUARE, 5], "9 numbers"),
        ([[1, 2, 3]], "3 numbers"),
        ([[[1, 1], [9, 1], [9, 9, 9]]], "is not a coordinate of a polygon"),
        ([[1, 1], [9, 1], [9, 9, 9]], "3 numbers"),
        ([[str(v) for v in SQUARE]], '"1" is not a coordinate'),
        ([[*SQUARE[:7], None]], "null is not a coordinate"),
        ([[*SQUARE[:7], True]], "true is not a coordinate"),
        ([[*SQUARE[:7], [9]]], "[9] is not a coordinate"),
        ([[{"x": 1, "y": 2}]], "is not a coordinate of a polygon"),
        ([{"x": 1, "y": 2}], "'size'"),
        ([SQUARE, "abc"], '"abc" is not a polygon'),
        ([SQUARE, None], "null is not a polygon"),
        ([*SQUARE, SQUARE], "1 is not a polygon"),
        ([[1, 1], [9, 1], [9, 9], SQUARE], "3 single points beside other outlines"),
        ([[[[1, 1], [9, 1], [9, 9]]]], "is not a coordinate of a polygon"),
        ([[*SQUARE[:7], 1e9]], "1000000000.0, far outside"),
        ([[*SQUARE[:7], -1e9]], "-1000000000.0, far outside"),
        ([[*SQUARE[:7], 10**400]], "far outside"),
        ([[*SQUARE[:7], 10**25]], "far outside"),
        ([[*SQUARE[:7], float("inf")]], "far outside"),
        ([[*SQUARE[:7], float("-inf")]], "far outside"),
        ([[*SQUARE[:7], 101 * W]], "far outside"),
        ([[0, 0, 99 * W, 99 * W] * 1000], "sides are 4554000 pixels long"),
        ([[0, 0, 99 * W, 99 * W, 0, 0]] * 900, "sides are 4098600 pixels long"),
    ],
)
def test_polygons_that_are_refused(segmentation, told, refused):
    for action in (outline(segmentation).mask, outline(segmentation).edges):
        with refused("x.json", "annotation 5", "image a.png", told, f"{H} x {W}"):
            action()


N = H * W


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ({}, "'size'"),
        ({"size": [H, W]}, "without 'counts'"),
        ({"size": "17", "counts": [N]}, "'size'"),
        ({"size": [str(H), str(W)], "counts": [N]}, "'size'"),
        ({"size": [True, W], "counts": [N]}, "'size'"),
        ({"size": [W, H], "counts": [N]}, f"size [{W}, {H}]"),
        ({"size": [H], "counts": [N]}, f"size [{H}]"),
        ({"size": [H, W, 1], "counts": [N]}, "size"),
        ({"size": [H, W], "counts": None}, "without 'counts'"),
        ({"size": [H, W], "counts": {}}, "without 'counts'"),
        ({"size": [H, W], "counts": ["0"]}, "without 'counts'"),
        ({"size": [H, W], "counts": [True, N - 1]}, "without 'counts'"),
        ({"size": [H, W], "counts": [0.5, N - 0.5]}, "not whole numbers"),
        ({"size": [H, W], "counts": [float("inf")]}, "not whole numbers"),
        ({"size": [H, W], "counts": [N + 5, -5]}, "negative"),
        ({"size": [H, W], "counts": [10**400]}, "cover 1"),
        ({"size": [H, W], "counts": [N, 2**32]}, "cover"),
        ({"size": [H, W], "counts": []}, "cover 0"),
        ({"size": [H, W], "counts": "o" * 10**6}, "not run lengths"),
        ({"size": [H, W], "counts": "~~"}, "not run lengths"),
        ({"size": [H, W], "counts": "\n"}, "not run lengths"),
        ({"size": [H, W], "counts": "é"}, "not run lengths"),
        ({"size": [H, W], "counts": ""}, "cover 0"),
        ({"size": [H, W], "counts": "P"}, "cut short"),
    ],
)
def test_run_lengths_that_are_refused(segmentation, told, refused):
    for form in (segmentation, [segmentation], [SQUARE, segmentation]):
        with refused("x.json", "annotation 5", "cannot be decoded", told):
            outline(form).run_lengths()


def test_a_text_that_is_cut_is_not_what_is_left(refused):
    mask = np.zeros((H, W), bool)
    mask[3:9, 5:11] = True
    text = compressed(mask)["counts"]
    for cut in range(len(text)):
        with refused("cannot be decoded"):
            outline({"size": [H, W], "counts": text[:cut]}).mask()
    with refused("cut short"):
        outline({"size": [H, W], "counts": text + "P"}).mask()


def test_a_name_with_a_line_end_is_one_line(refused):
    with refused("a\\nb.png"):
        Outline(Path("x.json"), "a\nb.png", "annotation 5", None, H, W).mask()


def test_fractions_of_an_image():
    fractions = [0.1, 0.2, 0.5, 0.2, 0.5, 0.9]
    for form in (fractions, [fractions], [[fractions[:2], fractions[2:4], fractions[4:]]]):
        assert lies_in_unit_square(form)
    whole = [[0, 0, 1, 0, 1, 1, 0, 1]]
    pixel = {"size": [1, 1], "counts": [0, 1]}
    for form in (whole, [SQUARE], [[0.5, 0.5, 1.5, 0.5, 1, 1]], [], [[]], [pixel], [0.5, "x"]):
        assert not lies_in_unit_square(form)


def test_values_in_messages_are_short():
    assert brief([1, 2, None]) == "[1, 2, null]"
    deep = []
    for _ in range(900):
        deep = [deep]
    for value in ("x" * 1000, list(range(1000)), {"x": deep}, 10**5000, 1e300, "\n\udc80é"):
        assert len(brief(value)) <= 40
        assert brief(value).isprintable()
