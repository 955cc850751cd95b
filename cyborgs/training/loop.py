"""Training: DetCon-B steps from one state to the next, and the loop that takes steps."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Optimizer

from cyborgs import distributed
from cyborgs.config import Pretrain
from cyborgs.data.dataset import Batch
from cyborgs.errors import InputError, LoaderError, ResumeLaterError
from cyborgs.hardware import autocast, memory_named, set_float32
from cyborgs.models.detcon import DetCon
from cyborgs.models.normalise import normalise
from cyborgs.objectives.detcon import candidates, view_loss
from cyborgs.objectives.vmf import Clusters, cluster_locations, vmf_loss
from cyborgs.progress import say, track
from cyborgs.seeding import derive, generator
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
        settings: the `pretrain` section, with the precision that was chosen.
        steps_per_epoch: optimiser steps an epoch.
        device: of this process.
        compiled: whether the backbones go through `torch.compile`.
        seed: of the run; with the step, it decides what the vMF term draws.

    Attributes:
        step: steps taken so far, over all rounds.
        steps_per_epoch: as given.
        batch_size: images of a step, over all processes.
        device: of this process.
        pair: the networks.
        optimiser: of the online network.
    """

    def __init__(
        self,
        state: TrainingState,
        settings: Pretrain,
        steps_per_epoch: int,
        device: torch.device,
        compiled: bool = False,
        *,
        seed: int,
    ) -> None:
        self.step = state.step
        self._model = state.model
        self._settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = settings.batch_size
        self.device = device
        self._seed = seed
        self._health: list[Tensor] = []
        self._vmf: list[Tensor] = []
        self.pair = DetCon(
            state.model["architecture"], state.model["hidden"], state.model["projection"]
        )
        self.pair.online.load_state_dict(state.online)
        self.pair.target.load_state_dict(state.target)
        self.pair.to(device).train()
        self.pair.to(memory_format=torch.channels_last)
        set_float32(settings.precision)
        if compiled:
            for network in (self.pair.online, self.pair.target):
                network.backbone.compile()
        self._online = self._distribute()
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        if state.scaler:
            self._scaler.load_state_dict(state.scaler)
        self._parameters = dict(self.pair.online.named_parameters())
        self.optimiser = _optimiser(self._parameters.values(), settings)
        for name, velocity in state.velocities.items():
            parameter = self._parameters[name]
            self.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(
                velocity
            )

    def _distribute(self) -> nn.Module:
        """The online network, as what trains it."""
        if distributed.size() == 1:
            return self.pair.online
        if self.device.type == "cuda":
            self.pair = nn.SyncBatchNorm.convert_sync_batchnorm(self.pair)  # type: ignore[no-untyped-call]
        return DistributedDataParallel(
            self.pair.online, forward_sync_buffers=False, gradient_as_bucket_view=True
        )

    def _exchange(self, now: bool) -> AbstractContextManager[None]:
        """Around a backward pass: ranks exchange gradients now, or let them add up till later."""
        if now or not isinstance(self._online, DistributedDataParallel):
            return nullcontext()
        return self._online.no_sync()

    def rate(self) -> float:
        """Learning rate of the next step."""
        s = self._settings
        return learning_rate(
            self.step,
            base_rate=s.base_rate * s.batch_size / 128,
            steps_per_epoch=self.steps_per_epoch,
            **s.schedule.model_dump(exclude={"kind"}),
        )

    def train_step(self, batch: Batch, leave: bool = False) -> "Outcome":
        """Take one step; a GPU may still be at it when this returns.

        Args:
            batch: as `cyborgs.data.dataset.TwoViews` has it, with a leading axis of images.
            leave: whether this process was asked to leave.

        Raises:
            InputError: the GPU's memory is full.
        """
        s = self._settings
        images = f"{enumerate_first(batch['positions'].tolist())} of the index"
        with memory_named(
            f"pretrain.batch_size: {len(batch['positions'])} of {s.batch_size} images in this "
            f"process, in {s.precision}",
            "lower pretrain.batch_size or views.crop, or share the batch among more GPUs "
            "(compute.processes)",
        ):
            return self._take_step(batch, leave, images)

    def _take_step(self, batch: Batch, leave: bool, images: str) -> "Outcome":
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        rate = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        remedy = "lower pretrain.base_rate or lengthen the warm-up"
        outcome = Outcome.of(loss, leave, self.step, rate, images, remedy)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self._scaler.step(self.optimiser)
        self._scaler.update()
        self.pair.update_target(
            target_decay(
                self.step,
                decay=self._settings.ema.decay,
                steps_per_epoch=self.steps_per_epoch,
                horizon_epochs=self._settings.ema.horizon_epochs,
            )
        )
        self.step += 1
        return outcome

    def _backward(self, batch: Batch) -> Tensor:
        """Leave the gradients of a step in the online network; returns this rank's loss."""
        s = self._settings
        cells, ids = batch["cells"], batch["ids"]  # ids: (batch, view, network, mask)
        views = [normalise(batch["images"][:, v]) for v in range(2)]
        with self._autocast(), torch.no_grad():
            encoded = [self.pair.target(views[v], cells[:, v], ids[:, v, 1]) for v in range(2)]
        targets = [projections for projections, _ in encoded]
        self._health.append(health((targets[0], targets[1]), ids, cells))
        clusters = self._cluster([features for _, features in encoded])
        del encoded  # The features are large, and no longer needed.
        offered = [candidates(t.view(len(ids), s.masks, -1)) for t in targets]
        total = torch.zeros((), device=self.device)
        terms: list[Tensor] = []
        for own, other in ((0, 1), (1, 0)):
            with self._exchange(now=own == 1):
                with self._autocast():
                    pred, features = self._online(views[own], cells[:, own], ids[:, own, 0])
                term = None
                if clusters is not None:
                    labels = clusters.labels[own]
                    term = vmf_loss(features, clusters.centroids, labels, s.vmf.temperature)
                del features
                loss = view_loss(
                    pred.view(len(ids), s.masks, -1),
                    across=offered[other],
                    within=offered[own],
                    ids=ids[:, own, 0],
                    ids_across=ids[:, other, 1],
                    ids_within=ids[:, own, 1],
                    temperature=s.temperature,
                    local_negatives=s.local_negatives,
                )
                if term is not None:
                    # Of the mean over both views, this one's half.
                    loss = loss + s.vmf.weight * term / 2
                    terms.append(term.detach())
                # Before the other view begins: its activations take the place of this one's.
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if terms:
            self._vmf.append(torch.stack(terms).mean())
        return total

    def _cluster(self, features: Sequence[Tensor]) -> Clusters | None:
        """Clusters of the target network's features, in the epochs of the vMF term."""
        s = self._settings.vmf
        epoch = self.step // self.steps_per_epoch + 1
        if s.weight == 0 or epoch % s.every:
            return None
        low, high = s.clusters
        return cluster_locations(
            features,
            int(generator(self._seed, "vmf clusters", self.step).integers(low, high + 1)),
            seed=derive(self._seed, "vmf k-means", self.step),
            iterations=s.iterations,
        )

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self._settings.precision)

    def health(self) -> Row:
        """Figures of the steps since this was last asked.

        Means of `cyborgs.training.watch.health`, and as ``vmf`` that of the vMF term, without its
        weight, over the steps that had it; in float16 ``loss_scale``; on a GPU
        ``gpu_memory``, the most that was allocated, in bytes.
        """
        means = torch.stack(self._health).mean(dim=0).tolist()
        self._health.clear()
        figures = dict(zip(NAMES, means, strict=True))
        if self._vmf:
            figures["vmf"] = float(torch.stack(self._vmf).mean())
            self._vmf.clear()
        if self._scaler.is_enabled():
            figures["loss_scale"] = self._scaler.get_scale()
        if self.device.type == "cuda":
            figures["gpu_memory"] = float(torch.cuda.max_memory_allocated(self.device))
            torch.cuda.reset_peak_memory_stats(self.device)
        return figures

    def state(self, number: int, provenance: dict[str, Any]) -> TrainingState:
        """The state after the steps taken so far, as one of round ``number``."""
        return TrainingState(
            model=self._model,
            round=number,
            step=self.step,
            online=self.pair.online.state_dict(),
            target=self.pair.target.state_dict(),
            # With the parameters' strides, as after reading: SGD begins with those of gradients.
            velocities={
                name: torch.empty_like(parameter, device="cpu").copy_(
                    self.optimiser.state[parameter]["momentum_buffer"]
                )
                for name, parameter in self._parameters.items()
                if "momentum_buffer" in self.optimiser.state[parameter]
            },
            scaler=self._scaler.state_dict(),
            provenance=provenance,
        )


def _optimiser(parameters: Iterable[nn.Parameter], settings: Pretrain) -> Optimizer:
    """LARS or SGD; each step sets its learning rate.  Both keep a `momentum_buffer` a parameter."""
    if settings.sgd is not None:
        return SGD(parameters, lr=0.0, **settings.sgd.model_dump())
    return LARS(parameters, lr=0.0, **settings.lars.model_dump())


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
        """Figures of the steps since this was last asked."""


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
        cls, loss: Tensor, leave: bool, step: int, rate: float, images: str, remedy: str
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
    for batch in track(waiting, steps, label if leading else None, "steps"):
        under_way.append(trainer.train_step(batch, stop.asked is not None))
        catch_up(behind)
        epoch, within = divmod(trainer.step, trainer.steps_per_epoch)
        # Every process is here at the same step, whatever its clock says.
        together = within == 0 or trainer.step == last
        save = together or time.monotonic() - saved >= every
        if save:
            catch_up(0)
        # Not before all processes must know of it: one that saves now knows more than the others.
        leave = asked_in + (0 if together else behind) < trainer.step
        if leave:
            catch_up(0)
        now = time.monotonic()
        figures = trainer.health() if within == 0 else {}
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
                **figures,
            }
            log(row)
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
            # Whoever started them ends the others as soon as one has left.
            distributed.gather_objects(None)
            raise ResumeLaterError(
                f"left after step {trainer.step} ({stop.asked or 'another process was asked to'}), "
                "all saved; the same command continues"
            )
    if trainer.step < last:
        # Other processes wait for this one: no agreeing with them.
        catch_up(0)
        checkpoint()
        raise ResumeLaterError(
            f"left after step {trainer.step} ({stop.asked}, while no batch came), all saved; the "
            "same command continues"
        )


# Seconds without a batch after which that is told.
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
                say(f"no batch for {_PATIENCE} s: are disk and network well?")
                since = now
            begin = time.monotonic()
