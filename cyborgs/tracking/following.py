"""Trackers beside a workflow: a process for each, which ends with it.

What a tracker does, or fails to do, touches no job: not its time, its memory or its exit status.
And the process that Snakemake runs in has a way out of a cluster, which its nodes often have not.
"""

import atexit
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# Seconds that trackers have for what is left when the workflow ends.
LAST_SECONDS = 60


def start_trackers(names: list[str], run: Path) -> None:
    """Start ``cyborgs track`` for each tracker; they end when this process does.

    Args:
        names: of `compute.trackers`.
        run: folder of the run.
    """
    for name in dict.fromkeys(names):
        command = [sys.executable, "-m", "cyborgs", "track", str(run), "--to", name, "--follow"]
        # Its standard input ends with this process, however that ends.  A session of its own: what
        # a terminal interrupts is the workflow.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )
        atexit.register(_end, process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(LAST_SECONDS + 5)
