"""Pictures: the same images in every round, a column a round."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyborgs.display.pictures import layer, match, resized, thumbnail, truth_layer
from cyborgs.images.annotations import Instances
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.report.page import layer_source, photo_source

# The longer side of an enlarged picture, in pixels.
SIDE = 640

# The most columns of masks.
COLUMNS = 6


@dataclass(frozen=True)
class Series:
    """Masks of several rounds that were made alike: "as made", or at a fixed K."""

    kind: str
    rounds: Sequence[tuple[str, Masks]]

    @property
    def shown(self) -> Sequence[tuple[str, Masks]]:
        """All rounds; of many the first, the last, and some between, evenly."""
        last = len(self.rounds) - 1
        if last < COLUMNS:
            return self.rounds
        places = [round(n * last / (COLUMNS - 1)) for n in range(COLUMNS)]
        return [self.rounds[place] for place in places]


@dataclass(frozen=True)
class Cell:
    """A picture: what lies over the photograph ("" for nothing), and what it is."""

    source: str
    caption: str
    description: str


@dataclass(frozen=True)
class Strip:
    """An image: its name, where it stands in the index, its shape, and a picture a column.

    ``ratio`` is its width over its height.
    """

    name: str
    position: int
    ratio: float
    cells: list[Cell]


@dataclass(frozen=True)
class Grid:
    """Images chosen for one reason, with masks of one kind.

    Attributes:
        reason, kind: their numbers, in the order of the page.
        columns: what each holds.
        strips: a row each.
        note: which rounds are left out, where some are.
    """

    reason: int
    kind: int
    columns: list[str]
    strips: list[Strip]
    note: str


def photo(photograph: NDArray[np.uint8]) -> str:
    """A photograph, ``(height, width, 3)``, as the page holds it."""
    height, width = photograph.shape[:2]
    smaller = min(width, round(width * SIDE / max(height, width)))
    return photo_source(thumbnail(photograph, smaller))


def columns(series: Series, labelled: bool) -> list[str]:
    """Names of the columns of a grid."""
    first = ["photograph", "ground truth"] if labelled else ["photograph"]
    return [*first, *(title for title, _ in series.shown)]


def note(series: Series) -> str:
    """Which rounds have a column, where not all of them have."""
    if len(series.shown) == len(series.rounds):
        return ""
    return f"{len(series.shown)} of {len(series.rounds)} columns of masks are shown."


def strip(
    name: str,
    position: int,
    size: tuple[int, int],
    *,
    series: Series,
    truth: Instances | None,
    labelled: bool,
) -> Strip:
    """The masks of an image round by round, after the photograph and the ground truth.

    Args:
        name: of the image.
        position: in the index.
        size: its height and width.
        series: masks; a round without one of this image has an empty cell.
        truth: its annotated instances, or None.
        labelled: whether there is a column for them.
    """
    height, width = size
    scale = SIDE / max(size)
    small = max(1, round(height * scale)), max(1, round(width * scale))
    cells = [Cell("", "photograph", f"photograph {name}")]
    if truth is not None:
        segments = resized(truth.label_map(), *small)
        ignore = resized(truth.ignore.astype(np.uint8), *small) > 0
        caption = _count(len(truth.categories), "object")
        picture = layer_source(truth_layer(segments, ignore))
        cells.append(Cell(picture, caption, f"objects annotated in {name}"))
    elif labelled:
        cells.append(Cell("", "not annotated", f"{name} is not annotated"))
    known = [(title, masks) for title, masks in series.shown if position in masks]
    labels = [full_size(masks.read(position), *size, masks.stride) for _, masks in known]
    pairs = zip(labels, match(labels), strict=True)
    found = dict(zip([title for title, _ in known], pairs, strict=True))
    for title, _ in series.shown:
        if title not in found:
            cells.append(Cell("", "no masks", f"no masks of {name}, {title}"))
            continue
        own, coloured = found[title]
        caption = " · ".join(_in_words(own, truth))
        picture = layer_source(layer(resized(coloured, *small)))
        cells.append(Cell(picture, caption, f"masks of {name}, {series.kind}, {title}, {caption}"))
    return Strip(name, position, width / height, cells)


def _in_words(labels: NDArray[np.integer], truth: Instances | None) -> list[str]:
    words = [_count(len(np.unique(labels)), "mask")]
    if truth is not None and len(truth.categories):
        ari = adjusted_rand_index(labels, truth.label_map(), ~truth.ignore)
        # Not broken between the two words.
        words.append(f"ARI\N{NO-BREAK SPACE}{ari:.2f}")
    return words


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
