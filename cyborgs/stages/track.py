"""Stage `track`: the metrics of a run, sent to a tracker."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TextIO

from cyborgs.common.errors import InputError
from cyborgs.common.files import absence, exclusive
from cyborgs.run.paths import Run
from cyborgs.tracking.following import LAST_SECONDS
from cyborgs.tracking.sending import Sender, require_trackers

# Seconds between looks at a run's files.
_LOOK = 15.0

# Where a tracker fails, it is tried again after this many seconds, then after twice as many, …
_AGAIN, _LONGEST = 60.0, 600.0


def run(folder: Path, name: str) -> str:
    """Send what a tracker does not have yet; returns what was sent, as a line.

    Args:
        folder: of the run.
        name: of the tracker.

    Raises:
        InputError: no run is there, a file of it is damaged, or the tracker fails.
    """
    require_trackers([name])
    if not folder.is_dir():
        raise InputError(f"run {folder} {absence(folder, 'folder')}")
    with _alone(folder, name):
        sender = Sender(folder, name)
        try:
            count = sender.send()
            sender.close()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name}: {_told(error)}") from None
    return f"{name}: {count} points sent, run {sender.run or 'not begun: nothing to send yet'}"


def follow(folder: Path, name: str) -> None:
    """Send metrics as they come, until standard input or a signal ends this.

    A tracker that fails is told once, and tried again; whatever else trackers and their libraries
    say is in the run's ``logs/track-NAME.log``.

    Args:
        folder: of the run, which may not be there yet.
        name: of the tracker.

    Raises:
        InputError: the tracker is not installed.
    """
    require_trackers([name])
    terminal = _to_log(Run(folder).log(f"track-{name}"))

    def say(message: str) -> None:
        # Of a terminal that is closed, nothing is left to be told.
        with suppress(OSError):
            print(f"track: {name}: {message}", file=terminal, flush=True)

    ended = threading.Event()
    command = f"`cyborgs track {folder} --to {name}`"

    def give_up() -> None:
        say(f"not everything was sent in {LAST_SECONDS} s; {command} sends the rest")
        os._exit(1)

    def end() -> None:
        if not ended.is_set():
            ended.set()
            timer = threading.Timer(LAST_SECONDS, give_up)
            timer.daemon = True
            timer.start()

    def wait_for_end() -> None:
        # Not by `sys.stdin`, whose lock an interpreter that ends would wait for.
        while os.read(0, 4096):
            pass
        end()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: end())
    threading.Thread(target=wait_for_end, daemon=True).start()
    with _alone(folder, name):
        _send_until(ended, folder, name, say=say, command=command)


def _send_until(
    ended: threading.Event, folder: Path, name: str, *, say: Callable[[str], None], command: str
) -> None:
    """Send what is new every few seconds, and a last time when ``ended`` is set."""
    sender = Sender(folder, name)
    failing, pause = False, _AGAIN
    while True:
        # What was written before the end is sent in a last turn.
        last = ended.is_set()
        try:
            sender.send()
            if last:
                sender.close()
                return
            if failing:
                say("works again")
            failing, pause = False, _AGAIN
        except Exception as error:
            if not failing:
                say(
                    f"{_told(error)} (the run continues without it and tries again; {command} "
                    "sends what is missing)"
                )
            failing = True
            if last:
                return
            sender = Sender(folder, name)
        ended.wait(pause if failing else _LOOK)
        if failing:
            pause = min(2 * pause, _LONGEST)


def _alone(folder: Path, name: str) -> AbstractContextManager[None]:
    """Two at a time would both send what neither has noted."""
    path = Run(folder).tracking(name)
    return exclusive(path.with_name(f".{name}.lock"), str(path))


def _told(error: Exception) -> str:
    """The first line of an error, with its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _to_log(path: Path) -> TextIO:
    """Send all output to a file from here on; returns what was standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(2), "w")
    with open(path, "ab") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    return terminal
