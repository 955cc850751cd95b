"""Steps of pretraining: an online network, its moving average, and an objective over masks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from cyborgs.models.pair import Online, Pair
from cyborgs.objectives.vmf import VmfTerm
from cyborgs.pretraining.samples import Batch
from cyborgs.pretraining.settings import Pretrain
from cyborgs.pretraining.state import TrainingState
from cyborgs.pretraining.watch import NAMES, health
from cyborgs.runtime.hardware import memory_named, set_float32
from cyborgs.training.lars import LARS
from cyborgs.training.loop import Outcome, enumerate_first
from cyborgs.training.metrics import Row
from cyborgs.training.schedule import learning_rate, target_decay
from cyborgs.training.settings import AdamW
from cyborgs.training.stepper import Stepper, synchronised


class Trainer:
    """Networks, optimiser and step counter on a device.

    Args:
        state: where to begin.
        settings: the `pretrain` section, with the precision that was chosen.
        steps_per_epoch: optimiser steps an epoch.
        device: of this process.
        compiled: whether the backbones go through `torch.compile`.
        seed: of the run; with the step, it decides what is drawn.

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
        *,
        steps_per_epoch: int,
        device: torch.device,
        compiled: bool = False,
        seed: int,
    ) -> None:
        self.step = state.step
        self._model = state.model
        self._settings = settings
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = settings.batch_size
        self.device = device
        self._health: list[Tensor] = []
        self._term = VmfTerm(settings.vmf, steps_per_epoch, seed)
        pair = Pair(**state.model)
        self._normalise = pair.online.backbone.normalise
        pair.online.load_state_dict(state.online)
        pair.target.load_state_dict(state.target)
        pair.to(device).train()
        pair.to(memory_format=torch.channels_last)
        set_float32(settings.precision)
        if compiled:
            for network in (pair.online, pair.target):
                network.backbone.compile()
        self.pair = synchronised(pair, device)
        self.optimiser = _optimiser(self.pair.online, settings)
        self._stepper = Stepper(
            self.pair.online,
            self.optimiser,
            precision=settings.precision,
            device=device,
            momentum=state.momentum_buffers,
            scaler=state.scaler,
        )

    def rate(self) -> float:
        """Learning rate of the next step."""
        s = self._settings
        return learning_rate(
            self.step,
            base_learning_rate=s.base_learning_rate * s.batch_size / 128,
            steps_per_epoch=self.steps_per_epoch,
            **s.schedule.model_dump(exclude={"kind"}),
        )

    def train_step(self, batch: Batch, leave: bool = False) -> Outcome:
        """Take one step; a GPU may still be at it when this returns.

        Args:
            batch: as `cyborgs.pretraining.samples.TwoViews` has it, with a leading axis of images.
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

    def _take_step(self, batch: Batch, leave: bool, images: str) -> Outcome:
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        rate = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        remedy = "lower pretrain.base_learning_rate or lengthen the warm-up"
        outcome = Outcome.of(loss, leave, step=self.step, rate=rate, images=images, remedy=remedy)
        self._stepper.step(rate)
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
        s, objective = self._settings, self._settings.objective
        cells, ids = batch["cells"], batch["ids"]  # ids: (batch, view, network, mask)
        views = [self._normalise(batch["images"][:, v]) for v in range(2)]
        with self._stepper.autocast(), torch.no_grad():
            encoded = [self.pair.target(views[v], cells[:, v], ids[:, v, 1]) for v in range(2)]
        targets = [projections for projections, _ in encoded]
        self._health.append(health((targets[0], targets[1]), ids, cells))
        self._term.begin(self.step, [features for _, features in encoded])
        del encoded  # The features are large, and no longer needed.
        offered = [objective.offer(t.view(len(ids), s.masks, -1)) for t in targets]
        total = torch.zeros((), device=self.device)
        for view in range(2):
            with self._stepper.exchange(now=view == 1):
                with self._stepper.autocast():
                    pred, features = self._stepper.network(
                        views[view], cells[:, view], ids[:, view, 0]
                    )
                more = self._term.loss(view, features)
                del features
                loss = objective.view_loss(view, pred.view(len(ids), s.masks, -1), offered, ids)
                if more is not None:
                    loss = loss + more
                # Before the other view begins: its activations take the place of this one's.
                self._stepper.backward(loss)
            total += loss.detach()
        return total

    def health(self) -> Row:
        """Metrics of the steps since this was last asked.

        Means of `cyborgs.pretraining.watch.health`, and those of the vMF term; in float16
        ``loss_scale``; on a GPU ``gpu_memory``, the most that was allocated, in bytes.
        """
        means = torch.stack(self._health).mean(dim=0).tolist()
        self._health.clear()
        metrics = dict(zip(NAMES, means, strict=True)) | self._term.metrics()
        if self._stepper.loss_scale is not None:
            metrics["loss_scale"] = self._stepper.loss_scale
        if self.device.type == "cuda":
            metrics["gpu_memory"] = float(torch.cuda.max_memory_allocated(self.device))
            torch.cuda.reset_peak_memory_stats(self.device)
        return metrics

    def state(self, number: int, provenance: dict[str, Any]) -> TrainingState:
        """The state after the steps taken so far, as one of round ``number``."""
        return TrainingState(
            model=self._model,
            round=number,
            step=self.step,
            online=self.pair.online.state_dict(),
            target=self.pair.target.state_dict(),
            momentum_buffers=self._stepper.momentum(),
            scaler=self._stepper.scaler(),
            provenance=provenance,
        )


def _optimiser(online: Online, settings: Pretrain) -> Optimizer:
    """LARS, SGD or AdamW; each step sets its learning rate."""
    trained = [p for p in online.parameters() if p.requires_grad]
    if settings.adamw is not None:
        groups = _groups(online, settings.adamw)
        low, high = settings.adamw.betas
        return torch.optim.AdamW(groups, lr=0.0, betas=(low, high))
    if settings.sgd is not None:
        return SGD(trained, lr=0.0, **settings.sgd.model_dump())
    return LARS(trained, lr=0.0, **settings.lars.model_dump())


def _groups(online: Online, settings: AdamW) -> list[dict[str, Any]]:
    """Parameters of the same weight decay and the same share of the learning rate."""
    backbone = online.backbone
    prefix = "backbone."
    depths = {prefix + name: depth for name, depth in backbone.depths().items()}
    plain = {prefix + name for name in backbone.without_decay()}
    heads = max(depths.values()) + 1
    groups: dict[tuple[bool, int], list[nn.Parameter]] = {}
    for name, parameter in online.named_parameters():
        if parameter.requires_grad:
            decayed = parameter.ndim > 1 and name not in plain
            groups.setdefault((decayed, depths.get(name, heads)), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "rate_scale": settings.layer_decay ** (heads - depth),
        }
        for (decayed, depth), parameters in groups.items()
    ]
