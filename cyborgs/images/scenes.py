"""Scenes with known objects: the embedded data set, drawn because no photographs may be bundled.

A scene is a photographic crop with up to seven objects on it.  What makes an object one of
a category is its outline and the pattern of its surface; colour, light, size and position say
nothing.  A pattern alternates, every few pixels, between two colours that are drawn anew for
each object, often from the background itself.  So clusters of colours cut across the objects,
while the pattern tells an object from what is around it.

All photographs come from the scikit-image wheel; nothing is downloaded.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pycocotools import mask as run_lengths
from skimage import data

from cyborgs.common.files import atomic_write

Array = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
Lines = list[NDArray[np.float64]]

_QUALITY = 92  # of the JPEG files
_OBJECTS = (3, 7)  # of a scene, before those that others hide are left out
_FEWEST_PIXELS = 64  # of an object that can be seen, or else it is left out
_RADIUS = (0.2, 0.34)  # of an object, as a share of the shorter side
_PERIOD = (6.0, 12.0)  # of a pattern, in pixels
_CONTRAST = 60.0  # least difference in brightness of an object's colours, in grey levels

_BACKGROUNDS = ("astronaut", "chelsea", "coffee", "grass", "immunohistochemistry")
_SURFACES = ("gravel", "page")


def write_scenes(folder: Path, *, images: int, size: tuple[int, int], seed: int) -> None:
    """Draw scenes into ``folder/images`` and label them in ``folder/annotations.json``.

    The files are ``images/000001.jpg`` and so on.  The labels have the layout of COCO
    instances; a mask holds the pixels of an object that can be seen, so masks are disjoint.
    They are written last: a folder that has them is complete.  A scene depends on ``size``,
    ``seed`` and its own number alone.

    Args:
        folder: made if it is missing; other files in it stay.
        images: number of scenes, at least 1.
        size: height and width in pixels, each at least 64.
        seed: not negative.

    Raises:
        ValueError: an argument is out of its range.
    """
    if images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    if min(size) < 64:
        raise ValueError(f"size must be at least 64 x 64 pixels, got {size[0]} x {size[1]}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    height, width = size
    annotations = folder / "annotations.json"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    # Labels of an earlier call must not pass for those of the scenes that replace its own.
    annotations.unlink(missing_ok=True)
    records: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for number in range(1, images + 1):
        pixels, objects = _draw(np.random.default_rng([seed, number]), height, width)
        name = f"{number:06d}.jpg"
        Image.fromarray(pixels).save(folder / "images" / name, quality=_QUALITY)
        records.append({"id": number, "file_name": name, "height": height, "width": width})
        for category, seen in objects:
            labels.append({"id": len(labels) + 1, "image_id": number, **_label(category, seen)})
    content = {
        "info": {
            "description": "Scenes drawn by a program: patterned objects on photographic crops",
            "source": "scikit-image's pictures " + ", ".join(_BACKGROUNDS + _SURFACES),
        },
        "licenses": [{"id": 1, "name": "that of each picture, given in skimage.data's manual"}],
        "images": records,
        "annotations": labels,
        "categories": [{"id": i, "name": c.name} for i, c in enumerate(_CATEGORIES, 1)],
    }
    with atomic_write(annotations) as temporary:
        temporary.write_text(json.dumps(content))


def _label(category: int, seen: Mask) -> dict[str, Any]:
    """What COCO says of an object, from its category's position and its visible pixels."""
    encoded = run_lengths.encode(np.asfortranarray(seen, np.uint8))
    return {
        "category_id": category + 1,
        "bbox": list(cv2.boundingRect(seen.astype(np.uint8))),
        "area": int(seen.sum()),
        "iscrowd": 0,
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
    }


# Scenes


@dataclass(frozen=True, eq=False)
class _Object:
    """An object before it is painted.

    Attributes:
        category: position in `_CATEGORIES`.
        centre: x and y, in pixels.
        radius: in pixels.
        frame: turns the object's own directions into the scene's, ``(2, 2)``.
        cover: share of each pixel that it covers, ``(height, width)``.
        mask: pixels of which it covers half or more, ``(height, width)``.
    """

    category: int
    centre: Array
    radius: float
    frame: Array
    cover: Array
    mask: Mask


def _draw(
    rng: np.random.Generator, height: int, width: int
) -> tuple[NDArray[np.uint8], list[tuple[int, Mask]]]:
    """A scene: RGB ``(height, width, 3)``, and each object's category and visible pixels."""
    canvas = _background(rng, height, width)
    palette = canvas.reshape(-1, 3).copy()
    objects = list(_visible(_arrange(rng, height, width)))
    light = _rotation(rng.uniform(0, 2 * np.pi))[0]
    for thing, _ in reversed(objects):
        _cast_shadow(canvas, thing, light)
        _paint(rng, canvas, thing, light=light, colours=_two_colours(rng, palette))
    return _expose(rng, canvas), [(thing.category, seen) for thing, seen in objects]


def _arrange(rng: np.random.Generator, height: int, width: int) -> list[_Object]:
    """Objects from front to back, each of another category."""
    wanted = rng.integers(*_OBJECTS, endpoint=True)
    taken = np.zeros((height, width), bool)
    objects = []
    for category in rng.permutation(len(_CATEGORIES))[:wanted]:
        # The freest of a few places: objects overlap, but seldom bury each other.
        places = [_place(rng, int(category), height, width) for _ in range(4)]
        objects.append(min(places, key=lambda place: float(taken[place.mask].mean())))
        taken |= objects[-1].mask
    return objects


def _place(rng: np.random.Generator, category: int, height: int, width: int) -> _Object:
    radius = rng.uniform(*_RADIUS) * min(height, width)
    frame = _rotation(rng.uniform(0, 2 * np.pi))
    centre = rng.uniform(0.12, 0.88, 2) * (width, height)
    stretch = radius * np.array([1, rng.uniform(0.8, 1)])
    lines = [(p * stretch) @ frame.T + centre for p in _CATEGORIES[category].outline(rng)]
    cover = np.zeros((height, width), np.uint8)
    # Points are in sixteenths of a pixel; by the even-odd rule a line in another makes a hole.
    fixed = [np.rint(16 * p).astype(np.int32) for p in lines]
    cv2.fillPoly(cover, fixed, 255, cv2.LINE_AA, shift=4)
    return _Object(category, centre, radius, frame, cover / np.float32(255), cover >= 128)


def _visible(objects: list[_Object]) -> Iterator[tuple[_Object, Mask]]:
    """The objects that can be seen, from front to back, with their visible pixels.

    One of too few visible pixels is neither drawn nor labelled.
    """
    hidden = np.zeros(objects[0].mask.shape, bool)
    for thing in objects:
        seen = thing.mask & ~hidden
        if np.count_nonzero(seen) >= _FEWEST_PIXELS:
            hidden |= thing.mask
            yield thing, seen


def _background(rng: np.random.Generator, height: int, width: int) -> Array:
    """A photographic crop in altered colours: RGB ``(height, width, 3)``, in grey levels."""
    photographs = _photographs()
    crop = _crop(rng, photographs[rng.integers(len(photographs))], height, width)
    crop = (crop - crop.mean((0, 1))) * (rng.uniform(35, 50) / max(float(crop.std()), 10))
    if rng.random() < 0.5:
        crop = crop[..., rng.permutation(3)] + rng.uniform(80, 150, 3).astype(np.float32)
    else:
        # Between two colours, as the objects are.
        first, second = _two_colours(rng, rng.uniform(30, 220, (256, 3)).astype(np.float32))
        crop = first + (second - first) * np.clip(0.5 + crop.mean(2, keepdims=True) / 180, 0, 1)
    return crop * _grain(rng, height, width)


def _crop(rng: np.random.Generator, picture: NDArray[Any], height: int, width: int) -> Array:
    """A piece of a picture, turned and scaled: ``(height, width)``, and colours if it has any."""
    turn = _rotation(rng.uniform(0, 2 * np.pi)) * rng.uniform(0.7, 1.4)
    centre = rng.uniform(0, 1, 2) * picture.shape[1::-1]
    piece = cv2.warpAffine(
        picture,
        np.column_stack([turn, centre - turn @ (width / 2, height / 2)]),
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return piece.astype(np.float32)


def _grain(rng: np.random.Generator, height: int, width: int) -> Array:
    """Fine relief of some photograph, as factors around 1: ``(height, width, 1)``."""
    reliefs = _reliefs()
    return _crop(rng, reliefs[rng.integers(len(reliefs))], height, width)[..., None]


def _two_colours(rng: np.random.Generator, palette: Array) -> Array:
    """Two colours, ``(2, 3)``, each from the palette ``(colours, 3)`` or any other."""
    while True:
        known = palette[rng.integers(len(palette), size=2)]
        colours = np.where(rng.random((2, 1)) < 0.4, known, rng.uniform(30, 220, (2, 3)))
        # A view may lose its colours; the pattern must still be there.
        if abs(colours[0].mean() - colours[1].mean()) >= _CONTRAST:
            return colours.astype(np.float32)


def _paint(
    rng: np.random.Generator, canvas: Array, thing: _Object, *, light: Array, colours: Array
) -> None:
    """Paint an object onto the canvas: its pattern, grain, and light from one side."""
    left, top, width, height = cv2.boundingRect(thing.mask.astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    y, x = np.mgrid[box].astype(np.float32)
    offset = np.stack([x, y], -1) - thing.centre.astype(np.float32)
    own = offset @ thing.frame / np.float32(rng.uniform(*_PERIOD))
    tone = _CATEGORIES[thing.category].pattern(own[..., 0], own[..., 1])[..., None]
    surface = colours[0] + (colours[1] - colours[0]) * np.clip(tone, 0, 1)
    surface *= _grain(rng, height, width)
    surface *= 1 + rng.uniform(0.1, 0.35) / thing.radius * (offset @ light)[..., None]
    canvas[box] += thing.cover[box][..., None] * (surface - canvas[box])


def _cast_shadow(canvas: Array, thing: _Object, light: Array) -> None:
    """Darken what is beside an object, away from the light."""
    height, width = thing.cover.shape
    move = np.column_stack([np.eye(2), -0.12 * thing.radius * light])
    shadow = cv2.GaussianBlur(cv2.warpAffine(thing.cover, move, (width, height)), (0, 0), 3)
    canvas *= 1 - 0.5 * shadow[..., None]


def _expose(rng: np.random.Generator, canvas: Array) -> NDArray[np.uint8]:
    """What a camera sees of the canvas: in uneven, coloured light, with blur and noise."""
    height, width = canvas.shape[:2]
    # Patches of light about as large as the objects, and a little coloured.
    patches = rng.uniform(0.05, 0.22) * rng.standard_normal((4, 5, 1))
    patches = patches + rng.uniform(0.02, 0.06) * rng.standard_normal((4, 5, 3))
    light = np.exp(cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC))
    # The shadow of something outside the picture, which falls across it.
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    across = np.stack([x, y], -1) @ _rotation(rng.uniform(0, 2 * np.pi))[0]
    edge = (across - rng.uniform(-0.7, 0.7)) / rng.uniform(0.03, 0.2)
    light *= 1 - rng.uniform(0, 0.5) / (1 + np.exp(-edge[..., None]))
    light *= rng.uniform(0.8, 1.25) * rng.uniform(0.85, 1.15, 3)
    seen = cv2.GaussianBlur(canvas * light.astype(np.float32), (0, 0), rng.uniform(0.3, 0.8))
    noise = np.float32(rng.uniform(2, 7)) * rng.standard_normal(seen.shape, np.float32)
    return np.clip(seen + noise, 0, 255).astype(np.uint8)


def _rotation(angle: float) -> Array:
    """Matrix that turns a column (x, y) by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]], np.float32)


# Categories


@dataclass(frozen=True)
class _Category:
    """A kind of object.

    Attributes:
        name: what people call it.
        outline: draws closed lines of points (x, y), about 1 from the origin at most.
        pattern: from coordinates along and across the object, counted in periods, to the
            share of its second colour; what lies outside of 0 … 1 is cut off.
    """

    name: str
    outline: Callable[[np.random.Generator], Lines]
    pattern: Callable[[Array, Array], Array]


_TURN = np.linspace(0, 2 * np.pi, 240, endpoint=False)


def _around(radii: ArrayLike) -> NDArray[np.float64]:
    """Points at these distances from the origin, at equal angles."""
    distance = np.asarray(radii, np.float64)
    angle = np.linspace(0, 2 * np.pi, len(distance), endpoint=False)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], 1)


def _leaf(rng: np.random.Generator) -> Lines:
    # A squeezed circle whose ends are drawn to points.
    across = np.sin(_TURN) * np.abs(np.sin(_TURN)) ** 0.7
    return [np.stack([np.cos(_TURN), rng.uniform(0.45, 0.6) * across], 1)]


def _cross(rng: np.random.Generator) -> Lines:
    arm = rng.uniform(0.3, 0.42)
    quarter = np.array([[1, -arm], [1, arm], [arm, arm]])
    return [np.concatenate([quarter @ _rotation(k * np.pi / 2).T for k in range(4)])]


def _gear(rng: np.random.Generator) -> Lines:
    teeth = rng.integers(7, 11)
    return [_around(0.85 + 0.15 * np.tanh(3 * np.sin(teeth * _TURN))), _around([0.25] * 24)]


def _note(rng: np.random.Generator) -> Lines:
    return [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (0.9, rng.uniform(0.6, 0.8))]


def _stone(rng: np.random.Generator) -> Lines:
    waves = np.sin(np.outer(_TURN, [2, 3, 4]) + rng.uniform(0, 2 * np.pi, 3))
    return [_around(0.85 + waves @ rng.uniform(0, 0.16, 3))]


def _fish(rng: np.random.Generator) -> Lines:
    # One line that crosses itself where the tail begins.
    along = np.cos(_TURN) - rng.uniform(0.6, 0.8) * np.sin(_TURN) ** 2
    return [np.stack([along, 1.3 * np.cos(_TURN) * np.sin(_TURN)], 1)]


def _wave(x: Array) -> Array:
    """Change along ``x`` from one colour to the other and back, with edges a pixel or two wide."""
    return 0.5 + 1.5 * np.sin(2 * np.pi * x)


def _shifted(u: Array, v: Array) -> tuple[Array, Array]:
    """Place in a cell, -0.5 … 0.5, of a grid in which every other row is shifted by half."""
    return (u + 0.5 * (np.floor(v) % 2)) % 1 - 0.5, v % 1 - 0.5


def _bricks(u: Array, v: Array) -> Array:
    x, y = _shifted(u / 2, v)
    return 5 * np.minimum(1 - 2 * np.abs(x), 0.5 - np.abs(y)) - 0.1


def _scales(u: Array, v: Array) -> Array:
    x, y = _shifted(u, 2 * v)
    return 4 * np.hypot(x, y + 0.4) - 1.5


def _photographed(name: str, u: Array, v: Array) -> Array:
    """A photograph, repeated in both directions; a period is 12 of its pixels."""
    surface, wrap = _surface(name), cv2.BORDER_WRAP
    return np.asarray(cv2.remap(surface, 12 * u, 12 * v, cv2.INTER_LINEAR, borderMode=wrap))


_CATEGORIES = (
    _Category(
        "ball",
        lambda rng: [_around([0.9] * 48)],
        lambda u, v: 0.5 + 4 * (0.33 - np.hypot(*_shifted(u, v))),
    ),
    _Category(
        "ring",
        lambda rng: [_around([1] * 48), _around([rng.uniform(0.35, 0.5)] * 48)],
        lambda u, v: _wave(u),
    ),
    _Category(
        "star",
        lambda rng: [_around([1, rng.uniform(0.45, 0.6)] * rng.integers(5, 8))],
        lambda u, v: 0.5 + 3 * np.sin(np.pi * u) * np.sin(np.pi * v),
    ),
    _Category("leaf", _leaf, lambda u, v: _wave(u + np.abs(v))),
    _Category("gear", _gear, lambda u, v: 4 * np.maximum(abs(u % 1 - 0.5), abs(v % 1 - 0.5)) - 0.8),
    _Category("cross", _cross, _bricks),
    _Category(
        "sail",
        lambda rng: [_around([1, 1, rng.uniform(0.8, 1.1)])],
        lambda u, v: _wave(v + 0.4 * np.sin(np.pi * u)),
    ),
    _Category("note", _note, partial(_photographed, "page")),
    _Category("stone", _stone, partial(_photographed, "gravel")),
    _Category("fish", _fish, _scales),
)


# Photographs


@cache
def _photographs() -> list[NDArray[np.uint8]]:
    """Pictures for backgrounds, RGB."""
    pictures = [getattr(data, name)() for name in _BACKGROUNDS]
    return [p if p.ndim == 3 else np.repeat(p[..., None], 3, 2) for p in pictures]


@cache
def _reliefs() -> list[Array]:
    """The backgrounds' fine detail, as factors around 1: ``(height, width)``."""
    return [np.clip(1 + 0.08 * _detail(p.mean(2)), 0.7, 1.3) for p in _photographs()]


@cache
def _surface(name: str) -> Array:
    """A photograph as a pattern: dark is 0, bright is 1, however it was lit."""
    picture = getattr(data, name)()
    if name == "page":
        picture = picture[48:116, 6:376]  # four lines of print, without margins
    return 0.5 + 0.6 * _detail(picture)


def _detail(picture: NDArray[Any]) -> Array:
    """What a grey picture has finer than some 10 pixels, with standard deviation 1."""
    grey = picture.astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 10)
    return fine / fine.std()
