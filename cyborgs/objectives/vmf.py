"""The vMF clustering term (Wang et al., 2022), an optional part of the objective.

Locations of the target network's features are clustered, and those of the online network are
drawn to the centroid of their own cluster and away from the others: the log-likelihood of a
mixture of von Mises-Fisher distributions of equal weights and equal concentration 1 / temperature
(Banerjee et al., 2005), given the clusters.

As with the DetCon-B loss, one view at a time needs its activations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from cyborgs.common.section import NonNegative, Positive, Section

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# k-means stops early where an iteration lowers the squared distances by a smaller share; as
# bootstrapping does unless told otherwise.
_TOLERANCE = 1e-3


class Vmf(Section):
    """The vMF clustering term, an optional part of the objective (see docs/objective.md)."""

    weight: NonNegative = Field(
        0.0, description="weight of the term, added to the DetCon-B loss; 0 omits it, at no cost"
    )
    every: int = Field(
        1, ge=1, description="n: use the term in every n-th epoch, counted from 1 over all rounds"
    )
    temperature: Positive = Field(0.1, description="1 / concentration, the same for all clusters")
    clusters: list[int] = Field(
        [2, 256], min_length=2, max_length=2, description="range of K, which is drawn once per step"
    )
    iterations: int = Field(20, ge=1, description="iterations of k-means, at most")

    @model_validator(mode="after")
    def _clusters(self) -> Self:
        low, high = self.clusters
        if not 2 <= low <= high:
            raise ValueError(
                f"'clusters' must be [low, high] with 2 <= low <= high; got [{low}, {high}]"
            )
        return self

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        fields = type(self).model_fields
        idle = [name for name, field in fields.items() if getattr(self, name) != field.default]
        if self.weight == 0 and idle:
            raise ValueError(
                f"'weight' is 0, so {', '.join(map(repr, idle))} would have no effect; give a "
                "weight, or leave them out"
            )
        return self


@dataclass(frozen=True)
class Clusters:
    """Clusters of the locations of a step.

    Attributes:
        centroids: float32 ``(K, channels)``, l2-normalised; the same in all ranks.
        labels: int64 ``(views, batch, grid * grid)``, in 0 … K - 1: the cluster of each location
            of this rank's images.
    """

    centroids: "Tensor"
    labels: "Tensor"


class VmfTerm:
    """The term in the steps of a training.

    Args:
        settings: of the term.
        steps_per_epoch: optimiser steps an epoch.
        seed: of the run; with the step, it decides what is drawn.
    """

    def __init__(self, settings: Vmf, steps_per_epoch: int, seed: int) -> None:
        self._settings = settings
        self._steps_per_epoch = steps_per_epoch
        self._seed = seed
        self._clusters: Clusters | None = None
        self._values: list[Tensor] = []

    def begin(self, step: int, features: "Sequence[Tensor]") -> None:
        """Cluster the target network's features of both views, in the epochs of the term.

        Args:
            step: steps taken so far, over all rounds.
            features: as `cluster_locations` takes them.
        """
        from cyborgs.common.seeding import derive, generator

        s = self._settings
        epoch = step // self._steps_per_epoch + 1
        self._clusters = None
        if s.weight > 0 and epoch % s.every == 0:
            low, high = s.clusters
            self._clusters = cluster_locations(
                features,
                int(generator(self._seed, "vmf clusters", step).integers(low, high + 1)),
                seed=derive(self._seed, "vmf k-means", step),
                iterations=s.iterations,
            )

    def loss(self, view: int, features: "Tensor") -> "Tensor | None":
        """What a view, 0 or 1, adds to the loss; None in a step without the term.

        ``features`` are those of the online network, as `vmf_loss` takes them.
        """
        if self._clusters is None:
            return None
        labels = self._clusters.labels[view]
        value = vmf_loss(features, self._clusters.centroids, labels, self._settings.temperature)
        self._values.append(value.detach())
        # Of the mean over both views, this one's half.
        return self._settings.weight * value / 2

    def metrics(self) -> dict[str, float]:
        """``vmf``: the mean without its weight since this was last asked, if there was the term."""
        import torch

        if not self._values:
            return {}
        mean = torch.stack(self._values).view(-1, 2).mean(1).mean()
        self._values.clear()
        return {"vmf": float(mean)}


def cluster_locations(
    features: "Sequence[Tensor]", clusters: int, *, seed: int, iterations: int
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
    import numpy as np
    import torch
    import torch.nn.functional as F

    from cyborgs.bootstrap.kmeans import lloyd
    from cyborgs.runtime import distributed

    features = [view.detach() for view in features]
    precision = torch.bfloat16 if features[0].dtype == torch.bfloat16 else torch.float32
    own = torch.stack([_locations(view, precision) for view in features], dim=1)
    gathered = distributed.gather(own)  # (ranks, batch, views, grid * grid, channels)
    shape = gathered.shape[:-1]
    points = gathered.flatten(0, 3)
    mean = points.mean(0, dtype=torch.float32)
    # Centred points: otherwise low-precision scores cannot distinguish centroids that are close.
    points = points - mean.to(precision)
    first = np.random.default_rng(seed).permutation(len(points))[:clusters]
    centroids = points[torch.from_numpy(first).to(points.device)].float()
    centroids, labels = lloyd(points, centroids, iterations, _TOLERANCE)
    return Clusters(
        centroids=F.normalize(centroids + mean, dim=-1),
        labels=labels.view(shape)[distributed.rank()].transpose(0, 1),
    )


def vmf_loss(
    features: "Tensor", centroids: "Tensor", labels: "Tensor", temperature: float = 0.1
) -> "Tensor":
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
    import torch
    import torch.nn.functional as F

    located = features.float().permute(0, 2, 3, 1).flatten(0, 2)  # (batch * grid * grid, channels)
    # The norm divides the products: normalised locations would be kept for the way back as well.
    lengths = torch.linalg.vector_norm(located, dim=1, keepdim=True).clamp(min=1e-12)
    cosines = located @ centroids.T / lengths
    return F.cross_entropy(cosines / temperature, labels.flatten())


def _locations(features: "Tensor", precision: "torch.dtype") -> "Tensor":
    """``(batch, channels, grid, grid)`` to l2-normalised ``(batch, grid * grid, channels)``."""
    import torch.nn.functional as F

    located = features.permute(0, 2, 3, 1).flatten(1, 2)
    return F.normalize(located.float(), dim=-1).to(precision)
