"""Metrics of epochs as TensorBoard's events: one series over all rounds of a run."""

import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from cyborgs.common.errors import InputError

# What TensorBoard and the programs that read its files know them by.
_NAME = "events.out.tfevents"


class Events:
    """The events of one file of metrics.

    TensorBoard shows a folder as one series, and reads its files in the order of their names.
    Rounds lie side by side in the folder of their metrics, and a file's name begins with the
    round.  Other metrics (of an evaluation that trains a network) have a folder of their own, of
    the name of their file without the suffix.

    Args:
        path: the file of metrics; events of an earlier writer, which cannot be taken back, are
            removed.
        step: the step that the metrics continue from: what a TensorBoard that is open has shown of
            later steps, it forgets.

    Raises `InputError` where the folder cannot be made.
    """

    def __init__(self, path: Path, step: int) -> None:
        # Only who writes events waits for TensorBoard.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        # Of a round's events, a folder is what earlier versions left.
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        folder = path.parent if is_round(path) else path.with_suffix("")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for earlier in _written(path) if is_round(path) else ():
                _take_back(earlier)
            # Another name each time: an open TensorBoard would read on in the middle of a file.
            name = f"{_NAME}.{path.stem}.{time.time_ns():020d}"
            stream = open(folder / name, "wb", buffering=0)  # noqa: SIM115 (held beyond this line)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}") from None
        self._writer = RecordWriter(stream)
        begin = SessionLog(status=SessionLog.START)
        for event in (
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=step + 1, session_log=begin),
        ):
            self._writer.write(event.SerializeToString())

    def write(self, row: Mapping[str, float]) -> None:
        """Write the metrics of an epoch, by its ``step``."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "step"
        ]
        event = Event(wall_time=time.time(), step=int(row["step"]), summary=Summary(value=values))
        self._writer.write(event.SerializeToString())


def is_round(path: Path) -> bool:
    """Whether a file has the metrics of a round of a run, which continue those of other rounds."""
    return re.fullmatch(r"round-\d\d", path.stem) is not None


def without_events(path: Path) -> list[Path]:
    """Metrics of the other rounds of a run that have no events beside them.

    Earlier versions wrote a folder of events a round, which TensorBoard shows as a series each.
    """
    if not is_round(path):
        return []
    others = sorted(path.parent.glob(f"round-[0-9][0-9]{path.suffix}"))
    return [other for other in others if other != path and not _written(other)]


def _take_back(path: Path) -> None:
    # An open TensorBoard would wait for a file that is gone: the file is removed the next time.
    if path.stat().st_size:
        os.truncate(path, 0)
    else:
        path.unlink()


def _written(path: Path) -> list[Path]:
    """Events of a round."""
    return list(path.parent.glob(f"{_NAME}.{path.stem}.*"))
