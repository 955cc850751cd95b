"""Intervals of differences: over seeds, and over test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95

# Resamples of the test images.
DRAWS = 1000


@dataclass(frozen=True)
class Interval:
    """A difference and the interval that holds it at `LEVEL`."""

    mean: float
    low: float
    high: float

    @property
    def separated(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_over_seeds(differences: Sequence[float]) -> Interval:
    """Student's interval of the mean of paired differences, one for each seed.

    Args:
        differences: two at the least.
    """
    values = np.asarray(differences, np.float64)
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / np.sqrt(len(values))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def resamples(images: int, draws: int = DRAWS) -> NDArray[np.int32]:
    """How often each test image is in each resample: int32 ``(draws + 1, images)``.

    The first row is the images as they are.
    """
    rng = np.random.default_rng(0)
    counts = np.ones((draws + 1, images), np.int32)
    for row in counts[1:]:
        row[:] = np.bincount(rng.integers(images, size=images), minlength=images)
    return counts


def resampled_map(
    scores: NDArray[np.float32], truth: NDArray[np.int8], counts: NDArray[np.int32]
) -> NDArray[np.float64]:
    """mAP of each resample, float64 ``(rows,)``; a class that one does not show is left out of it.

    Args:
        scores: float32 ``(images, classes)``.
        truth: int8 ``(images, classes)``: 1, -1, and 0 for what is left out.
        counts: of `resamples`.
    """
    total = np.zeros(len(counts))
    shown = np.zeros(len(counts))
    for column in range(truth.shape[1]):
        known = truth[:, column] != 0
        ap = weighted_ap(scores[known, column], truth[known, column] == 1, counts[:, known])
        shown += ~np.isnan(ap)
        total += np.nan_to_num(ap)
    return total / shown


def over_images(
    ours: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]]
) -> Interval:
    """Percentile interval of a difference of means over seeds (Efron, 1979).

    Args:
        ours, theirs: `resampled_map` of each seed, by the same resamples.
    """
    difference = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(difference[1:], [tail, 100 - tail])
    return Interval(float(difference[0]), float(low), float(high))


def weighted_ap(
    scores: NDArray[np.float32], positive: NDArray[np.bool_], counts: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Average precision, for each row of counts of the items; nan without a positive one.

    The mean of the precision at each positive item, with equal scores as one threshold, as
    scikit-learn's `average_precision_score` has it.

    Args:
        scores: float32 ``(items,)``.
        positive: bool ``(items,)``.
        counts: int32 ``(rows, items)``: how often each item is there.
    """
    order = np.argsort(-scores, kind="stable")
    scores, positive, counts = scores[order], positive[order], counts[:, order]
    # The last item of each group of equal scores.
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(counts * positive, axis=1, dtype=np.int64)[:, last]
    seen = np.cumsum(counts, axis=1, dtype=np.int64)[:, last]
    precision = hits / np.maximum(seen, 1)
    found = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float64] = (precision * found).sum(axis=1) / hits[:, -1]
    return result
