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


def synchronised(network: Network, device: torch.device) -> Network:
    """A network whose BatchNorm takes its statistics over all ranks, where these have GPUs."""
    if distributed.size() > 1 and device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    return network


class Stepper:
    """Goes back through a network and moves its weights, together with the other ranks.

    Args:
        network: on its device.
        optimiser: of its weights, which keeps a ``momentum_buffer`` a parameter; each step sets its
            learning rate.
        precision: "float32", "tf32", "bfloat16" or "float16", which scales the loss.
        device: of this process.
        momentum: buffers to go on with, by parameter; empty before the first step.
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
        for name, buffer in momentum.items():
            parameter = self._parameters[name]
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(
                buffer
            )

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
            group["lr"] = rate
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
        """Copies of the momentum buffers, on the CPU, by parameter; empty before the first step."""
        # With the parameters' strides, as after reading: SGD begins with those of gradients.
        return {
            name: torch.empty_like(parameter, device="cpu").copy_(
                self.optimiser.state[parameter]["momentum_buffer"]
            )
            for name, parameter in self._parameters.items()
            if "momentum_buffer" in self.optimiser.state[parameter]
        }
