"""Boxes of annotations, ``[left, top, width, height]`` in a COCO JSON, held against outlines."""

import math
from typing import Any

from cyborgs.images.outlines import Edges, brief

# Pixels by which a box and its outline may differ in any case: programs count the last pixel in
# or out, round, and draw masks from outlines.
_PIXELS = 2

# Intersection over union that a box and that of its outline must have, unless it covers it.
_SHARED = 0.5

# Larger than any coordinate in pixels.
_LARGEST = 10**9

# Shape of a box, for messages.
_FORM = "give [left, top, width, height] in pixels"


def edges_of(bbox: Any, height: int, width: int) -> Edges:
    """Left, top, right and bottom edge of COCO's ``bbox`` in an image of such a size.

    It may lie outside by a pixel, as coordinates are rounded.  Raises `ValueError`, with a
    reason, where it is none or lies outside of its image.
    """
    if not isinstance(bbox, list) or len(bbox) != 4:
        told = "is missing" if bbox is None else f"is {brief(bbox)}"
        raise ValueError(f"'bbox' {told}; {_FORM}")
    # Larger ones are no pixels, and a sum of two could overflow.
    if not all(type(value) in (int, float) and abs(value) <= _LARGEST for value in bbox):
        raise ValueError(f"'bbox' is {brief(bbox)}; {_FORM}")
    left, top, right, bottom = bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]
    if bbox[2] < 0 or bbox[3] < 0:
        raise ValueError(f"'bbox' {brief(bbox)} has a negative size; {_FORM}")
    if not (min(left, top) >= -1 and right <= width + 1 and bottom <= height + 1):
        corners = left < bbox[2] <= width + 1 and top < bbox[3] <= height + 1
        hint = "; it looks like [left, top, right, bottom]" if corners else ""
        raise ValueError(
            f"'bbox' {brief(bbox)} lies outside of its image of {height} x {width} pixels "
            f"(height x width){hint}; {_FORM}"
        )
    return left, top, right, bottom


def require_agreement(box: Edges, outline: Edges | None, height: int, width: int) -> None:
    """Compare a box with the box around its outline, `Outline.edges`.

    A box may be larger, as that of an object which something hides; else the two must share half
    of their union.  Two pixels more or less at each side are no difference.

    Raises `ValueError`, with a reason, where they do not agree, the box is right if it is read in
    another way, or there is no outline within a box of more than two pixels a side.
    """
    left, top, right, bottom = box
    shown = f"its 'bbox' reaches from {left:g}, {top:g} to {right:g}, {bottom:g} (x, y)"
    if outline is None:
        if min(right - left, bottom - top) > _PIXELS:
            raise ValueError(
                f"{shown}, but the annotation has no outline; give polygons, or run lengths"
            )
        return
    if _distance(box, outline) <= _PIXELS:
        return
    x, y, w, h = left, top, right - left, bottom - top
    forms: dict[str, Edges] = {
        "[left, top, right, bottom]": (x, y, w, h),
        "fractions of the image": (x * width, y * height, (x + w) * width, (y + h) * height),
        "[left, top, right, bottom] in fractions of the image": (
            x * width, y * height, w * width, h * height,
        ),
        "[centre x, centre y, width, height]": (x - w / 2, y - h / 2, x + w / 2, y + h / 2),
    }  # fmt: skip
    looks = next((name for name, form in forms.items() if _distance(form, outline) <= 1.5), None)
    covers = all(
        inner >= outer - _PIXELS for inner, outer in zip(outline[:2], box[:2], strict=True)
    ) and all(inner <= outer + _PIXELS for inner, outer in zip(outline[2:], box[2:], strict=True))
    if looks is None and (covers or _iou(_grown(box), _grown(outline)) >= _SHARED):
        return
    hint = "" if looks is None else f"; it looks like {looks}"
    reach = ", ".join(f"{value:g}" for value in outline[:2])
    end = ", ".join(f"{value:g}" for value in outline[2:])
    raise ValueError(f"{shown}, but its outline from {reach} to {end}{hint}; {_FORM}")


def _distance(box: Edges, other: Edges) -> float:
    return max(abs(a - b) for a, b in zip(box, other, strict=True))


def _grown(box: Edges) -> Edges:
    return box[0] - _PIXELS, box[1] - _PIXELS, box[2] + _PIXELS, box[3] + _PIXELS


def _iou(box: Edges, other: Edges) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return shared / (math.fsum(areas) - shared)
