"""Masks of one image from its own features: the K-way normalised cut (Shi and Malik, 2000).

Locations are the nodes of a graph, joined where their features agree, as in MaskCut (Wang et al.,
2023, CutLER): the edge of two is 1 where the cosine of their features reaches a threshold, and next
to nothing else.  Its first K eigenvectors tell K parts apart.
"""

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from cyborgs.bootstrap.eigenvectors import leading_eigenvectors
from cyborgs.bootstrap.kmeans import NotFiniteError

# Of nodes whose features do not agree: so that the graph is connected (as in MaskCut).
_WEAK = 1e-5


def cut(features: Tensor, parts: int, threshold: float) -> NDArray[np.int64]:
    """Label of every location of an image.

    The same features give the same labels.  The time grows with the third power of the number of
    locations, memory with its square.

    Args:
        features: floating point ``(rows, cols, channels)``, every location of unit length.
        parts: K, at most ``rows * cols``.
        threshold: cosine from which on two locations belong together.

    Returns:
        ``(rows, cols)``, values in 0 … K - 1.

    Raises:
        NotFiniteError: features that are not finite.
    """
    rows, cols = features.shape[:2]
    points = features.flatten(0, 1).float()
    if not torch.isfinite(points).all():
        raise NotFiniteError("features are not finite")
    edges = (points @ points.T >= threshold).double().clamp_(min=_WEAK)
    scale = edges.sum(1).rsqrt()
    edges *= scale[:, None]
    edges *= scale
    return _parts(leading_eigenvectors(edges, parts).cpu().numpy()).reshape(rows, cols)


def _parts(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Nodes to parts by a pivoted QR factorisation of eigenvectors ``(n, K)`` (Damle et al., 2019).

    The pivots are K nodes that point furthest apart; the eigenvectors are turned so that each of
    them lies on an axis, and a node belongs to the axis that it is nearest to.
    """
    count = vectors.shape[1]
    pivots = scipy.linalg.qr(vectors.T, mode="r", pivoting=True)[1][:count]
    left, _, right = scipy.linalg.svd(vectors[pivots].T)
    return np.abs(vectors @ (left @ right)).argmax(axis=1)
