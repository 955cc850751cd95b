"""An online network and its moving average, the target."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cyborgs.models.backbones import family_of
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.pooling import join_stages, mask_weights, pool_masks


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Projector or predictor: Linear, BatchNorm, ReLU, Linear, with biases."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )


class Encoder(nn.Module):
    """Backbone and projector: images and sampled masks to one projection a mask."""

    def __init__(
        self,
        architecture: str,
        hidden: int,
        projection: int,
        pooled: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(architecture)
        self._pooled = tuple(pooled or family_of(architecture).pooled(architecture))
        self.backbone.freeze_unused(self._pooled)
        channels = sum(self.backbone.stages[name].channels for name in self._pooled)
        self.projector = head(channels, hidden, projection)

    def forward(self, images: Tensor, cells: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Projections ``(batch * masks, projection)``, and the features that masks pool.

        The features are those of `join_stages`, ``(batch, channels, grid, grid)``.

        Args:
            images: normalised float ``(batch, 3, crop, crop)``.
            cells: integer ``(batch, grid, grid)`` on the grid of the last of the pooled stages.
            ids: integer ``(batch, masks)``, drawn among each image's cells.
        """
        features = join_stages(self.backbone(images), self._pooled)
        pooled = pool_masks(features, mask_weights(cells, ids))
        # BatchNorm sees all vectors of the batch together.
        return self.projector(pooled.flatten(0, 1)), features


class Online(Encoder):
    """The network that learns: an encoder with a predictor behind it."""

    def __init__(
        self,
        architecture: str,
        hidden: int,
        projection: int,
        pooled: Sequence[str] | None = None,
    ) -> None:
        super().__init__(architecture, hidden, projection, pooled)
        self.predictor = head(projection, hidden, projection)

    def forward(self, images: Tensor, cells: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions ``(batch * masks, projection)``, and the rest as `Encoder.forward`."""
        projections, features = super().forward(images, cells, ids)
        return self.predictor(projections), features


class Pair(nn.Module):
    """Online network and its moving average, the target (BYOL; Grill et al., 2020).

    The target has no predictor, gets no gradient, and starts as a copy of the online encoder.
    """

    def __init__(
        self,
        architecture: str,
        hidden: int,
        projection: int,
        pooled: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.online = Online(architecture, hidden, projection, pooled)
        self.target = Encoder(architecture, hidden, projection, pooled)
        self.reset_target()

    def reset_target(self) -> None:
        """Make the target a copy of the online encoder."""
        self.target.backbone = copy.deepcopy(self.online.backbone)
        self.target.projector = copy.deepcopy(self.online.projector)
        self.target.requires_grad_(False)

    @torch.no_grad()
    def update_target(self, decay: float) -> None:
        """Move the target's parameters towards the online ones: ``t = decay t + (1 - decay) o``.

        BatchNorm's running statistics are the target's own, from its own forward passes.
        """
        online = dict(self.online.named_parameters())
        pairs = [(t, online[name]) for name, t in self.target.named_parameters()]
        torch._foreach_lerp_([t for t, _ in pairs], [o for _, o in pairs], 1.0 - decay)
