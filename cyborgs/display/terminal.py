"""Pictures in a terminal: half blocks, two pixels a character, in almost any terminal."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from cyborgs.display.pictures import Panel, Picture, thumbnail
from cyborgs.masks.palette import lab

# Columns of a panel, at least and at most, and of the gap between two.
_NARROW = 38
_WIDE = 80
_GAP = 2

# Of the 256 colours that terminals agree on: steps of a cube, numbered from 16, then greys.
_STEPS = (0, 95, 135, 175, 215, 255)
_GREYS = range(8, 248, 10)


def knows_true_colour(environment: Mapping[str, str]) -> bool:
    """Whether a terminal knows 24-bit colours, as ``COLORTERM`` has it."""
    return environment.get("COLORTERM") in ("truecolor", "24bit")


def can_show(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal of 24-bit or 256 colours that takes the half block."""
    colours = knows_true_colour(environment) or environment.get("TERM", "").endswith("-256color")
    return stream.isatty() and colours and (stream.encoding or "").lower().startswith("utf")


def draw(rows: Sequence[Sequence[Panel]], columns: int, true_colour: bool, stream: TextIO) -> None:
    """Write panels, as many side by side as ``columns`` characters hold, each with its lines.

    ``true_colour``: 24-bit colours, not 256.
    """
    for row in rows:
        beside = min(len(row), max(1, (columns + _GAP) // (_NARROW + _GAP)))
        width = min(_WIDE, (columns + _GAP) // beside - _GAP)
        for begin in range(0, len(row), beside):
            for line in _lines(row[begin : begin + beside], width, true_colour):
                stream.write(line.rstrip(" ") + "\n")


def _lines(panels: Sequence[Panel], width: int, true_colour: bool) -> list[str]:
    blocks = [
        [] if p.picture is None else half_blocks(thumbnail(p.picture, width), true_colour)
        for p in panels
    ]
    gap = " " * _GAP
    lines = [
        gap.join(text[:width].ljust(width) for text in texts)
        for texts in ([p.title for p in panels], [p.subtitle for p in panels])
    ]
    for number in range(max(map(len, blocks))):
        cells = (block[number] if number < len(block) else " " * width for block in blocks)
        lines.append(gap.join(cells))
    return [*lines, ""]


def half_blocks(picture: Picture, true_colour: bool) -> list[str]:
    """A picture as lines of characters, two rows of pixels a line.

    The upper half block takes the upper pixel's colour, its background the lower one's; an odd
    last row has no background.
    """
    codes = _codes(picture, true_colour)
    lines = []
    for upper, lower in zip(codes[::2], [*codes[1::2], None], strict=False):
        cells = []
        for x, code in enumerate(upper):
            below = "" if lower is None else f"\x1b[48;{lower[x]}m"
            cells.append(f"\x1b[38;{code}m{below}▀")
        lines.append("".join(cells) + "\x1b[0m")
    return lines


def _codes(picture: Picture, true_colour: bool) -> list[list[str]]:
    """Each pixel's colour as an escape sequence names it (ISO 8613-6, and xterm's 256)."""
    if true_colour:
        return [[f"2;{r};{g};{b}" for r, g, b in row] for row in picture.tolist()]
    # In CIELAB: by RGB, orange would turn pink.
    seen = lab(picture.reshape(-1, 3), "normal")
    apart = np.linalg.norm(seen[:, None] - lab(_palette(), "normal"), axis=-1)
    nearest = 16 + apart.argmin(axis=-1).reshape(picture.shape[:2])
    return [[f"5;{number}" for number in row] for row in nearest.tolist()]


@cache
def _palette() -> NDArray[np.uint8]:
    """RGB of the colours 16 … 255 of a terminal, ``(240, 3)``."""
    cube = [(r, g, b) for r in _STEPS for g in _STEPS for b in _STEPS]
    return np.array(cube + [(level, level, level) for level in _GREYS], dtype=np.uint8)
