"""k-means over the feature locations of a group of images."""

from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyborgs.bootstrap.settings import Bootstrap, require_faiss
from cyborgs.common.seeding import generator


class NotFiniteError(ValueError):
    """Points that cannot be clustered, because some are infinite or NaN."""


# FAISS seeds its generator with a 32-bit signed integer.
_SEEDS = 2**31

# Minimum sample size.  With few clusters, `sample` points for each would be too few.
_LEAST = 8192

# By how much the halves of a split cluster are moved apart (as in FAISS).
_SPLIT = 1 / 1024


def draw_clusters(settings: Bootstrap, seed: int, number: int, group: int) -> int:
    """K of a group of images: uniform in `clusters`, both ends included.

    It depends on the run's ``seed``, the round's ``number`` and the ``group`` alone.
    """
    low, high = settings.clusters
    return int(generator(seed, "clusters", number, group).integers(low, high + 1))


def cluster(points: Tensor, clusters: int, *, seed: int, settings: Bootstrap) -> NDArray[np.int64]:
    """Label of every point after k-means (Lloyd's algorithm, from a random sample of the points).

    The iterations see a sample of the points, and stop when they gain little; a few more see all
    of them.  That is computed in the precision and on the device of the points; sums over points
    are matrix products, since those give the same result every time.  With ``settings.exact``,
    all points take part in every iteration, by FAISS in float32: the published program's k-means.

    Args:
        points: floating point ``(n, d)``, with ``n >= clusters``.
        clusters: K.
        seed: chooses the sample, and the first centroids among it.
        settings: uses `exact`, `iterations`, `sample`, `refinements` and `tolerance`.

    Returns:
        ``(n,)``, values in 0 … K - 1.

    Raises:
        ValueError: fewer points than clusters.
        NotFiniteError: points that are not finite.
        InputError: ``settings.exact``, and FAISS is not installed.
    """
    if len(points) < clusters:
        raise ValueError(f"{clusters} clusters of {len(points)} points")
    mean = points.new_ones(1, len(points)) @ points / len(points)
    if not torch.isfinite(mean).all():
        raise NotFiniteError("features are not finite")
    if settings.exact:
        return _by_faiss(points, clusters, seed, settings.iterations)
    # Centred points: otherwise low-precision scores cannot distinguish centroids that are close.
    points = points - mean
    order = np.random.default_rng(seed).permutation(len(points))
    order = order[: max(settings.sample * clusters, _LEAST)]
    sample = points[torch.from_numpy(order).to(points.device)]
    centroids = sample[:clusters].float()
    centroids, _ = lloyd(sample, centroids, settings.iterations, settings.tolerance)
    more = settings.refinements if len(sample) < len(points) else 0
    _, labels = lloyd(points, centroids, more, settings.tolerance)
    return labels.cpu().numpy()


def lloyd(
    points: Tensor, centroids: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm (1982), in the precision and on the device of the points.

    A cluster that becomes empty gets half of one of the largest.

    Args:
        points: floating point ``(n, d)``, best around the origin.
        centroids: float32 ``(K, d)``, to begin with.
        iterations: at most so many.
        tolerance: stop when an iteration lowers the squared distances by a smaller share.

    Returns:
        The centroids, float32 ``(K, d)``, and the nearest of them to each point, int64 ``(n,)``.
    """
    size = float(torch.linalg.vector_norm(points, dim=1).float().square().sum())
    before = float("inf")
    scores, labels = _nearest(points, centroids)
    for _ in range(iterations):
        counts = labels.new_zeros(len(centroids))
        counts.scatter_add_(0, labels, torch.ones_like(labels))
        # Read from the device once: every read waits for all queued work.
        scored, empty = torch.stack(
            [scores.sum(dtype=torch.float32), (counts == 0).sum(dtype=torch.float32)]
        ).tolist()
        # Sum of squared distances: ‖x - c‖² = ‖x‖² - 2 (x·c - ‖c‖²/2)
        spread = size - 2 * scored
        if before - spread < tolerance * spread:
            break
        before = spread
        centroids = _means(points, labels, counts)
        if empty:
            _fill(centroids, counts)
        scores, labels = _nearest(points, centroids)
    return centroids, labels


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Of each point, the best score ``x·c - ‖c‖²/2`` and the centroid that has it."""
    centroids = centroids.to(points.dtype)
    lengths = centroids.float().square().sum(1) / 2
    return (points @ centroids.T).sub_(lengths.to(points.dtype)).max(1)


def _means(points: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Mean of each cluster, float32 ``(K, d)``; of an empty one, 0."""
    members = points.new_zeros(len(counts), len(points)).scatter_(0, labels[None], 1)
    return (members @ points).float() / counts.clamp(min=1)[:, None]


def _fill(means: Tensor, counts: Tensor) -> None:
    """Give each empty cluster half of one of the largest."""
    empty = (counts == 0).nonzero()[:, 0]
    largest = counts.argsort(descending=True, stable=True)[: len(empty)]
    apart = torch.full_like(means[0], _SPLIT)
    apart[::2] = -_SPLIT
    means[empty] = means[largest] * (1 + apart)
    means[largest] *= 1 - apart


def _by_faiss(points: Tensor, clusters: int, seed: int, iterations: int) -> NDArray[np.int64]:
    kmeans = _faiss().Kmeans(
        points.shape[1],
        clusters,
        niter=iterations,
        seed=seed % _SEEDS,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
        gpu=points.is_cuda and _faiss().get_num_gpus() > 0,
    )
    values = np.ascontiguousarray(points.float().cpu().numpy())
    kmeans.train(values)
    _, labels = kmeans.index.search(values, 1)
    return np.asarray(labels[:, 0], dtype=np.int64)


def pin_threads(threads: int, exact: bool = False) -> None:
    """Compute with that many threads, so that rounding does not depend on the machine's load.

    FAISS, which `exact` clustering needs, has threads of its own.  Raises `InputError` where it is
    not installed.
    """
    torch.set_num_threads(threads)
    if exact:
        require_faiss()
        _faiss().omp_set_num_threads(threads)


def _faiss() -> ModuleType:
    # Only `bootstrap.exact` needs it.
    import faiss

    return faiss
