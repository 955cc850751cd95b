"""What a job does right now, in a small file beside its log, for who watches a run.

Nothing needs the file: it is replaced about once a second, removed when the command ends, and left
behind only where the command was killed, which is how that is seen.
"""

import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import psutil

# Set for the commands of a workflow (workflow/rules/common.smk): those by hand leave no such files.
ASKED = "CYBORGS_LIVE"

# Seconds between two versions of the file.
_INTERVAL = 1.0


@dataclass(frozen=True)
class Live:
    """What a command does.

    Attributes:
        doing: the part of the command's work, as its log calls it.
        unit: of ``done`` and ``total``.
        done, total: how much of the part is done; ``total`` is 0 where that is not counted.
        since, at: when the part began, and when this was written; seconds since 1970.
        host, process, created: who writes: the process id, and when that process began.
        slurm: the SLURM job that the command runs in, or "".
        metrics: of a training: ``epoch``, ``loss``, ``images_per_second``, ``waiting``.
    """

    doing: str
    unit: str
    done: int
    total: int
    since: float
    at: float
    host: str
    process: int
    created: float
    slurm: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, log: Path) -> Self | None:
        """What the command with a log does; None where nothing, or nothing readable, says so."""
        try:
            content = json.loads(live_path(log).read_text(encoding="utf-8"))
            return cls(**content)
        except (OSError, ValueError, TypeError):
            return None

    @property
    def share(self) -> float | None:
        """Of the part that is done, 0 to 1; None where that is not counted."""
        return min(1.0, self.done / self.total) if self.total > 0 else None

    def seconds_left(self, now: float) -> float | None:
        """Of the part, if the rest goes as fast as what is done; None before anything is."""
        if not 0 < self.done <= self.total or self.at <= self.since:
            return None
        rest = (self.at - self.since) / self.done * (self.total - self.done)
        return max(0.0, rest - max(0.0, now - self.at))


def live_path(log: Path) -> Path:
    """The file for the command with a log."""
    return log.with_name(f".{log.name}.live")


class LiveFile:
    """Says what this command does, where it was asked to and its standard error goes to a file.

    Args:
        doing, total, unit: as in `Live`.
    """

    def __init__(self, doing: str, total: int = 0, unit: str = "") -> None:
        log = _log() if os.environ.get(ASKED) else None
        self.path = None if log is None else live_path(log)
        self._next = time.monotonic() + _INTERVAL
        if self.path is None:
            return
        process = psutil.Process()
        now = time.time()
        self._first = Live(
            doing=doing,
            unit=unit,
            done=0,
            total=total,
            since=now,
            at=now,
            host=socket.gethostname(),
            process=process.pid,
            created=process.create_time(),
            slurm=os.environ.get("SLURM_JOB_ID", ""),
        )
        self._write(self._first)

    @property
    def due(self) -> bool:
        """Whether it is time to say more."""
        return self.path is not None and time.monotonic() >= self._next

    def tell(self, done: int, metrics: Mapping[str, float]) -> None:
        """Say how much is done, and the metrics of a training."""
        if self.path is None:
            return
        self._next = time.monotonic() + _INTERVAL
        content = asdict(self._first) | {"done": done, "at": time.time(), "metrics": dict(metrics)}
        self._write(Live(**content))

    def _write(self, live: Live) -> None:
        assert self.path is not None
        # A full disk, or a folder that was removed, is no reason to stop the work.
        with suppress(OSError):
            temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(asdict(live)), encoding="utf-8")
            os.replace(temporary, self.path)


@contextmanager
def alive(doing: str) -> Iterator[None]:
    """Say for as long as the block runs that this command is at work."""
    file = LiveFile(doing)
    try:
        yield
    finally:
        if file.path is not None:
            with suppress(OSError):
                file.path.unlink(missing_ok=True)


def _log() -> Path | None:
    """The file that standard error goes to; None where it is no file, or the system cannot say."""
    try:
        if not stat.S_ISREG(os.fstat(2).st_mode):
            return None
        if hasattr(fcntl, "F_GETPATH"):  # macOS
            return Path(os.fsdecode(fcntl.fcntl(2, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
        return Path(os.readlink("/proc/self/fd/2"))
    except OSError:
        return None
