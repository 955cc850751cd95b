"""The vMF clustering term (Wang et al., 2022), an optional part of the objective.

Locations of the target network's features are clustered, and those of the online network are
drawn to the centroid of their own cluster and away from the others: the log-likelihood of a
mixture of von Mises-Fisher distributions of equal weights and equal concentration 1 / temperature
(Banerjee et al., 2005), given the clusters.

As with the DetCon-B loss, one view at a time needs its activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cyborgs import distributed
from cyborgs.bootstrap.kmeans import lloyd

# k-means stops early where an iteration lowers the squared distances by a smaller share; as
# bootstrapping does unless told otherwise.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Clusters:
    """Clusters of the locations of a step.

    Attributes:
        centroids: float32 ``(K, channels)``, l2-normalised; the same in all ranks.
        labels: int64 ``(views, batch, grid * grid)``, in 0 … K - 1: the cluster of each location
            of this rank's images.
    """

    centroids: Tensor
    labels: Tensor


@torch.no_grad()
def cluster_locations(
    features: Sequence[Tensor], clusters: int, *, seed: int, iterations: int
) -> Clusters:
    """k-means of the l2-normalised locations of all views of all images of all ranks.

    Each rank clusters all of them, in the order of the images in the step, so that any number of
    ranks finds the clusters that one would; the points are gathered for that, once a step.  Like
    the clustering of masks, it computes on the device of the features, in bfloat16 where they are
    in bfloat16, else in float32, and gives the same result every time.  Features that are not
    finite give centroids that are not.

    Args:
        features: of the target network, a float ``(batch, channels, grid, grid)`` for each view.
        clusters: K, at most the number of locations.
        seed: chooses the points that are the first centroids; the same in all ranks.
        iterations: of k-means, at most.
    """
    precision = torch.bfloat16 if features[0].dtype == torch.bfloat16 else torch.float32
    own = torch.stack([_locations(view, precision) for view in features], dim=1)
    gathered = distributed.gather(own)  # (ranks, batch, views, grid * grid, channels)
    shape = gathered.shape[:-1]
    points = gathered.flatten(0, 3)
    mean = points.mean(0, dtype=torch.float32)
    # Around the origin, scores of low precision tell near centroids apart.
    points = points - mean.to(precision)
    first = np.random.default_rng(seed).permutation(len(points))[:clusters]
    centroids = points[torch.from_numpy(first).to(points.device)].float()
    centroids, labels = lloyd(points, centroids, iterations, _TOLERANCE)
    return Clusters(
        centroids=F.normalize(centroids + mean, dim=-1),
        labels=labels.view(shape)[distributed.rank()].transpose(0, 1),
    )


def vmf_loss(
    features: Tensor, centroids: Tensor, labels: Tensor, temperature: float = 0.1
) -> Tensor:
    """Cross entropy of a view's locations over the clusters, a float32 scalar.

    The logits of a location are its cosines with the centroids, divided by the temperature; its
    class is the cluster of the target network's location at the same place of the same view.  The
    term is the mean over both views, and over ranks.  Gradients flow through ``features`` alone.

    Args:
        features: of the online network, float ``(batch, channels, grid, grid)``; need not be
            normalised.
        centroids: l2-normalised float32 ``(K, channels)``.
        labels: int64 ``(batch, grid * grid)``.
        temperature: divides the cosines; the inverse of the concentration.

    Returns:
        The mean over locations.
    """
    located = features.float().permute(0, 2, 3, 1).flatten(0, 2)  # (batch * grid * grid, channels)
    # The norm divides the products: normalised locations would be kept for the way back as well.
    lengths = torch.linalg.vector_norm(located, dim=1, keepdim=True).clamp(min=1e-12)
    cosines = located @ centroids.T / lengths
    return F.cross_entropy(cosines / temperature, labels.flatten())


def _locations(features: Tensor, precision: torch.dtype) -> Tensor:
    """``(batch, channels, grid, grid)`` to l2-normalised ``(batch, grid * grid, channels)``."""
    located = features.permute(0, 2, 3, 1).flatten(1, 2)
    return F.normalize(located.float(), dim=-1).to(precision)
