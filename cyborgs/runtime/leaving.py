"""How a workflow leaves when it is asked to: its jobs save and leave first, and it says so.

Left to itself, Snakemake lets its jobs run on after SIGTERM, until whoever sent it loses patience
and kills all of them.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from cyborgs.common.errors import CONTINUES

# Seconds after Ctrl-C before jobs that are still running are asked again: the terminal has sent
# them Ctrl-C too.
_LATER = 2


def leave_with_jobs(logger: logging.Logger, elsewhere: Callable[[], bool]) -> None:
    """See to it that the jobs of this workflow leave with it.

    To be called in Snakemake's main process; does nothing in another thread than its main one,
    where a program that uses Snakemake as a library sees to signals itself.  SIGTERM, Ctrl-C and
    SIGHUP (a terminal that closes) are passed on to its commands; where these leave in order, that
    is what is told at the end, and no error.

    Args:
        logger: of Snakemake.
        elsewhere: whether jobs run on a cluster, where Snakemake cancels them after Ctrl-C alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    leaving = _Leaving()
    logger.addFilter(leaving)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # Beside Snakemake's own handlers, which it sets later.
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    arguments = (leaving, elsewhere, receiver, sender)
    threading.Thread(target=_pass_on, args=arguments, daemon=True).start()


def _pass_on(
    leaving: "_Leaving",
    elsewhere: Callable[[], bool],
    receiver: socket.socket,
    _: socket.socket,
) -> None:
    """Pass signals on as they come; keeps the sender open for as long as it runs."""
    while True:
        number = signal.Signals(receiver.recv(1)[0])
        if number not in (signal.SIGTERM, signal.SIGINT):
            continue
        leaving.asked = leaving.asked or number.name
        if number == signal.SIGTERM and elsewhere():
            os.kill(os.getpid(), signal.SIGINT)
        if number == signal.SIGINT:
            time.sleep(_LATER)
        for command in list(_commands(psutil.Process())):
            with suppress(psutil.Error):  # it may have ended by itself
                command.send_signal(signal.SIGTERM)


def _commands(process: psutil.Process) -> Iterator[psutil.Process]:
    """This program's commands among what a process started, but not what they started."""
    try:
        children = process.children()
    except psutil.Error:
        return
    for child in children:
        try:
            # `python …/cyborgs`.  In a shell, the name is only a part of one argument.
            own = any(Path(word).name == "cyborgs" for word in child.cmdline()[:3])
        except psutil.Error:
            continue
        if own:
            yield child
        else:
            yield from _commands(child)


class _Leaving(logging.Filter):
    """What Snakemake says of jobs that leave in order, in a sentence at its end.

    Attributes:
        asked: the signal by which it was asked to leave, or None.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: str | None = None
        self._told: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        if self.asked is None:
            return True
        event = getattr(getattr(record, "event", None), "name", None)
        if event == "JOB_ERROR":
            last = [_last_line(Path(log)) for log in getattr(record, "log", None) or []]
            self._told += last
            return not last or not all(CONTINUES in line for line in last)
        if event == "ERROR" and "did not complete successfully" in str(record.msg):
            told = self._told or ["finished work is kept"]
            record.msg = "\n".join(
                [*told, f"Left ({self.asked}): {CONTINUES} continues from here."]
            )
        # Drop the exit status, which follows the command's own message.
        return not (event == "ERROR" and "CalledProcessError" in str(record.msg))


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line), "")
