"""k-means over the feature locations of a group of images."""

import faiss
import numpy as np
from numpy.typing import NDArray

# FAISS seeds its generator with a 32-bit signed integer.
_SEEDS = 2**31


def cluster(
    points: NDArray[np.float32], clusters: int, *, seed: int, iterations: int, on_gpu: bool = False
) -> NDArray[np.int64]:
    """Label of every point after k-means (Lloyd's, from a random sample of the points).

    All points take part in every iteration, as in the published program.

    Args:
        points: ``(n, d)``, C-contiguous, with ``n >= clusters``.
        clusters: K.
        seed: chooses the first centroids.
        iterations: of assignment and update.
        on_gpu: whether FAISS computes on the current GPU.

    Returns:
        ``(n,)``, values in 0 … K - 1.

    Raises:
        ValueError: fewer points than clusters, or points that are not finite.
    """
    number, dimensions = points.shape
    if number < clusters:
        raise ValueError(f"{clusters} clusters of {number} points")
    if not np.isfinite(points).all():
        raise ValueError("features are not finite")
    kmeans = faiss.Kmeans(
        dimensions,
        clusters,
        niter=iterations,
        seed=seed % _SEEDS,
        min_points_per_centroid=1,
        max_points_per_centroid=number,
        gpu=on_gpu,
    )
    kmeans.train(points)
    _, labels = kmeans.index.search(points, 1)
    return np.asarray(labels[:, 0], dtype=np.int64)


def pin_threads(threads: int) -> None:
    """Compute with that many threads, so that rounding does not depend on the machine's load."""
    faiss.omp_set_num_threads(threads)
