"""The end of a job's log."""

import re
from pathlib import Path

# Bytes of a log's end that are looked at.
_END = 16_384
# An error of a command of this program (`cyborgs.cli`).
_ERROR = re.compile(r"cyborgs [\w -]+(: process \d+)?: error: ")


def last_lines(log: Path, lines: int) -> list[str]:
    """The last lines of a log that say something; none where it cannot be read.

    Bars that a program drew over one another count as the last of them.
    """
    try:
        with open(log, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _END))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    said = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [_printable(line) for line in said if line][-lines:]


def last_words(log: Path, lines: int) -> list[str]:
    """What a job that failed said last: its own error, which needs no more, or its last lines."""
    said = last_lines(log, lines)
    errors = [line for line in said if _ERROR.match(line)]
    return errors if errors and errors[-1] == said[-1] else said


def _printable(line: str) -> str:
    """Without what would move the cursor."""
    return "".join(c if c.isprintable() else " " for c in line)
