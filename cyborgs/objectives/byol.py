"""BYOL on pooled masks: what masks predict, without negatives."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cyborgs.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor


class Byol(Objective):
    """Masks with one label attract each other across an image's views; nothing repels (BYOL).

    The loss of a row is ``2 - 2 cos`` of its prediction and of a target row of the other view
    (Grill et al., 2020, equation 2), the mean over those rows that have its mask id.  Each mask of
    an image that both views have counts alike, however often it was drawn: with one mask an image,
    this is BYOL's loss of pooled features.
    """

    kind: Literal["byol"]

    def view_loss(
        self, view: int, predictions: "Tensor", offered: "Sequence[Tensor]", ids: "Tensor"
    ) -> "Tensor":
        """See `Objective`; an image whose views share no mask counts as 0."""
        import torch.nn.functional as F

        own, other = ids[:, view, 0], ids[:, 1 - view, 1]
        predictions = F.normalize(predictions.float(), dim=-1)
        targets = F.normalize(offered[1 - view].float(), dim=-1)
        distances = 2 - 2 * predictions @ targets.transpose(1, 2)  # (batch, masks, masks)
        same = own[:, :, None] == other[:, None, :]
        shared = same.any(-1)
        rows = (distances * same).sum(-1) / same.sum(-1).clamp(min=1)  # (batch, masks)
        weights = shared / (own[:, :, None] == own[:, None, :]).sum(-1)
        # The weights of an image add up to the number of its masks that both views have.
        images = (weights * rows).sum(-1) / weights.sum(-1).clamp(min=1)
        return images.mean()
