"""Pictures of masks, as arrays: RGB, uint8, ``(height, width, 3)``."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.optimize import linear_sum_assignment

from cyborgs.images.annotations import Instances
from cyborgs.masks.palette import colours

Labels = NDArray[np.integer]
Picture = NDArray[np.uint8]

# How much of an overlay is the mask's colour.
OPACITY = 0.55

# Of a sheet, in pixels.
_GAP = 12
_TITLE = 17
_SUBTITLE = 13
_INK = (20, 20, 20)
_GREY = (95, 95, 95)


def match(maps: Sequence[Labels]) -> list[NDArray[np.int64]]:
    """Number the clusters of one image alike in several label maps, so that colours agree.

    The clusters of the first map are numbered by falling area; those of each other one are
    matched one to one to those of the map before it, by the Hungarian method on the pixels that
    they share, and take their numbers.  What has no counterpart takes the lowest numbers that
    neither map has.

    Args:
        maps: labels of one shape, whatever their numbers.

    Returns:
        Maps of the same partitions, numbered from 0.
    """
    numbered: list[NDArray[np.int64]] = []
    for labels in maps:
        _, codes, areas = np.unique(labels, return_inverse=True, return_counts=True)
        codes = codes.reshape(labels.shape)
        if not numbered:
            numbers = np.empty(len(areas), dtype=np.int64)
            numbers[np.argsort(-areas, kind="stable")] = np.arange(len(areas))
        else:
            numbers = _matched(codes, areas, numbered[-1])
        numbered.append(numbers[codes])
    return numbered


def _matched(
    codes: NDArray[np.int64], areas: NDArray[np.int64], before: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The number of each code, from those of the map before it."""
    width = int(before.max()) + 1
    cells = np.bincount((codes * width + before).ravel(), minlength=len(areas) * width)
    shared = cells.reshape(len(areas), width)
    numbers = np.full(len(areas), -1, dtype=np.int64)
    for code, number in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
        if shared[code, number]:
            numbers[code] = number
    new = np.flatnonzero(numbers < 0)
    taken = set(before.ravel().tolist()) | set(numbers.tolist())
    free = (n for n in range(width + len(areas) + 1) if n not in taken)
    for code in new[np.argsort(-areas[new], kind="stable")]:
        numbers[code] = next(free)
    return numbers


def paint(labels: Labels) -> Picture:
    """Labels ``(height, width)`` as flat colours; numbers from 256 on take colours again."""
    return colours()[labels.astype(np.int64) % 256]


def overlay(photograph: Picture, labels: Labels) -> Picture:
    """A photograph in the colours of its masks, with lines between them.

    ``labels``: ``(height, width)`` of the photograph.
    """
    mixed = (1 - OPACITY) * _grey(photograph) + OPACITY * paint(labels)
    return _lined(mixed.round().astype(np.uint8), labels)


def truth_picture(photograph: Picture, instances: Instances) -> Picture:
    """A grey photograph with its annotated instances in colour; ignored regions are hatched.

    Where instances overlap the smaller one is on top.
    """
    segments = instances.label_map()
    grey = _grey(photograph)
    # A colour belongs to an instance by its size, as it belongs to a mask by its own.
    areas = np.bincount(segments.ravel(), minlength=len(instances.categories) + 1)[1:]
    numbers = np.zeros(len(areas) + 1, dtype=np.int64)
    numbers[1 + np.argsort(-areas, kind="stable")] = np.arange(len(areas))
    mixed = (1 - OPACITY) * grey + OPACITY * paint(numbers[segments])
    picture = np.where(segments[..., None] > 0, mixed, 0.75 * grey + 40)
    rows, columns = np.indices(segments.shape)
    hatched = instances.ignore & ((rows + columns) // 3 % 2 == 0)
    picture[hatched] = 255
    return _lined(picture.round().astype(np.uint8), segments)


def layer(labels: Labels) -> Picture:
    """Masks to lay over a grey photograph, which then looks as `overlay` has it.

    Args:
        labels: ``(height, width)``.

    Returns:
        RGBA, uint8, ``(height, width, 4)``.
    """
    alpha = np.full(labels.shape, round(255 * OPACITY), np.uint8)
    return _lined(np.dstack([paint(labels), alpha]), labels)


def truth_layer(segments: Labels, ignore: NDArray[np.bool_]) -> Picture:
    """Annotated instances to lay over a grey photograph, in the colours of `truth_picture`.

    Args:
        segments: ``(height, width)``, of `Instances.label_map`.
        ignore: bool of that shape.

    Returns:
        RGBA, uint8, ``(height, width, 4)``.
    """
    areas = np.bincount(segments.ravel())[1:]
    numbers = np.zeros(len(areas) + 1, dtype=np.int64)
    numbers[1 + np.argsort(-areas, kind="stable")] = np.arange(len(areas))
    shown = layer(numbers[segments])
    # Together with the photograph: 0.75 of it, and 40.
    shown[segments == 0] = (160, 160, 160, 64)
    rows, columns = np.indices(segments.shape)
    shown[ignore & ((rows + columns) // 3 % 2 == 0)] = 255
    return _lined(shown, segments)


def thumbnail(picture: Picture, width: int) -> Picture:
    """The picture at another width, its shape kept."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    smaller = width < picture.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), dtype=np.uint8)


def resized(labels: Labels, height: int, width: int) -> Labels:
    """Labels at another size: each pixel's from the one under its centre."""
    rows = (np.arange(height) * 2 + 1) * labels.shape[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * labels.shape[1] // (2 * width)
    return labels[rows[:, None], columns]


def _grey(photograph: Picture) -> NDArray[np.float64]:
    """Lightness alone, ``(height, width, 1)``: the only colours are then those of the masks."""
    return cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float64)


def _lined(picture: Picture, labels: Labels) -> Picture:
    """White lines, one pixel wide, between labels; at their lower and right sides."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    picture[edge] = 255
    return picture


@dataclass(frozen=True)
class Panel:
    """A picture with two lines above it; None where there is no picture."""

    title: str
    subtitle: str
    picture: Picture | None


def sheet(rows: Sequence[Sequence[Panel]], width: int) -> Picture:
    """Panels side by side, a row below the other, on white.

    Args:
        rows: of panels; the pictures of a row have one shape.
        width: of a panel, in pixels.
    """
    columns = max(len(row) for row in rows)
    head = _TITLE + _SUBTITLE + 10
    pictures = [
        [None if p.picture is None else thumbnail(p.picture, width) for p in row] for row in rows
    ]
    heights = [max((p.shape[0] for p in row if p is not None), default=width) for row in pictures]
    total = sum(head + height + _GAP for height in heights) + _GAP
    page = Image.new("RGB", (_GAP + columns * (width + _GAP), total), "white")
    draw = ImageDraw.Draw(page)
    title_font, font = ImageFont.load_default(_TITLE), ImageFont.load_default(_SUBTITLE)
    top = _GAP
    for row, shown, height in zip(rows, pictures, heights, strict=True):
        left = _GAP
        for panel, picture in zip(row, shown, strict=True):
            draw.text((left, top), _fitted(panel.title, title_font, width), _INK, title_font)
            below = top + _TITLE + 4
            draw.text((left, below), _fitted(panel.subtitle, font, width), _GREY, font)
            if picture is not None:
                page.paste(Image.fromarray(picture), (left, top + head))
            left += width + _GAP
        top += head + height + _GAP
    return np.array(page)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, shortened in the middle where it is wider than ``width`` pixels."""
    text = text.encode("utf-8", "replace").decode()
    kept = len(text)
    shown = text
    while kept > 2 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
    return shown
