"""Metrics of each epoch, as JSON lines and for TensorBoard."""

import json
import shutil
from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write

Row = dict[str, float]


class MetricsLog:
    """Appends a line an epoch to a file, which can be read while training goes on.

    Attributes:
        rows: all lines so far.

    A round that continues from step ``step`` keeps the lines up to that step and writes the
    later ones again, so that each epoch has one line.  A folder beside the file, of its name
    without the suffix, has the same metrics as TensorBoard's events, by step.

    Raises `InputError` where the file cannot be written.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [row for row in read_metrics(path) if row["step"] <= step] if path.exists() else []
        with atomic_write(path) as temporary:
            temporary.write_text("".join(_line(row) for row in kept))
        self.rows = kept
        self._path = path
        # Imported here: who reads metrics does not wait for torch.
        from torch.utils.tensorboard import SummaryWriter

        # Events cannot be taken back: those of an interrupted round are written anew.
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        self._events = SummaryWriter(str(path.with_suffix("")))
        for row in kept:
            self._show(row)

    def write(self, row: Row) -> None:
        """Append a line."""
        with open(self._path, "a") as stream:
            stream.write(_line(row))
        self.rows.append(row)
        self._show(row)

    def _show(self, row: Row) -> None:
        for name in row.keys() - {"step"}:
            self._events.add_scalar(name, row[name], int(row["step"]))
        self._events.flush()


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
                raise ValueError("a metric that is no number")
            rows.append(row)
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise InputError(
                f"metrics {path} is damaged in line {number}; delete it (no result needs it)"
            ) from None
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
