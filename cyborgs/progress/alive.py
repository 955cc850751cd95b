"""Whether the process that wrote something is still there."""

import shutil
import socket
import subprocess
from dataclasses import dataclass
from enum import Enum
from functools import cache

import psutil

from cyborgs.common.live import Live

# Seconds after which a process of another machine that says nothing is taken for gone.
_PATIENCE = 300.0
# Seconds by which the times of one process may differ, as two libraries read them.
_SAME = 2.0
# Seconds that SLURM has to answer.
_ANSWER = 15


class Alive(Enum):
    """What is known of a process."""

    YES = "is there"
    NO = "is gone"
    UNKNOWN = "is on another machine"


@dataclass(frozen=True)
class Process:
    """A process by what identifies it.

    Attributes:
        host: where it runs.
        number: its id.
        created: when it began, in seconds since 1970; ids are used again.
    """

    host: str
    number: int
    created: float

    def alive(self) -> Alive:
        """Whether it is there, as far as this machine can tell."""
        if self.host != socket.gethostname():
            return Alive.UNKNOWN
        try:
            process = psutil.Process(self.number)
            same = abs(process.create_time() - self.created) < _SAME
            gone = process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return Alive.NO
        except psutil.AccessDenied:
            return Alive.YES
        return Alive.YES if same and not gone else Alive.NO


def at_work(live: Live, now: float) -> bool:
    """Whether the command that wrote this is still at work."""
    here = Process(live.host, live.process, live.created).alive()
    if here is not Alive.UNKNOWN:
        return here is Alive.YES
    if live.slurm and (jobs := _slurm_jobs()) is not None:
        return live.slurm in jobs
    return now - live.at < _PATIENCE


@cache
def _slurm_jobs() -> frozenset[str] | None:
    """Numbers of the SLURM jobs that run; None where SLURM does not answer."""
    if shutil.which("squeue") is None:
        return None
    command = ["squeue", "--me", "--noheader", "--states=RUNNING,COMPLETING", "--format=%A"]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return frozenset(shown.split())
