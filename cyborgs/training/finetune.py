"""Training a network on labels: what evaluations do to a backbone, or to a layer behind it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cyborgs.common.seeding import derive
from cyborgs.runtime import distributed
from cyborgs.runtime.hardware import memory_named, set_float32
from cyborgs.training.containers import read_container, write_container
from cyborgs.training.loop import Outcome, enumerate_first
from cyborgs.training.metrics import Row
from cyborgs.training.stepper import Stepper, synchronised

FORMAT = "cyborgs-finetuning"
VERSION = 1


@dataclass
class FinetuningState:
    """What an interrupted training continues from.

    Attributes:
        step: optimiser steps taken.
        scaler: state of the loss scaling that float16 needs; empty for other precisions.
        provenance: what made it.
        weights: state dict of the network.
        momentum_buffers: momentum of each trained parameter by name; empty before the first step.
    """

    step: int
    scaler: dict[str, Any]
    provenance: dict[str, Any]
    weights: dict[str, Tensor]
    momentum_buffers: dict[str, Tensor]


def save_finetuning(path: Path, state: FinetuningState) -> None:
    """Write a state, as `write_container` does."""
    header = {name: getattr(state, name) for name in ("step", "scaler", "provenance")}
    tensors = {"weights": state.weights, "velocities": state.momentum_buffers}
    write_container(path, FORMAT, VERSION, header=header, tensors=tensors)


def load_finetuning(path: Path) -> FinetuningState:
    """Read a state, as `read_container` does."""
    header, tensors = read_container(path, FORMAT, VERSION)
    return FinetuningState(
        **header, weights=tensors["weights"], momentum_buffers=tensors["velocities"]
    )


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        batch_size: images of a step, over all processes.
        rate: learning rate at a step.
        momentum: of SGD.
        precision: "float32", "tf32", "bfloat16" or "float16".
        remedy: what to do where training diverges.
        memory: what to do where a GPU's memory is full.
    """

    batch_size: int
    rate: Callable[[int], float]
    momentum: float
    precision: str
    remedy: str
    memory: str


class Finetuner:
    """A network, SGD and a step counter on a device.

    All random numbers of a step depend on the seed, the step and the process alone, so that a
    training that was interrupted takes the steps of one that was not (on GPUs up to rounding: some
    of their sums have no fixed order).

    Args:
        network: gives losses by name for a batch, to be added up.  A batch is a list of examples,
            dicts of arrays or tensors and ``name`` (the image's), or one dict of them all.
        groups: its parameters, as SGD takes them.
        recipe: how.
        steps_per_epoch: optimiser steps an epoch.
        seed: of what is drawn while training.
        device: of this process.
        state: where to continue, or None.

    Attributes:
        step: steps taken so far.
        steps_per_epoch: as given.
        batch_size: of the recipe.
        device: as given.
        network: as given, with BatchNorm synchronised over GPUs.
    """

    def __init__(
        self,
        network: nn.Module,
        groups: Callable[[nn.Module], list[dict[str, Any]]],
        recipe: Recipe,
        *,
        steps_per_epoch: int,
        seed: int,
        device: torch.device,
        state: FinetuningState | None,
    ) -> None:
        self.step = 0 if state is None else state.step
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = recipe.batch_size
        self._recipe = recipe
        self._seed = seed
        self.device = device
        self._losses: list[dict[str, Tensor]] = []
        set_float32(recipe.precision)
        if state is not None:
            network.load_state_dict(state.weights)
        network.to(device).to(memory_format=torch.channels_last)
        self.network = synchronised(network, device).train()
        self._stepper = Stepper(
            self.network,
            torch.optim.SGD(groups(self.network), lr=0.0, momentum=recipe.momentum),
            precision=recipe.precision,
            device=device,
            momentum={} if state is None else state.momentum_buffers,
            scaler={} if state is None else state.scaler,
        )

    def rate(self) -> float:
        """Learning rate of the next step."""
        return self._recipe.rate(self.step)

    def train_step(self, batch: Any, leave: bool = False) -> Outcome:
        """Take one step; a GPU may still be at it when this returns.

        Args:
            batch: examples of this process.
            leave: whether this process was asked to leave.

        Raises:
            InputError: the GPU's memory is full.
        """
        names = batch["name"] if isinstance(batch, dict) else [e["name"] for e in batch]
        with memory_named(
            f"{len(names)} of {self.batch_size} images in this process, in "
            f"{self._recipe.precision}",
            self._recipe.memory,
        ):
            return self._take_step(batch, leave, enumerate_first(names))

    def _take_step(self, batch: Any, leave: bool, images: str) -> Outcome:
        torch.manual_seed(derive(self._seed, "step", self.step, distributed.rank()))
        rate = self.rate()
        self._stepper.optimiser.zero_grad(set_to_none=True)
        with self._stepper.autocast():
            losses: dict[str, Tensor] = self._stepper.network(moved(batch, self.device))
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        self._stepper.backward(total)
        outcome = Outcome.of(
            total.detach(),
            leave,
            step=self.step,
            rate=rate,
            images=images,
            remedy=self._recipe.remedy,
        )
        self._stepper.step(rate)
        self._losses.append({name: loss.detach().float() for name, loss in losses.items()})
        self.step += 1
        return outcome

    @torch.no_grad()
    def measure_batchnorm(self, batches: Iterable[Any]) -> None:
        """Replace the running statistics of BatchNorm by means over batches, of all processes.

        What the weights of the last step give, without those of earlier ones (Wu and Johnson,
        2021, section 3; Detectron2's `PRECISE_BN`).

        Args:
            batches: as `train_step` takes them.
        """
        norms = self._norms()
        for norm in norms:
            norm.reset_running_stats()
            # Statistics are a plain mean from here on.
            norm.momentum = None
        self.network.train()
        for number, batch in enumerate(batches):
            torch.manual_seed(derive(self._seed, "batchnorm", number, distributed.rank()))
            with self._stepper.autocast():
                self.network(moved(batch, self.device))
        for statistic in self._statistics():
            statistic.copy_(distributed.gather(statistic).mean(0))

    @torch.no_grad()
    def share_batchnorm(self) -> None:
        """Give the running statistics of the first process, which a checkpoint has, to all."""
        for statistic in self._statistics():
            statistic.copy_(distributed.gather(statistic)[0])

    def _norms(self) -> list[nn.modules.batchnorm._BatchNorm]:
        modules = self.network.modules()
        return [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    def _statistics(self) -> list[Tensor]:
        found = [s for norm in self._norms() for s in (norm.running_mean, norm.running_var)]
        return [statistic for statistic in found if statistic is not None]

    def health(self) -> Row:
        """Mean of each loss over this process's steps since this was last asked."""
        names = self._losses[0]
        means = {n: float(torch.stack([row[n] for row in self._losses]).mean()) for n in names}
        self._losses.clear()
        return means

    def state(self, provenance: dict[str, Any]) -> FinetuningState:
        """The state after the steps taken so far."""
        return FinetuningState(
            step=self.step,
            scaler=self._stepper.scaler(),
            provenance=provenance,
            weights=self.network.state_dict(),
            momentum_buffers=self._stepper.momentum(),
        )


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with its arrays and tensors as tensors on a device, and all else as it is."""
    if isinstance(batch, dict):
        return {name: moved(value, device) for name, value in batch.items()}
    if isinstance(batch, list):
        return [moved(value, device) for value in batch]
    if isinstance(batch, np.ndarray):
        batch = torch.from_numpy(batch)
    return batch.to(device, non_blocking=True) if isinstance(batch, Tensor) else batch
