"""The loop that takes training steps: saves, leaves, and tells what it sees."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from cyborgs.common.errors import InputError, LoaderError, ResumeLaterError
from cyborgs.common.progress import say, track
from cyborgs.runtime import distributed
from cyborgs.runtime.signals import Stop
from cyborgs.training.metrics import Row


class Training(Protocol):
    """What `train` needs of who takes the steps.

    Attributes:
        step: steps taken so far.
        steps_per_epoch: optimiser steps an epoch.
        batch_size: images of a step, over all processes.
        device: of this process.
    """

    step: int
    steps_per_epoch: int
    batch_size: int
    device: torch.device

    def train_step(self, batch: Any, leave: bool = False) -> "Outcome":
        """Take one step; whether this process was asked to leave goes to the others with it."""

    def rate(self) -> float:
        """Learning rate of the next step."""

    def health(self) -> Row:
        """Metrics of the steps since this was last asked."""


@dataclass(frozen=True)
class Outcome:
    """What a step came to.  On a GPU it is on its way while the next step is prepared.

    Attributes:
        told: float32 ``(ranks, 2)`` on the CPU: each rank's loss, and whether it must leave.
        arrived: when ``told`` has its values; None where it has them.
        step, rate, images: the step, its learning rate, and its images in this rank.
        remedy: what to do where training diverges.
    """

    told: Tensor
    arrived: torch.cuda.Event | None
    step: int
    rate: float
    images: str
    remedy: str

    @classmethod
    def of(
        cls, loss: Tensor, leave: bool, *, step: int, rate: float, images: str, remedy: str
    ) -> Self:
        """Share this rank's loss, a scalar without gradient, with the others; waits for nothing."""
        told = distributed.gather(torch.stack([loss, torch.full_like(loss, float(leave))]))
        arrived = None
        if told.is_cuda:
            told = torch.empty_like(told, device="cpu", pin_memory=True).copy_(
                told, non_blocking=True
            )
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        return cls(told, arrived, step, rate, images, remedy)

    def read(self) -> tuple[float, bool]:
        """The mean loss over all ranks, and whether any was asked to leave: waits for the device.

        Raises `InputError` where the loss is not finite.
        """
        if self.arrived is not None:
            self.arrived.synchronize()
        mean = float(self.told[:, 0].mean())
        if not math.isfinite(mean):
            raise InputError(
                f"loss is {mean} at step {self.step}, learning rate {self.rate:.3g}, images "
                f"{self.images}: training has diverged; {self.remedy}"
            )
        return mean, bool(self.told[:, 1].any())


def enumerate_first(values: Sequence[object]) -> str:
    """The first of some values, for a message."""
    return ", ".join(map(str, values[:8])) + (" …" if len(values) > 8 else "")


def train(
    trainer: Training,
    batches: Iterable[Any],
    steps: int,
    *,
    checkpoint: Callable[[], None],
    every: float,
    log: Callable[[Row], None],
    stop: Stop,
    label: str = "pretrain",
    more: bool = False,
) -> None:
    """Take a step on every batch; save about every ``every`` seconds and at each epoch's end.

    After the last step it neither saves nor leaves, unless there is ``more`` to do.  A GPU computes
    a step while the next one is prepared: what a step came to is read after the next one began, or
    before anything is saved, so that no state is saved after a loss that is not finite.

    Args:
        trainer: takes the steps.
        batches: one a step.
        steps: how many there are.
        checkpoint: saves the trainer's state.
        every: seconds between two checkpoints.
        log: called at the end of an epoch, by the first process alone, with ``epoch`` and
            ``step`` (counted over all rounds), ``steps`` (of this epoch, in this process),
            ``loss`` (their mean), ``learning_rate``, ``seconds``, ``images_per_second``,
            ``waiting`` (the share of the time that was spent waiting for samples), and those of
            the trainer's ``health`` over this process's steps.
        stop: asks to leave after the step under way.
        label: of the progress.
        more: whether work that takes long follows the last step.

    Raises:
        InputError: a loss that is not finite, or samples that cannot be loaded.
        ResumeLaterError: a process was asked to leave, and the state is saved.
    """
    last = trainer.step + steps
    saved = begin = time.monotonic()
    waited = 0.0
    losses: list[float] = []
    under_way: deque[Outcome] = deque()
    behind = 1 if trainer.device.type == "cuda" else 0
    asked_in = math.inf  # the first step in which a process was asked to leave

    def catch_up(behind: int) -> None:
        """Read what all but the last steps came to."""
        nonlocal asked_in
        while len(under_way) > behind:
            outcome = under_way.popleft()
            loss, asked = outcome.read()
            losses.append(loss)
            if asked:
                asked_in = min(asked_in, outcome.step)

    def saved_on_failure() -> Iterator[Any]:
        try:
            yield from batches
        except LoaderError:
            catch_up(0)
            checkpoint()
            raise

    leading = distributed.rank() == 0
    waiting = Waiting(saved_on_failure(), stop)
    ended: dict[str, float] = {}

    def so_far() -> dict[str, float]:
        """Of the epoch under way, or of the one before until a step of this one is read."""
        if not losses:
            return ended
        seconds = time.monotonic() - begin
        return {
            "epoch": trainer.step // trainer.steps_per_epoch + 1,
            "loss": sum(losses) / len(losses),
            "images_per_second": len(losses) * trainer.batch_size / seconds,
            "waiting": (waiting.seconds - waited) / seconds,
        }

    for batch in track(waiting, steps, label if leading else None, "steps", metrics=so_far):
        under_way.append(trainer.train_step(batch, stop.asked is not None))
        catch_up(behind)
        epoch, within = divmod(trainer.step, trainer.steps_per_epoch)
        # All processes agree on this step, unlike on the time.
        together = within == 0 or trainer.step == last
        save = together or time.monotonic() - saved >= every
        if save:
            catch_up(0)
        # Leave only once every process must have learnt of the request: one that is saving may know
        # earlier than the others.
        leave = asked_in + (0 if together else behind) < trainer.step
        if leave:
            catch_up(0)
        now = time.monotonic()
        health = trainer.health() if within == 0 else {}
        if within == 0 and leading:
            row = {
                "epoch": epoch,
                "step": trainer.step,
                "steps": len(losses),
                "loss": sum(losses) / len(losses),
                "learning_rate": trainer.rate(),
                "seconds": round(now - begin, 3),
                "images_per_second": round(len(losses) * trainer.batch_size / (now - begin), 2),
                "waiting": round((waiting.seconds - waited) / (now - begin), 3),
                **health,
            }
            log(row)
            ended = {k: row[k] for k in ("epoch", "loss", "images_per_second", "waiting")}
            say(
                f"epoch {epoch}: loss {row['loss']:.4f}, learning rate {trainer.rate():.3g}, "
                f"{row['images_per_second']:.1f} images/s, {row['waiting']:.0%} waiting for data"
            )
            losses.clear()
            begin, waited = now, waiting.seconds
        if trainer.step == last and not more:
            continue
        if save or leave:
            checkpoint()
            saved = time.monotonic()
        if leave:
            # The launcher ends the other processes as soon as one has left, so wait until all have
            # saved.
            distributed.gather_objects(None)
            raise ResumeLaterError(
                f"left after step {trainer.step} ({stop.asked or 'another process was asked to'}), "
                "all saved; the same command continues"
            )
    if trainer.step < last:
        # The other processes are waiting in a collective, so nothing can be agreed with them.
        catch_up(0)
        checkpoint()
        raise ResumeLaterError(
            f"left after step {trainer.step} ({stop.asked}, while waiting for a batch), all "
            "saved; the same command continues"
        )


# Seconds without a batch before a message says so.
_PATIENCE = 60


class Waiting:
    """Passes batches on, and counts the seconds that they were waited for.

    Ends early where none comes and the job is asked to leave; in the first process, which saves.

    Args:
        batches: and None whenever none has come for some seconds.
        stop: whether the job was asked to leave.
    """

    def __init__(self, batches: Iterable[Any], stop: Stop) -> None:
        self._batches = batches
        self._stop = stop
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Any]:
        begin = since = time.monotonic()
        for batch in self._batches:
            now = time.monotonic()
            self.seconds += now - begin
            if batch is not None:
                yield batch
                since = time.monotonic()
            elif self._stop.asked is not None and distributed.rank() == 0:
                return
            elif now - since >= _PATIENCE:
                say(f"no batch for {_PATIENCE} s: is the disk or the network failing?")
                since = now
            begin = time.monotonic()
