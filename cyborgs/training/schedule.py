"""Learning rate and target decay as pure functions of the global step."""

import math
from bisect import bisect_right
from collections.abc import Sequence


def learning_rate(
    step: int,
    *,
    base_learning_rate: float,
    steps_per_epoch: int,
    warmup_epochs: int,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
    horizon_epochs: int | None = None,
    final_learning_rate: float = 1e-6,
    warmup_divisor: float = 100,
) -> float:
    """Learning rate at an optimiser step, counted from 0 over all rounds.

    Linear from ``base_learning_rate / warmup_divisor`` over the warm-up; then
    ``base_learning_rate`` times ``gamma`` for each milestone passed, or, where ``horizon_epochs``
    is given, half a cosine from ``base_learning_rate`` to ``final_learning_rate``, which it keeps
    from then on.  Milestones and horizon are epochs.
    """
    warmup = warmup_epochs * steps_per_epoch
    if step < warmup:
        first = base_learning_rate / warmup_divisor
        return first + (base_learning_rate - first) * step / warmup
    if horizon_epochs is None:
        return base_learning_rate * gamma ** bisect_right(milestones, step / steps_per_epoch)
    share = min(1.0, (step - warmup) / (horizon_epochs * steps_per_epoch - warmup))
    return (
        final_learning_rate
        + (base_learning_rate - final_learning_rate) * (1 + math.cos(math.pi * share)) / 2
    )


def target_decay(
    step: int, *, decay: float, steps_per_epoch: int, horizon_epochs: int | None
) -> float:
    """Decay of the target's moving average at a step: constant, or rising to 1 by a cosine.

    With a horizon (in epochs), ``1 - (1 - decay) (1 + cos(pi t / T)) / 2`` (Grill et al.,
    2020, section 3.2).
    """
    if horizon_epochs is None:
        return decay
    share = min(1.0, step / (horizon_epochs * steps_per_epoch))
    return 1 - (1 - decay) * (1 + math.cos(math.pi * share)) / 2
