"""Where the progress of a run is shown: a terminal, of which the last lines change, or a log."""

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from cyborgs.progress.tree import Style, columns_of

# Lines of a terminal that are left for what was said before.
_ABOVE = 2


class Screen:
    """Writes lines that stay; on a terminal, with a tree below them that is drawn anew.

    Args:
        stream: where to.
        environment: ``TERM`` and ``NO_COLOR`` (https://no-color.org) are heeded.
        plain: no tree, and no colour.

    Attributes:
        live: whether the tree is shown.
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str], plain: bool = False) -> None:
        self._stream = stream
        terminal = stream.isatty() and environment.get("TERM", "") not in ("", "dumb")
        self.live = terminal and not plain
        self._colour = self.live and not environment.get("NO_COLOR")
        self._symbols = _takes_symbols(stream)
        self._drawn: list[int] = []  # columns of each line of the tree

    def style(self) -> Style:
        """What can be shown now: terminals change their size."""
        if not self.live:
            return Style(columns=10_000, symbols=self._symbols)
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns, rows = 80, 24
        # Some terminals of no known size say 0.  In the last column, some break the line.
        return Style(
            columns=max(20, (columns or 80) - 1),
            rows=max(3, (rows or 24) - _ABOVE),
            colour=self._colour,
            symbols=self._symbols,
        )

    def say(self, lines: Sequence[str]) -> None:
        """Write lines that stay, above the tree, which the next `show` draws again."""
        self._write(self._erased() + "".join(f"{line}\n" for line in lines))

    def show(self, lines: Sequence[str]) -> None:
        """Draw the tree anew."""
        if not self.live:
            return
        text = self._erased() + "".join(f"{line}\n" for line in lines)
        self._drawn = [columns_of(_without_colour(line)) for line in lines]
        self._write(text)

    def clear(self) -> None:
        """Take the tree away."""
        if self._drawn:
            self._write(self._erased())

    def _erased(self) -> str:
        if not self._drawn:
            return ""
        # Lines that were drawn when the terminal was wider have been broken since.
        columns = self.style().columns + 1
        rows = sum(max(1, -(-width // columns)) for width in self._drawn)
        self._drawn = []
        return f"\r\x1b[{rows}A\x1b[J"

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()


def _takes_symbols(stream: TextIO) -> bool:
    try:
        "✓✗▸·━─–…".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _without_colour(line: str) -> str:
    for part in line.split("\x1b[")[1:]:
        line = line.replace(f"\x1b[{part.partition('m')[0]}m", "", 1)
    return line
