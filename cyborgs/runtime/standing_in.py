"""Standing in for a program that this one starts: its output, its signals, its exit status."""

import os
import signal
import subprocess
from collections.abc import Sequence
from types import FrameType


def stand_in(command: Sequence[str], environment: dict[str, str] | None = None) -> int:
    """Run a program in this one's place, and wait for it.

    It shares this program's process group and streams.  Ctrl-C reaches it by itself; SIGTERM and
    SIGHUP (unless ignored, as by ``nohup``) are passed on.

    Args:
        command: its words.
        environment: variables beside those that are set.

    Returns:
        Its exit status; 128 and the signal's number where a signal ended it, as a shell has it.
    """
    with subprocess.Popen(command, env=os.environ | (environment or {})) as child:

        def pass_on(number: int, _: FrameType | None) -> None:
            child.send_signal(number)

        # Only now: a program inherits what is ignored.
        before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, pass_on)
        try:
            status = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return status if status >= 0 else 128 - status
