"""Metrics that show a collapse, or masks that teach nothing, while training goes on."""

import torch
import torch.nn.functional as F
from torch import Tensor

NAMES = ("projection_spread", "positives", "masks_in_view")


@torch.no_grad()
def health(targets: tuple[Tensor, Tensor], ids: Tensor, cells: Tensor) -> Tensor:
    """Three metrics of a step, ``(3,)`` float32, in the order of `NAMES`.

    - ``projection_spread``: standard deviation of the l2-normalised projections of the target
      network over the batch and its masks, mean over dimensions, times the square root of their
      number: about 1 where they are spread over the sphere, 0 where all are one (Chen and He,
      2021, section 4.1).
    - ``positives``: share of the sampled masks that occur in the other view too, so that they
      have something to be drawn to.
    - ``masks_in_view``: distinct masks of a view, mean over views.

    Args:
        targets: projections of both views, ``(batch * masks, dim)`` each.
        ids: integer ``(batch, 2 views, 2 networks, masks)``.
        cells: integer ``(batch, 2 views, grid, grid)``.
    """
    projections = F.normalize(torch.cat(targets).float(), dim=-1)
    spread = projections.std(dim=0).mean() * projections.shape[1] ** 0.5
    online, target = ids[:, :, 0], ids[:, :, 1].flip(1)  # of this view, and of the other one
    positives = (online[..., :, None] == target[..., None, :]).any(-1).float().mean()
    ordered = cells.flatten(2).sort(dim=-1).values
    masks = 1 + (ordered.diff(dim=-1) != 0).sum(-1).float().mean()
    return torch.stack([spread, positives, masks])
