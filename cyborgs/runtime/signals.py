"""What asks a job to save and leave: signals (preemption, Ctrl-C), and a time limit."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cyborgs.runtime.launch import process_number

# SLURM and Snakemake end a job by SIGTERM, a terminal that closes by SIGHUP; SIGUSR1 is what batch
# systems are told to send some minutes before a time limit.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)


class Stop:
    """Whether the job was asked to leave.

    Attributes:
        asked: by which signal, or "time limit"; None if it was not.
    """

    def __init__(self) -> None:
        self.asked: str | None = None


@contextmanager
def note_signals(seconds: float | None = None) -> Iterator[Stop]:
    """Note signals instead of dying of them; a second Ctrl-C ends the process at once.

    With ``seconds``, the job is also asked to leave after so many.

    One of several processes gets each Ctrl-C twice, from the terminal and from the launcher, and
    the launcher kills it if it does not leave.
    """
    stop = Stop()
    alone = process_number() is None

    def note(number: int, _: FrameType | None) -> None:
        # The first reason counts: later signals may be consequences of it.
        stop.asked = stop.asked or signal.Signals(number).name
        if number == signal.SIGINT and alone:
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    def note_limit(_: int, __: FrameType | None) -> None:
        stop.asked = stop.asked or "time limit"

    before = {number: signal.signal(number, note) for number in SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # by `nohup`
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, note_limit)
    if seconds is not None:
        # A timer of 0 would be off.
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield stop
    except BaseException:
        if not alone or stop.asked is not None:
            # The launcher will now ask this process to leave again; let it report its error first.
            before.update(dict.fromkeys(SIGNALS, signal.SIG_IGN))
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_parent() -> None:
    """For loader processes: they end with the process that started them, not before it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
