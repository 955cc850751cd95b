"""Weights under an optimiser: precision, loss scaling, ranks and momentum of a training."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from cyborgs.runtime import distributed
from cyborgs.runtime.hardware import autocast

Network = TypeVar("Network", bound=nn.Module)

# The one buffer of momentum SGD and LARS.
_MOMENTUM = "momentum_buffer"


def synchronised(network: Network, device: torch.device) -> Network:
    """A network whose BatchNorm takes its statistics over all ranks, where these have GPUs."""
    if distributed.size() > 1 and device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network


class Stepper:
    """Goes back through a network and moves its weights, together with the other ranks.

    Args:
        network: on its device.
        optimiser: of its weights; each step sets the learning rate of its groups, times their
            ``rate_scale`` where they have one.
        precision: "float32", "tf32", "bfloat16" or "float16", which scales the loss.
        device: of this process.
        momentum: what the optimiser goes on with, as `momentum` gives it; empty before the first
            step.
        scaler: state of the loss scaling to go on with; may be empty.

    Attributes:
        network: to be called in training: it exchanges gradients with other ranks.
        optimiser: as given.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: Optimizer,
        *,
        precision: str,
        device: torch.device,
        momentum: Mapping[str, Tensor],
        scaler: Mapping[str, Any],
    ) -> None:
        self.network = network
        if distributed.size() > 1:
            self.network = DistributedDataParallel(
                network, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
        self.optimiser = optimiser
        self._precision = precision
        self._device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        if scaler:
            self._scaler.load_state_dict(dict(scaler))
        self._parameters = {k: p for k, p in network.named_parameters() if p.requires_grad}
        for stored, buffer in momentum.items():
            kind, _, name = stored.rpartition("/")
            parameter = self._parameters[name]
            # With the parameter's strides; AdamW's counter is a number, and stays on the CPU.
            alike = torch.empty_like(parameter) if buffer.ndim else torch.empty_like(buffer)
            optimiser.state[parameter][kind or _MOMENTUM] = alike.copy_(buffer)

    def autocast(self) -> torch.autocast:
        """Around what is computed in the precision of the training."""
        return autocast(self._device, self._precision)

    def exchange(self, now: bool) -> AbstractContextManager[None]:
        """Around a backward pass: ranks exchange gradients now, or let them add up till later."""
        if now or not isinstance(self.network, DistributedDataParallel):
            return nullcontext()
        return self.network.no_sync()

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those of the weights."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, rate: float) -> None:
        """Move the weights by their gradients, at a learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("rate_scale", 1.0)
        self._scaler.step(self.optimiser)
        self._scaler.update()

    @property
    def loss_scale(self) -> float | None:
        """Of float16; None for other precisions."""
        return self._scaler.get_scale() if self._scaler.is_enabled() else None

    def scaler(self) -> dict[str, Any]:
        """State of the loss scaling; empty for other precisions than float16."""
        return self._scaler.state_dict()

    def momentum(self) -> dict[str, Tensor]:
        """Copies of what the optimiser keeps, on the CPU; empty before the first step.

        Momentum buffers are named as their parameters; of AdamW, what it is comes first:
        ``exp_avg/projector.0.weight``.
        """
        found = {}
        for name, parameter in self._parameters.items():
            for kind, value in self.optimiser.state[parameter].items():
                if value is None:
                    continue
                # With the parameters' strides, as after reading: SGD begins with gradients'.
                alike = parameter if value.ndim else value
                copy = torch.empty_like(alike, device="cpu").copy_(value)
                found[name if kind == _MOMENTUM else f"{kind}/{name}"] = copy
        return found
