"""Signals that ask a job to save and leave: time limits, preemption, Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cyborgs.launch import process_number

# SLURM and Snakemake end a job by SIGTERM; SIGUSR1 is what batch systems are told to send some
# minutes before a time limit.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Stop:
    """Whether a signal came.

    Attributes:
        asked: the signal's name, or None.
    """

    def __init__(self) -> None:
        self.asked: str | None = None


@contextmanager
def note_signals() -> Iterator[Stop]:
    """Note signals instead of dying of them; a second Ctrl-C ends the process at once.

    One of several processes gets each Ctrl-C twice, from the terminal and from who started it,
    and is killed by that one if it does not leave.
    """
    stop = Stop()
    alone = process_number() is None

    def note(number: int, _: FrameType | None) -> None:
        stop.asked = signal.Signals(number).name
        if number == signal.SIGINT and alone:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_parent(_: int) -> None:
    """For loader processes: they end with the process that started them, not before it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
