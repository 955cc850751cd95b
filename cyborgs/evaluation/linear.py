"""A linear layer behind a frozen backbone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyborgs.models.backbones.backbone import Backbone


class LinearClassifier(nn.Module):
    """A backbone that stays as it is, in eval mode, and a linear layer on its mean features.

    Args:
        backbone: the backbone.
        classes: outputs of the layer.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.layer = nn.Linear(backbone.stages[backbone.last].channels, classes)
        nn.init.normal_(self.layer.weight, std=0.01)
        nn.init.zeros_(self.layer.bias)

    def train(self, mode: bool = True) -> "LinearClassifier":
        """Set the mode of all but the backbone."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The loss ``loss_classifier``.  ``batch``: ``image`` and ``label``, of all examples."""
        return {"loss_classifier": F.cross_entropy(self.scores(batch["image"]), batch["label"])}

    def scores(self, images: Tensor) -> Tensor:
        """Score of every class, ``(batch, classes)``; images as `pooled` takes them."""
        scores: Tensor = self.layer(pooled(self.backbone, images))
        return scores


def pooled(backbone: Backbone, images: Tensor) -> Tensor:
    """Mean of layer4's output over its grid, ``(batch, channels)``.

    Args:
        backbone: no gradient reaches it.
        images: uint8 RGB ``(batch, height, width, 3)``.
    """
    with torch.no_grad():
        features: Tensor = backbone(backbone.normalise(images))[backbone.last].mean((2, 3))
    return features
