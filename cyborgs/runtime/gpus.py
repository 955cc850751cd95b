"""The GPUs of this machine: each used by one job at a time."""

import fcntl
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say
from cyborgs.runtime.launch import process_number

_VISIBLE = "CUDA_VISIBLE_DEVICES"

# Seconds that the driver may take to list its GPUs, and between looking for one that is free.
_PATIENCE, _PAUSE = 30, 1


@contextmanager
def claimed(device: str, count: int) -> Iterator[None]:
    """Show this process, and those that it starts, ``count`` GPUs that no other job here uses.

    Waits until so many are free.  What a job has claimed is let go when its process ends, however
    it ends.  Nothing is claimed for the CPU; where SLURM, the user (`CUDA_VISIBLE_DEVICES`) or what
    started this process as one of several has chosen; or where there are fewer GPUs, which the job
    finds out itself.  Jobs of other users are not seen.

    Args:
        device: of the job: "auto", "cuda" or "cpu".
        count: of GPUs.

    Raises:
        InputError: the lock files cannot be made.
    """
    chosen = _VISIBLE in os.environ or "SLURM_JOB_ID" in os.environ or process_number() is not None
    found = [] if device == "cpu" or chosen else _identifiers()
    if count > len(found):
        yield
        return
    with ExitStack() as held:
        told = False
        while not (mine := _take(found, count, held)):
            if not told:
                say(
                    f"GPUs: waiting for {count} of {len(found)} to be free of other jobs "
                    f"({_VISIBLE} chooses without waiting)"
                )
                told = True
            time.sleep(_PAUSE)
        say(f"GPUs: {', '.join(mine)}")
        os.environ[_VISIBLE] = ",".join(mine)
        try:
            yield
        finally:
            del os.environ[_VISIBLE]


def _identifiers() -> list[str]:
    """Identifiers of the GPUs that NVIDIA's driver lists here; none without a driver."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return shown.split()


def _take(found: list[str], count: int, held: ExitStack) -> list[str]:
    """Lock so many of them, or none."""
    folder = Path(tempfile.gettempdir()) / f"cyborgs-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as locks:
            # One job looks at a time: two that want several would each hold what the other lacks.
            turn = locks.enter_context(open(folder / "turn", "w"))
            fcntl.flock(turn, fcntl.LOCK_EX)
            mine = []
            with ExitStack() as trial:
                for identifier in found:
                    lock = trial.enter_context(open(folder / identifier, "w"))
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    mine.append(identifier)
                    if len(mine) == count:
                        held.push(trial.pop_all())
                        return mine
            return []
    except OSError as error:
        raise InputError(
            f"cannot lock GPUs in {folder}: {error.strerror}; make room there, or set {_VISIBLE}"
        ) from None
