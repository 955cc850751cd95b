"""A pretraining round: DetCon-B steps from one state to the next."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cyborgs import distributed
from cyborgs.config import Pretrain
from cyborgs.data.dataset import Batch
from cyborgs.errors import InputError, ResumeLaterError
from cyborgs.models.detcon import DetCon
from cyborgs.models.normalise import normalise
from cyborgs.objectives.detcon import detcon_b_loss
from cyborgs.progress import say, track
from cyborgs.signals import Stop
from cyborgs.training.lars import LARS
from cyborgs.training.metrics import Row
from cyborgs.training.schedule import learning_rate, target_decay
from cyborgs.training.state import TrainingState
from cyborgs.training.watch import NAMES, health


class Trainer:
    """Networks, optimiser and step counter on a device.

    Args:
        state: where to begin.
        settings: the `pretrain` section.
        steps_per_epoch: optimiser steps an epoch.
        device: of this process.

    Attributes:
        step: steps taken so far, over all rounds.
        steps_per_epoch: as given.
        batch_size: images of a step, over all processes.
        pair: the networks.
        optimiser: of the online network.
    """

    def __init__(
        self,
        state: TrainingState,
        settings: Pretrain,
        steps_per_epoch: int,
        device: torch.device,
    ) -> None:
        self.step = state.step
        self._model = state.model
        self._settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = settings.batch_size
        self._device = device
        self._health: list[Tensor] = []
        self.pair = DetCon(
            state.model["architecture"], state.model["hidden"], state.model["projection"]
        )
        self.pair.online.load_state_dict(state.online)
        self.pair.target.load_state_dict(state.target)
        self.pair.to(device).train()
        self.pair.to(memory_format=torch.channels_last)
        self._wrapped = self._distribute()
        self._parameters = dict(self.pair.online.named_parameters())
        self.optimiser = LARS(
            self._parameters.values(),
            lr=0.0,
            momentum=settings.lars.momentum,
            weight_decay=settings.lars.weight_decay,
            trust=settings.lars.trust,
        )
        for name, velocity in state.velocities.items():
            parameter = self._parameters[name]
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(
                velocity
            )

    def _distribute(self) -> nn.Module:
        if distributed.size() == 1:
            return self.pair
        if self._device.type == "cuda":
            self.pair = nn.SyncBatchNorm.convert_sync_batchnorm(self.pair)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(self.pair, forward_sync_buffers=False)

    def rate(self) -> float:
        """Learning rate of the next step."""
        s = self._settings
        return learning_rate(
            self.step,
            base_rate=s.base_rate * s.batch_size / 128,
            steps_per_epoch=self.steps_per_epoch,
            **s.schedule.model_dump(exclude={"kind"}),
        )

    def train_step(self, batch: Batch, leave: bool = False) -> tuple[float, bool]:
        """Take one step.

        Args:
            batch: as `cyborgs.data.dataset.TwoViews` has it, with a leading axis of images.
            leave: whether this process was asked to leave.

        Returns:
            The mean loss over all ranks, and whether any of them was asked to leave: all ranks
            learn it at the same step.

        Raises:
            InputError: a loss that is not finite, before any weight is changed.
        """
        positions = batch["positions"].tolist()
        batch = {k: v.to(self._device, non_blocking=True) for k, v in batch.items()}
        rate = self.rate()
        loss = self._loss(batch)
        told = torch.stack([loss.detach(), loss.new_tensor(float(leave))])
        everywhere = distributed.gather(told)  # (ranks, 2)
        mean = float(everywhere[:, 0].mean())
        if not math.isfinite(mean):
            shown = ", ".join(map(str, positions[:8])) + (" …" if len(positions) > 8 else "")
            raise InputError(
                f"loss is {mean} at step {self.step}, learning rate {rate:.3g}, images {shown} of "
                "the index: training has diverged; lower pretrain.base_rate or lengthen the warm-up"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.pair.update_target(
            target_decay(
                self.step,
                decay=self._settings.ema.decay,
                steps_per_epoch=self.steps_per_epoch,
                horizon_epochs=self._settings.ema.horizon_epochs,
            )
        )
        self.step += 1
        return mean, bool(everywhere[:, 1].any())

    def _loss(self, batch: Batch) -> Tensor:
        s = self._settings
        views = [normalise(batch["images"][:, v]) for v in range(2)]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=s.precision == "bfloat16"):
            vectors = self._wrapped(views, batch["cells"], batch["ids"])
        self._health.append(health(vectors[2:], batch["ids"], batch["cells"]))
        pred1, pred2, target1, target2 = (v.view(len(batch["ids"]), s.masks, -1) for v in vectors)
        ids = batch["ids"]  # (batch, view, network, mask)
        return detcon_b_loss(
            pred1,
            pred2,
            target1,
            target2,
            pred_ids1=ids[:, 0, 0],
            pred_ids2=ids[:, 1, 0],
            target_ids1=ids[:, 0, 1],
            target_ids2=ids[:, 1, 1],
            temperature=s.temperature,
            local_negatives=s.local_negatives,
        )

    def health(self) -> Row:
        """Figures of the steps since this was last asked.

        Means of `cyborgs.training.watch.health`, and on a GPU ``gpu_memory``, the most that was
        allocated, in bytes.
        """
        means = torch.stack(self._health).mean(dim=0).tolist()
        self._health.clear()
        figures = dict(zip(NAMES, means, strict=True))
        if self._device.type == "cuda":
            figures["gpu_memory"] = float(torch.cuda.max_memory_allocated(self._device))
            torch.cuda.reset_peak_memory_stats(self._device)
        return figures

    def state(self, number: int, provenance: dict[str, Any]) -> TrainingState:
        """The state after the steps taken so far, as one of round ``number``."""
        return TrainingState(
            model=self._model,
            round=number,
            step=self.step,
            online=self.pair.online.state_dict(),
            target=self.pair.target.state_dict(),
            velocities={
                name: self.optimiser.state[parameter]["momentum_buffer"]
                for name, parameter in self._parameters.items()
                if "momentum_buffer" in self.optimiser.state[parameter]
            },
            provenance=provenance,
        )


def train(
    trainer: Trainer,
    batches: Iterable[Batch],
    steps: int,
    checkpoint: Callable[[], None],
    every: float,
    log: Callable[[Row], None],
    stop: Stop,
) -> None:
    """Take a step on every batch; save about every ``every`` seconds and at each epoch's end.

    Args:
        trainer: takes the steps.
        batches: one a step.
        steps: how many there are.
        checkpoint: saves the trainer's state.
        every: seconds between two checkpoints.
        log: called at the end of an epoch, by the first process alone, with ``epoch`` and
            ``step`` (counted over all rounds), ``steps`` (of this epoch, in this process),
            ``loss`` (their mean), ``learning_rate``, ``seconds``, ``images_per_second``,
            ``waiting`` (the share of the time that was spent waiting for samples), and the
            figures of `cyborgs.training.watch.health` over this process's steps.
        stop: asks to leave after the step under way.

    Raises:
        ResumeLaterError: a process was asked to leave, and the state is saved.
    """
    last = trainer.step + steps
    saved = begin = time.monotonic()
    waited = 0.0
    losses: list[float] = []
    label = "pretrain" if distributed.rank() == 0 else None
    waiting = Waiting(batches)
    for batch in track(waiting, steps, label, "steps"):
        loss, leave = trainer.train_step(batch, stop.asked is not None)
        losses.append(loss)
        epoch, within = divmod(trainer.step, trainer.steps_per_epoch)
        now = time.monotonic()
        figures = trainer.health() if within == 0 else {}
        if within == 0 and label:
            row = {
                "epoch": epoch,
                "step": trainer.step,
                "steps": len(losses),
                "loss": sum(losses) / len(losses),
                "learning_rate": trainer.rate(),
                "seconds": round(now - begin, 3),
                "images_per_second": round(len(losses) * trainer.batch_size / (now - begin), 2),
                "waiting": round((waiting.seconds - waited) / (now - begin), 3),
                **figures,
            }
            log(row)
            say(
                f"epoch {epoch}: loss {row['loss']:.4f}, learning rate {trainer.rate():.3g}, "
                f"{row['images_per_second']:.1f} images/s, {row['waiting']:.0%} waiting for data"
            )
            losses.clear()
            begin, waited = now, waiting.seconds
        if trainer.step == last:
            continue
        if leave or within == 0 or now - saved >= every:
            checkpoint()
            saved = time.monotonic()
        if leave:
            raise ResumeLaterError(
                f"left after step {trainer.step} ({stop.asked or 'another process was asked to'}), "
                "all saved; the same command continues"
            )


class Waiting:
    """Passes batches on, and counts the seconds that they were waited for."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self._batches)
        while True:
            begin = time.monotonic()
            batch = next(batches, None)
            self.seconds += time.monotonic() - begin
            if batch is None:
                return
            yield batch
