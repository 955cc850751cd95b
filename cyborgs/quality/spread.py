"""How far a difference of means over images is from chance."""

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

DRAWS = 2000


def paired_interval(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    groups: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[float, float] | None:
    """Percentile interval, at `LEVEL`, of the mean paired difference (Efron, 1979).

    Groups of images are drawn, with replacement, and not images: those that were clustered
    together have masks that are good or bad together (the cluster bootstrap of Davison and
    Hinkley, 1997, section 3.8).

    Args:
        ours, theirs: figures of the same images, ``(n,)`` each.
        groups: the number of each image's group, ``(n,)``; -1 is a group by itself.
        rng: for the draws.

    Returns:
        Both ends; None where there are fewer than two groups.
    """
    own = groups < 0
    numbered = np.where(own, groups.max(initial=-1) + 1 + np.arange(len(groups)), groups)
    _, codes = np.unique(numbered, return_inverse=True)
    count = int(codes.max(initial=-1)) + 1
    if count < 2:
        return None
    sums = np.bincount(codes, ours - theirs, minlength=count)
    sizes = np.bincount(codes, minlength=count)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    means = (drawn @ sums) / (drawn @ sizes)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
