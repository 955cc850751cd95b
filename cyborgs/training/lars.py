"""LARS: layer-wise adaptive rate scaling over momentum SGD (You et al., 2017)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class LARS(Optimizer):
    """Momentum SGD whose step on each weight is scaled by ``t ‖p‖ / ‖g‖``.

    With ``g`` the gradient plus weight decay, the adapted gradient is
    ``g (t ‖p‖ / (‖g‖ + 1e-8))`` where both norms are positive, else ``g``; momentum and
    the learning rate come after.  Weight decay and adaptation apply to parameters of more
    than one dimension; biases and normalisation get plain momentum SGD.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: of the velocity ``v = momentum v + g``.
        weight_decay: L2 penalty added to the gradient.
        trust_coefficient: t.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 1.5e-6,
        trust_coefficient: float = 1e-3,
    ) -> None:
        if lr < 0 or momentum < 0 or weight_decay < 0 or trust_coefficient <= 0:
            raise ValueError(
                "lr, momentum and weight_decay must be at least 0, trust_coefficient above 0"
            )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step on all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            weights = [p for p in params if p.ndim > 1]
            plain = [p for p in params if p.ndim <= 1]
            self._descend(
                group, weights, _adapted(weights, group["weight_decay"], group["trust_coefficient"])
            )
            self._descend(group, plain, [p.grad for p in plain if p.grad is not None])
        return loss

    def _descend(
        self, group: dict[str, Any], params: list[Tensor], gradients: list[Tensor]
    ) -> None:
        if not params:
            return
        momentum_buffers = []
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            momentum_buffers.append(self.state[p]["momentum_buffer"])
        torch._foreach_mul_(momentum_buffers, group["momentum"])
        torch._foreach_add_(momentum_buffers, gradients)
        torch._foreach_add_(params, momentum_buffers, alpha=-group["lr"])


def _adapted(params: list[Tensor], weight_decay: float, trust_coefficient: float) -> list[Tensor]:
    """Gradients with weight decay, scaled by the layer-wise trust ratio."""
    if not params:
        return []
    gradients = [p.grad for p in params if p.grad is not None]
    decayed = torch._foreach_add(gradients, params, alpha=weight_decay)
    sizes = torch.stack(torch._foreach_norm(params))
    slopes = torch.stack(torch._foreach_norm(decayed))
    both = (sizes > 0) & (slopes > 0)
    ratios = torch.where(both, trust_coefficient * sizes / (slopes + 1e-8), torch.ones_like(sizes))
    torch._foreach_mul_(decayed, list(ratios.unbind()))
    return list(decayed)
