"""Two views of an image, each with the labels of its cells.

All random choices are drawn first (`draw_view`), then carried out on the image (`render`)
and on its labels (`cell_labels`), so that both see the same crop and flip.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cyborgs.masks.alignment import nearest_location
from cyborgs.pretraining.published_jitter import published_jitter
from cyborgs.pretraining.settings import Views

# uint8 (height, width, 3); OpenCV's stubs know no dtype
Pixels = NDArray[Any]
Labels = NDArray[np.integer]

_LEVELS = np.arange(256, dtype=np.float32)
_SOLARISED = np.where(_LEVELS < 128, _LEVELS, 255 - _LEVELS).astype(np.uint8)


@dataclass(frozen=True)
class Crop:
    """A rectangle of the image, in pixels, and whether it is mirrored after resizing."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


@dataclass(frozen=True)
class Jitter:
    """Colour changes and the order in which they are made.

    Factors as torchvision's ColorJitter has them; ``hue`` is a share of the colour circle.  The
    published jitter takes the same draws otherwise, always in one order, so that a view differs
    from that of the other jitter in nothing else.
    """

    order: tuple[str, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True)
class View:
    """All random choices of a view; None or False where a change is not made."""

    crop: Crop
    jitter: Jitter | None
    greyscale: bool
    blur_sigma: float | None
    solarise: bool


def draw_view(
    rng: np.random.Generator, settings: Views, which: int, *, height: int, width: int
) -> View:
    """Draw the choices of view ``which`` (0 or 1) of an image of ``height`` x ``width`` pixels."""
    crop = _draw_crop(rng, settings, height, width)
    return View(
        crop=crop,
        jitter=_draw_jitter(rng, settings) if rng.random() < settings.jitter else None,
        greyscale=bool(rng.random() < settings.greyscale),
        blur_sigma=(
            float(rng.uniform(settings.blur_sigma[0], settings.blur_sigma[1]))
            if rng.random() < settings.blur[which]
            else None
        ),
        solarise=bool(rng.random() < settings.solarise[which]),
    )


def _draw_crop(rng: np.random.Generator, settings: Views, height: int, width: int) -> Crop:
    """Random resized crop (Szegedy et al., 2015): area and log-ratio uniform."""
    flip = bool(rng.random() < settings.flip)
    low, high = (math.log(r) for r in settings.ratio)
    for _ in range(10):
        area = height * width * rng.uniform(settings.area[0], settings.area[1])
        ratio = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return Crop(int(top), int(left), h, w, flip)
    # No crop of that shape fits (a very long image): the largest central one that nearly does.
    ratio = min(max(width / height, settings.ratio[0]), settings.ratio[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    w, h = max(1, w), max(1, h)
    return Crop((height - h) // 2, (width - w) // 2, h, w, flip)


def _draw_jitter(rng: np.random.Generator, settings: Views) -> Jitter:
    names = ("brightness", "contrast", "saturation", "hue")
    b, c, s = (
        float(rng.uniform(1 - strength, 1 + strength))
        for strength in (settings.brightness, settings.contrast, settings.saturation)
    )
    hue = float(rng.uniform(-settings.hue, settings.hue))
    return Jitter(tuple(names[i] for i in rng.permutation(4)), b, c, s, hue)


def render(image: Pixels, view: View, settings: Views) -> Pixels:
    """Carry out a view's choices: RGB ``(height, width, 3)`` to ``(crop, crop, 3)``."""
    crop, side = view.crop, settings.crop
    out = image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    out = _resize(out, side)
    if crop.flip:
        out = cv2.flip(out, 1)
    if view.jitter is not None:
        out = _JITTERS[settings.colour](out, view.jitter)
    if view.greyscale:
        out = _grey(out)
    if view.blur_sigma is not None:
        out = _blur(out, view.blur_sigma, settings.blur_kernel)
    if view.solarise:
        out = cv2.LUT(out, _SOLARISED)
    return out


def _resize(image: Pixels, side: int) -> Pixels:
    """To ``(side, side)``: means of 2 x 2 pixels as long as enough are left, then bilinear.

    Close to averaging over areas (bilinear alone would skip pixels), at a fifth of its time.
    """
    while min(image.shape[:2]) >= 2 * side:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        even = image[: 2 * height, : 2 * width]
        image = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)


def _blur(image: Pixels, sigma: float, largest: int) -> Pixels:
    """Gaussian blur; beyond four sigma the kernel would add less than a grey level.

    By two filters in float32, which takes 0.4 of the time of OpenCV's own blur of 8-bit images.
    """
    side = min(largest, 2 * math.ceil(4 * sigma) + 1)
    kernel = cv2.getGaussianKernel(side, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(image, -1, kernel, kernel)


def _grey(image: Pixels) -> Pixels:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _brightness(image: Pixels, factor: float) -> Pixels:
    return cv2.convertScaleAbs(image, alpha=factor)


def _contrast(image: Pixels, factor: float) -> Pixels:
    red, green, blue, _ = cv2.mean(image)
    mean = 0.299 * red + 0.587 * green + 0.114 * blue
    table = np.clip(np.rint(_LEVELS * factor + mean * (1 - factor)), 0, 255)
    return cv2.LUT(image, table.astype(np.uint8))


def _saturation(image: Pixels, factor: float) -> Pixels:
    return cv2.addWeighted(image, factor, _grey(image), 1 - factor, 0)


def _hue(image: Pixels, shift: float) -> Pixels:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)  # hue over 0 … 255
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)  # wraps as a circle does
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


_CHANGES = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,
}


def _detcon_like(image: Pixels, jitter: Jitter) -> Pixels:
    for name in jitter.order:
        image = _CHANGES[name](image, getattr(jitter, name))
    return image


def _published(image: Pixels, jitter: Jitter) -> Pixels:
    return published_jitter(
        image,
        brightness=jitter.brightness,
        contrast=jitter.contrast,
        saturation=jitter.saturation,
        hue=jitter.hue,
    )


_JITTERS = {"detcon-like": _detcon_like, "published": _published}


def cell_labels(
    labels: Labels, stride: int, crop: Crop, *, side: int, cell: int
) -> NDArray[np.int32]:
    """Majority label of every cell of a view, ``(side / cell, side / cell)``.

    The view's label map is the image's, cropped and resized to ``side`` with nearest neighbour
    and flipped; a cell takes the label most frequent among its pixels, the smallest
    on a tie.  The map itself is never made: a location of the stored labels that covers n
    pixels of a cell is counted n times at once.

    Args:
        labels: ``(rows, cols)`` at feature resolution.
        stride: pixels between two locations.
        crop: the view's crop.
        side: of the view, in pixels.
        cell: side of a cell, in pixels; divides ``side``.
    """
    grid = side // cell
    row_cells, row_at, row_counts = _runs(
        crop.top, crop.height, locations=labels.shape[0], stride=stride, side=side, cell=cell
    )
    col_cells, col_at, col_counts = _runs(
        crop.left, crop.width, locations=labels.shape[1], stride=stride, side=side, cell=cell
    )
    if crop.flip:
        col_cells = grid - 1 - col_cells
    seen = labels[row_at[:, None], col_at]
    # Few distinct labels occur in a crop; counting slots are made for those alone.
    if int(seen.max()) < 1024:
        slots, present = seen.astype(np.intp), None
        number = int(seen.max()) + 1
    else:
        present, slots = np.unique(seen, return_inverse=True)
        slots, number = slots.reshape(seen.shape), len(present)
    cells = row_cells[:, None] * grid + col_cells
    counts = np.bincount(
        (cells * number + slots).ravel(),
        weights=(row_counts[:, None] * col_counts).ravel(),
        minlength=grid * grid * number,
    )
    # argmax takes the first, hence smallest, of equals.
    winners = counts.reshape(grid, grid, number).argmax(-1)
    return (winners if present is None else present[winners]).astype(np.int32)


def _runs(
    begin: int, length: int, *, locations: int, stride: int, side: int, cell: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Along one axis: cells, the stored locations they touch, and how many pixels each covers."""
    odd, cells, edges = _pixels_of(side, cell)
    pixels = begin + (odd * length) // (2 * side)  # nearest source pixel
    at: NDArray[np.intp] = nearest_location(pixels, locations, stride)  # type: ignore[assignment]
    # Both rise along the view, so equal pairs lie side by side.
    first = np.flatnonzero(np.append(True, (at[1:] != at[:-1]) | edges))
    return cells[first], at[first], np.diff(first, append=side)


@lru_cache
def _pixels_of(
    side: int, cell: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Along one axis of a view: twice each pixel plus one, its cell, and where a cell begins."""
    pixels = np.arange(side)
    cells = pixels // cell
    return 2 * pixels + 1, cells, cells[1:] != cells[:-1]


def sample_ids(rng: np.random.Generator, cells: NDArray[np.int32], masks: int) -> NDArray[np.int32]:
    """Ids for the online and for the target network, ``(2, masks)``.

    Uniform, with replacement, among the ids present in the view; the two rows are drawn
    separately.
    """
    present = np.unique(cells)
    return present[rng.integers(len(present), size=(2, masks))]


def scramble(rng: np.random.Generator, cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Permute the labels of cells over their locations, by one permutation in all views.

    A control: each view keeps the number and the sizes of its masks, and which locations they
    group is chance.  ``cells`` and the result are ``(views, grid, grid)``.
    """
    flat = cells.reshape(len(cells), -1)
    return flat[:, rng.permutation(flat.shape[1])].reshape(cells.shape)
