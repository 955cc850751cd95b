"""Outlines of annotations: every form in which a COCO JSON may have a mask.

Masks are drawn by pycocotools, which trusts what it is given: a number that is none ends the
process, and a large one takes all memory.  Only what was checked reaches it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as run_lengths

from cyborgs.common.errors import InputError

# Left, top, right and bottom edge, in pixels.
Edges: TypeAlias = tuple[float, float, float, float]

_NUMBERS = frozenset({int, float})

# How far an outline may extend beyond its image, in multiples of the image's longer side: tiles
# of a large picture may come with outlines that were not clipped to them.
_BEYOND = 100

# Length of all polygons of an annotation, in pixels; pycocotools takes 80 bytes a pixel of one.
_LONGEST = 4_000_000

# Most characters of one compressed run length: a longer one exceeds 32 bits.
_LONGEST_RUN = 7

# Characters of a value in a message.
_SHOWN = 40


@dataclass(frozen=True)
class Outline:
    """The mask of an annotation, as a COCO JSON gives it.

    A mask is a list of polygons, or run lengths.  Also taken is what can mean one thing only: a
    polygon that is not in a list, polygons of ``[x, y]`` pairs, whole numbers written as floats
    in run lengths, and several run lengths, or run lengths and polygons, in a list (their union).
    Polygons of fewer than three points enclose nothing.

    Attributes:
        path: of the JSON.
        image: name of the image.
        annotation: how messages name the annotation.
        segmentation: polygons or run lengths, not checked.
        height, width: of the image, in pixels.
    """

    path: Path
    image: str
    annotation: str
    segmentation: Any
    height: int
    width: int

    def mask(self) -> NDArray[np.bool_]:
        """Bool ``(height, width)``; all false where polygons enclose nothing.

        Raises `InputError` where it cannot be decoded.
        """
        return np.asarray(run_lengths.decode(self.run_lengths()), dtype=bool)

    def run_lengths(self) -> dict[str, Any]:
        """As pycocotools has them, compressed.  Raises `InputError` where it cannot be decoded."""
        size = [self.height, self.width]
        polygons, runs = self._parts()
        codes = run_lengths.frPyObjects(polygons, *size) if polygons else []
        if not polygons and not runs:
            runs = [[self.height * self.width]]
        codes += [run_lengths.frPyObjects({"size": size, "counts": r}, *size) for r in runs]
        return dict(codes[0] if len(codes) == 1 and runs else run_lengths.merge(codes))

    def edges(self) -> Edges | None:
        """The box around the outline, as far as it lies in the image.

        Of polygons it is that of their points.  None where no part of it lies there, or there
        are no three points and no pixel.  Raises `InputError` where it cannot be decoded.
        """
        polygons, runs = self._parts()
        boxes = [(min(p[::2]), min(p[1::2]), max(p[::2]), max(p[1::2])) for p in polygons]
        for counts in runs:
            if any(counts[1::2]):
                code = {"size": [self.height, self.width], "counts": counts}
                code = run_lengths.frPyObjects(code, self.height, self.width)
                left, top, width, height = run_lengths.toBbox(code).tolist()
                boxes.append((left, top, left + width, top + height))
        if not boxes:
            return None
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        left, top = max(0.0, min(lefts)), max(0.0, min(tops))
        right, bottom = min(self.width, max(rights)), min(self.height, max(bottoms))
        return (left, top, right, bottom) if left <= right and top <= bottom else None

    def _parts(self) -> tuple[list[list[float]], list[list[int]]]:
        try:
            return _parts(self.segmentation, self.height, self.width)
        except ValueError as error:
            raise InputError(
                f"annotations {self.path}: segmentation of {self.annotation}, image "
                f"{shown(self.image)}, cannot be decoded ({error}); give polygons, or run "
                f"lengths of {self.height} x {self.width} pixels"
            ) from None


def shown(name: str) -> str:
    """An image's name for a message of one line: names may hold line ends."""
    return name if name.isprintable() else brief(name)


def brief(value: Any) -> str:
    """A value of a JSON, shortened, for a message of one line."""
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "object"
        # The whole value could be millions of numbers, or a thousand nested lists.
        if len(value) > 6 or any(isinstance(v, list | dict) for v in value):
            return f"a {kind} of {len(value)}"
    try:
        text = json.dumps(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number too large"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def lies_in_unit_square(segmentation: list[Any]) -> bool:
    """Whether polygons lie within 0 … 1 and not all of their numbers are whole.

    So do fractions of an image's sides, and an object in the first pixel alone.  False where
    there are no polygons, or what is there can be none.
    """
    number = segmentation
    while type(number) is list and number:
        number = number[0]
    # For nearly all outlines, the first number decides.
    if type(number) not in _NUMBERS or not 0 <= number <= 1:  # type: ignore[operator]
        return False
    try:
        polygons, runs = _parts(segmentation, 1, 1)
    except ValueError:
        return False
    numbers = [value for polygon in polygons for value in polygon]
    inside = all(0 <= value <= 1 for value in numbers)
    return inside and not runs and any(0 < value < 1 for value in numbers)


def _parts(segmentation: Any, height: int, width: int) -> tuple[list[list[float]], list[list[int]]]:
    """Polygons of at least three points, ``[x, y, x, y, …]`` each, and run lengths.

    The mask is the union of all.  Raises `ValueError` where it is neither.
    """
    if segmentation is None:
        raise ValueError("it is missing")
    if isinstance(segmentation, dict):
        return [], [_runs(segmentation, height, width)]
    if not isinstance(segmentation, list):
        raise ValueError(f"it is {brief(segmentation)}")
    # One polygon, not in a list: its numbers, or its points.
    alone = set(map(type, segmentation)) <= _NUMBERS or all(map(_is_point, segmentation))
    polygons, runs = [], []
    points = 0
    longest = 0.0
    for part in [segmentation] if alone else segmentation:
        if isinstance(part, dict):
            runs.append(_runs(part, height, width))
        else:
            polygon, side = _polygon(part, height, width)
            # pycocotools takes four numbers for a box, and fails on fewer.
            if len(polygon) >= 6:
                polygons.append(polygon)
                longest += side * len(polygon)
            points += len(polygon) == 2
    if points >= 3 and (polygons or runs):
        raise ValueError(
            f"{points} single points beside other outlines; they may be meant as another polygon"
        )
    # For nearly all outlines, this cheap bound decides.
    if longest > _LONGEST and (length := sum(map(_length, polygons))) > _LONGEST:
        raise ValueError(f"polygons whose sides are {length:.0f} pixels long")
    return polygons, runs


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and set(map(type, value)) <= _NUMBERS


def _length(polygon: list[float]) -> float:
    points = np.array(polygon, np.float64).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _polygon(part: Any, height: int, width: int) -> tuple[list[float], float]:
    """A polygon as one list of numbers, and a length that no side of it exceeds."""
    if not isinstance(part, list):
        raise ValueError(f"{brief(part)} is not a polygon")
    if part and all(map(_is_point, part)):
        part = [value for point in part for value in point]
    if not set(map(type, part)) <= _NUMBERS:
        other = next(value for value in part if type(value) not in _NUMBERS)
        raise ValueError(f"{brief(other)} is not a coordinate of a polygon")
    if len(part) % 2:
        raise ValueError(f"a polygon of {len(part)} numbers, which cannot be pairs of x and y")
    if not part:
        return part, 0.0
    low, high = min(part), max(part)
    reach = _BEYOND * max(height, width)
    if not -reach <= low <= high <= reach:
        far = brief(low if low < -reach else high)
        raise ValueError(f"a polygon that extends to {far}, far outside the image")
    return part, high - low


def _runs(segmentation: dict[str, Any], height: int, width: int) -> list[int]:
    """Run lengths, not compressed.

    Raises `ValueError` where they do not cover an image of this size exactly: pycocotools leaves
    memory unset where they end early.
    """
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or not set(map(type, size)) <= _NUMBERS:
        raise ValueError("run lengths without a 'size' of two numbers")
    if size != [height, width]:
        raise ValueError(f"run lengths of size {brief(size)}")
    if isinstance(counts, str):
        runs = _decompress(counts)
    elif isinstance(counts, list) and set(map(type, counts)) <= _NUMBERS:
        if any(type(c) is float and not c.is_integer() for c in counts):
            raise ValueError("run lengths that are not whole numbers")
        runs = [int(count) for count in counts]
    else:
        raise ValueError("run lengths without 'counts', text or a list of whole numbers")
    if min(runs, default=0) < 0:
        raise ValueError("run lengths that are negative")
    if sum(runs) != height * width:
        raise ValueError(f"run lengths cover {brief(sum(runs))} pixels")
    return runs


def _decompress(counts: str) -> list[int]:
    """Run lengths from their compressed form (pycocotools, maskApi.c, rleFrString).

    Each is a signed number of 5 bits a character, lowest first: bit 5 is set where another
    character follows, bit 4 of the last one is the sign.  From the fourth on they are
    differences to the run length two before.  Raises `ValueError` where they are none.
    """
    if not counts.isascii():
        raise ValueError("text that is not run lengths")
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode("ascii"):
        code = character - 48
        if not 0 <= code < 64 or shift >= 5 * _LONGEST_RUN:
            raise ValueError("text that is not run lengths")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths that are cut short")
    return runs
