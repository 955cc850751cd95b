"""The DetCon-B loss (Hénaff et al., 2021, equation 3), over sampled masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cyborgs.common.section import Positive
from cyborgs.objectives.objective import Objective

if TYPE_CHECKING:
    from torch import Tensor

# Added to a logit that must not count; exp of it is exactly 0 in float32.
_REMOVED = -1e9


class DetConB(Objective):
    """Masks with one label attract each other across an image's views; others repel (DetCon-B)."""

    kind: Literal["detcon-b"]
    temperature: Positive = Field(0.1, description="divides the cosine similarities")
    local_negatives: bool = Field(True, description="other masks of the image are negatives too")

    def offer(self, projections: "Tensor") -> "Tensor":
        """See `Objective`, and `candidates`."""
        return candidates(projections)

    def view_loss(
        self, view: int, predictions: "Tensor", offered: "Sequence[Tensor]", ids: "Tensor"
    ) -> "Tensor":
        """See `Objective`, and the function `view_loss`."""
        other = 1 - view
        return view_loss(
            predictions,
            across=offered[other],
            within=offered[view],
            ids=ids[:, view, 0],
            ids_across=ids[:, other, 1],
            ids_within=ids[:, view, 1],
            temperature=self.temperature,
            local_negatives=self.local_negatives,
        )


def candidates(target: "Tensor") -> "Tensor":
    """What a view's masks offer to be compared with, from all images of all ranks.

    ``target``: float ``(batch, masks, dim)``, projections of the target network; need not be
    normalised.  Returns l2-normalised float32 ``(ranks * batch * masks, dim)``, without gradient.
    """
    import torch.nn.functional as F

    from cyborgs.runtime import distributed

    return distributed.gather(F.normalize(target.float(), dim=-1)).flatten(0, 2)


def view_loss(
    pred: "Tensor",
    *,
    across: "Tensor",
    within: "Tensor",
    ids: "Tensor",
    ids_across: "Tensor",
    ids_within: "Tensor",
    temperature: float = 0.1,
    local_negatives: bool = True,
) -> "Tensor":
    """The loss of one view's masks; DetCon-B's is the sum over both views.

    Predictions are drawn to targets of the other view of the same image and mask id, and pushed
    from every other target of both views, of all images of all ranks; targets of the own view
    with the same image and id are left out.  A row counts by 1 / (rows of its image with its
    id), and not at all where the other view has no such mask.  Gradients flow through this
    rank's predictions only.

    Args:
        pred: float ``(batch, masks, dim)``, predictions of the online network; need not be
            normalised.
        across, within: from `candidates`, of the other view and of this one.
        ids, ids_across, ids_within: integer ``(batch, masks)``, the mask id behind each
            prediction, and behind this rank's targets of the other view and of this one.
        temperature: divides the cosine similarities.
        local_negatives: False also removes masks of other ids of the same image.

    Returns:
        The mean over this rank's images and masks, a float32 scalar.
    """
    import torch
    import torch.nn.functional as F

    from cyborgs.runtime import distributed

    pred = F.normalize(pred.float(), dim=-1)
    batch = len(pred)
    logits_across = _similarity(pred, across, temperature)  # (B, M, R * B, M)
    logits_within = _similarity(pred, within, temperature)

    # Only columns of the row's own image can be positive or removed: a view of them.
    own = torch.arange(batch, device=pred.device)
    columns = own + distributed.rank() * batch
    positive = ids[:, :, None] == ids_across[:, None, :]  # (B, M, M)
    same_within = ids[:, :, None] == ids_within[:, None, :]
    if local_negatives:
        removed_across, removed_within = None, same_within
    else:
        removed_across, removed_within = ~positive, torch.ones_like(same_within)
    logits_within = _remove(logits_within, own, columns, removed_within)
    if removed_across is not None:
        logits_across = _remove(logits_across, own, columns, removed_across)

    both = torch.cat([logits_across.flatten(2), logits_within.flatten(2)], dim=-1)
    log_total = both.logsumexp(-1)  # (B, M)
    log_probability = logits_across[own, :, columns, :] - log_total[:, :, None]  # (B, M, M)

    positives = positive.sum(-1)
    row_loss = -(log_probability * positive).sum(-1) / positives.clamp(min=1)
    alike = (ids[:, :, None] == ids[:, None, :]).sum(-1)
    weight = (positives > 0) / alike
    return (weight * row_loss).mean()


def _similarity(pred: "Tensor", candidates: "Tensor", temperature: float) -> "Tensor":
    batch, masks, dim = pred.shape
    logits = pred.reshape(-1, dim) @ candidates.T / temperature
    return logits.view(batch, masks, -1, masks)


def _remove(logits: "Tensor", rows: "Tensor", columns: "Tensor", removed: "Tensor") -> "Tensor":
    """Push logits of the rows' own images towards minus infinity where ``removed`` is true."""
    shift = logits.new_zeros(logits.shape)
    shift[rows, :, columns, :] = removed.to(logits.dtype) * _REMOVED
    return logits + shift
