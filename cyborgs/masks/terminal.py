"""Pictures in a terminal: half blocks, two pixels a character, in almost any terminal."""

from collections.abc import Mapping, Sequence
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from cyborgs.masks.pictures import Panel, thumbnail

# Columns of a panel, and of the gap between two.
_PANEL = 38
_GAP = 2


def can_show(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether a stream is a terminal that knows 24-bit colours, as ``COLORTERM`` has it."""
    return stream.isatty() and environment.get("COLORTERM") in ("truecolor", "24bit")


def draw(rows: Sequence[Sequence[Panel]], columns: int, stream: TextIO) -> None:
    """Write panels, as many side by side as ``columns`` characters hold, each with its lines."""
    beside = max(1, (columns + _GAP) // (_PANEL + _GAP))
    width = min(_PANEL, columns)
    for row in rows:
        for begin in range(0, len(row), beside):
            for line in _lines(row[begin : begin + beside], width):
                stream.write(line.rstrip(" ") + "\n")


def _lines(panels: Sequence[Panel], width: int) -> list[str]:
    blocks = [[] if p.picture is None else half_blocks(thumbnail(p.picture, width)) for p in panels]
    gap = " " * _GAP
    lines = [
        gap.join(text[:width].ljust(width) for text in texts)
        for texts in ([p.title for p in panels], [p.subtitle for p in panels])
    ]
    for number in range(max(map(len, blocks))):
        cells = (block[number] if number < len(block) else " " * width for block in blocks)
        lines.append(gap.join(cells))
    return [*lines, ""]


def half_blocks(picture: NDArray[np.uint8]) -> list[str]:
    """A picture as lines of characters, two rows of pixels a line.

    The upper half block takes the upper pixel's colour, its background the lower one's; an odd
    last row has no background.
    """
    lines = []
    for upper, lower in zip(picture[::2], [*picture[1::2], None], strict=False):
        cells = []
        for x, (r, g, b) in enumerate(upper):
            below = "" if lower is None else "\x1b[48;2;{};{};{}m".format(*lower[x])
            cells.append(f"\x1b[38;2;{r};{g};{b}m{below}▀")
        lines.append("".join(cells) + "\x1b[0m")
    return lines
