"""Taking steps to the end, or until this job must leave: what every training stage does."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from cyborgs.common.files import exclusive
from cyborgs.runtime import distributed
from cyborgs.runtime.hardware import TRAINING, choose_precision, provenance_of
from cyborgs.runtime.launch import process_number
from cyborgs.runtime.settings import Compute
from cyborgs.runtime.signals import note_signals
from cyborgs.runtime.slurm import seconds_left
from cyborgs.training.loop import Training, train
from cyborgs.training.metrics import MetricsLog, Row


def leads() -> bool:
    """Whether this process is the first of its job, or the only one."""
    return process_number() in (None, "0")


@contextmanager
def sole_job(lock: Path, out: Path, device: torch.device) -> Iterator[None]:
    """Join the processes of this job, and wait for as long as another job makes the same file.

    A Snakemake that was killed leaves its jobs alive, and the next one starts them again.  The
    first process waits for the lock, and the others for it.

    Args:
        lock: file that the first process holds.
        out: the file that is made.
        device: of this process.

    Raises:
        InputError: the lock file cannot be made.
        LostPeerError: another process of this job ended.
    """
    with distributed.process_group(device):
        if leads():
            # Keep the other processes informed while this one waits: they give up after ten
            # minutes.
            with exclusive(lock, str(out), lambda: distributed.agree(False, device)):
                distributed.agree(True, device)
                yield
        else:
            while not distributed.agree(False, device):
                pass
            yield


class Recorded(Protocol):
    """A state of training, with what made it."""

    provenance: dict[str, Any]


def shared_precision(
    asked: str, key: str, device: torch.device, continued: Recorded | None
) -> dict[str, str]:
    """Device and precision of a training, for its provenance: the first process's, in all.

    Args:
        asked: what the configuration says.
        key: of the configuration that says it.
        device: of this process.
        continued: the rolling checkpoint that is gone on from, whose precision `auto` keeps.

    Raises:
        InputError: the device has no such precision.
    """
    chosen: dict[str, str] | None = None
    if distributed.rank() == 0:
        kept = None if continued is None else continued.provenance["hardware"]["precision"]
        precision = choose_precision(asked, key, device, among=TRAINING, kept=kept)
        chosen = provenance_of(device, precision)
    found: dict[str, str] = distributed.gather_objects(chosen)[0]
    return found


def run_steps(
    trainer: Training,
    batches: Iterable[Any],
    steps: int,
    *,
    checkpoint: Callable[[], None],
    compute: Compute,
    metrics: Path | None,
    label: str,
    more: bool = False,
) -> list[Row]:
    """Take a step on every batch, save now and then, and leave when asked to or out of time.

    Args:
        trainer: takes the steps.
        batches: one a step.
        steps: how many there are.
        checkpoint: saves the trainer's state; called in the first process alone.
        compute: how often to save, and how long before a time limit to leave.
        metrics: file for the metrics of each epoch, or None.
        label: of the progress.
        more: whether work that takes long follows the last step, which is then saved too.

    Returns:
        The metrics of each epoch (`train`), in the first process: of those that ended before an
        interruption too, where there is a file for them.

    Raises:
        ResumeLaterError: this job must leave, and the state is saved.
    """
    rows: list[Row] = []
    leading = distributed.rank() == 0
    log = MetricsLog(metrics, trainer.step) if metrics and leading else None

    def note(row: Row) -> None:
        rows.append(row)
        if log is not None:
            log.write(row)

    def save() -> None:
        if leading:
            checkpoint()

    # One process asks: the others leave with it.
    left = seconds_left() if leads() else None
    if left is not None:
        left -= min(60 * compute.leave_minutes, left / 2)
    every = 60 * compute.checkpoint_minutes
    with note_signals(left) as stop:
        train(
            trainer,
            batches,
            steps,
            checkpoint=save,
            every=every,
            log=note,
            stop=stop,
            label=label,
            more=more,
        )
    return rows if log is None else log.rows
