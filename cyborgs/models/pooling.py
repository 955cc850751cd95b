"""From cell labels to one vector a mask (DetCon, Hénaff et al., 2021, section 3)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def join_stages(features: Mapping[str, Tensor], names: Sequence[str]) -> Tensor:
    """Outputs of some stages on the grid of the last of them, joined in the order of ``names``.

    The others are average-pooled.  Returns ``(batch, channels, grid, grid)``; for layer2 to
    layer4 of a ResNet-50, 512 + 1024 + 2048 = 3584 channels.
    """
    last = features[names[-1]]
    grid = (last.shape[-2], last.shape[-1])
    pooled = [F.adaptive_avg_pool2d(features[name], grid) for name in names[:-1]]
    return torch.cat([*pooled, last], dim=1)


def mask_weights(cells: Tensor, ids: Tensor) -> Tensor:
    """Weight of every cell in each sampled mask: 1 / (cells of the mask) inside, 0 outside.

    Args:
        cells: integer ``(batch, grid, grid)``, a label a cell.
        ids: integer ``(batch, masks)``, labels that occur among the image's cells.

    Returns:
        float32 ``(batch, masks, grid * grid)``; rows sum to 1.
    """
    inside = cells.flatten(1)[:, None, :] == ids[:, :, None]  # (batch, masks, cells)
    weights = inside.float()
    return weights / weights.sum(-1, keepdim=True)


def pool_masks(features: Tensor, weights: Tensor) -> Tensor:
    """Mean feature of each mask: ``(batch, channels, grid, grid)`` to ``(batch, masks, channels)``.

    ``weights``: ``(batch, masks, grid * grid)``, from `mask_weights`.
    """
    # (batch, masks, cells) x (batch, cells, channels)
    return weights.to(features.dtype) @ features.flatten(2).transpose(1, 2)
