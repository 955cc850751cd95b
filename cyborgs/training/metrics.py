"""Metrics of each epoch, as JSON lines and for TensorBoard."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.training.events import Events, without_events

Row = dict[str, float]


class MetricsLog:
    """Appends a line an epoch to a file, which can be read while training goes on.

    Attributes:
        rows: all lines so far.

    A round that continues from step ``step`` keeps the lines up to that step and writes the
    later ones again, so that each epoch has one line.  TensorBoard's events (`Events`) have the
    same metrics, by step; those of other rounds stay as they are.

    Raises `InputError` where the file cannot be written.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [row for row in read_metrics(path) if row["step"] <= step] if path.exists() else []
        with atomic_write(path) as temporary:
            temporary.write_text("".join(_line(row) for row in kept))
        self.rows = kept
        self._path = path
        for other in without_events(path):
            with suppress(InputError):  # who reads that file tells of its damage
                _write_events(other, read_metrics(other), 0)
        self._events = _write_events(path, kept, step)

    def write(self, row: Row) -> None:
        """Append a line."""
        with open(self._path, "a") as stream:
            stream.write(_line(row))
        self.rows.append(row)
        self._events.write(row)


def read_metrics(path: Path) -> list[Row]:
    """The lines of a file, in order.

    A last line that an interruption cut short is left out.  Raises `InputError` where another
    line is damaged.
    """
    rows: list[Row] = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not all(isinstance(row[key], int | float) for key in ("step", *row)):
                raise ValueError("a metric that is not a number")
            rows.append(row)
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise InputError(
                f"metrics {path} is damaged in line {number}; delete it (no result needs it)"
            ) from None
    return rows


def _write_events(path: Path, rows: list[Row], step: int) -> Events:
    """The events of some rows; where there are none yet, of those after ``step``."""
    events = Events(path, int(rows[0]["step"]) - 1 if rows else step)
    for row in rows:
        events.write(row)
    return events


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
