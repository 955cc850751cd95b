"""What SLURM says of the job that this process is part of."""

import os
import re
import subprocess

from cyborgs.common.progress import say

# What a controller may take to answer, seconds; without an answer a job goes on.
_PATIENCE = 30

# Days, hours, minutes and seconds, as SLURM writes them; the larger ones are left out.
_TIME = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


def seconds_left() -> float | None:
    """Seconds until the time limit of this job; None outside of SLURM, or without a limit.

    Where SLURM does not answer, that is said, and None: it still sends SIGTERM at the limit.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        say(
            f"SLURM does not say when job {job} ends ({error}); the job goes on until it gets a "
            "signal"
        )
        return None
    return parse_time(shown)


def parse_time(text: str) -> float | None:
    """Seconds of a time such as ``1-02:03:04``, ``2:03:04`` or ``3:04``; None for words."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
