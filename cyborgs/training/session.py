"""Taking steps to the end, or until this job must leave: what every training stage does."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from cyborgs import distributed
from cyborgs.config import Compute
from cyborgs.launch import process_number
from cyborgs.signals import note_signals
from cyborgs.slurm import seconds_left
from cyborgs.training.loop import Training, train
from cyborgs.training.metrics import MetricsLog, Row


def leads() -> bool:
    """Whether this process is the first of its job, or the only one."""
    return process_number() in (None, "0")


def run_steps(
    trainer: Training,
    batches: Iterable[Any],
    steps: int,
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
        metrics: file for the figures of each epoch, or None.
        label: of the progress.
        more: whether work that takes long follows the last step, which is then saved too.

    Returns:
        The figures of each epoch that ended (`train`), in the first process.

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
        train(trainer, batches, steps, save, every, note, stop, label, more)
    return rows
