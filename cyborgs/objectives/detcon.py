"""The DetCon-B loss (Hénaff et al., 2021, equation 3), over sampled masks."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cyborgs import distributed

# Added to a logit that must not count; exp of it is exactly 0 in float32.
_REMOVED = -1e9


def detcon_b_loss(
    pred1: Tensor,
    pred2: Tensor,
    target1: Tensor,
    target2: Tensor,
    pred_ids1: Tensor,
    pred_ids2: Tensor,
    target_ids1: Tensor,
    target_ids2: Tensor,
    temperature: float = 0.1,
    local_negatives: bool = True,
) -> Tensor:
    """Contrast the masks of one view with those of the other, symmetrically.

    Predictions of view 1 are drawn to targets of view 2 of the same image and mask id, and
    pushed from every other target of both views, of all images of all ranks; targets of view
    1 with the same image and id are left out.  A row counts by 1 / (rows of its image with
    its id), and not at all where view 2 has no such mask.  Gradients flow through this rank's
    predictions only.

    Args:
        pred1, pred2: float ``(batch, masks, dim)``, predictions of the online network for the
            two views; need not be normalised.
        target1, target2: float ``(batch, masks, dim)``, projections of the target network.
        pred_ids1, pred_ids2, target_ids1, target_ids2: integer ``(batch, masks)``, the mask
            id behind each vector.
        temperature: divides the cosine similarities.
        local_negatives: False also removes masks of other ids of the same image.

    Returns:
        The loss of this rank's images, a float32 scalar.
    """
    pred1, pred2 = F.normalize(pred1.float(), dim=-1), F.normalize(pred2.float(), dim=-1)
    # (ranks, batch, masks, dim) to (ranks * batch * masks, dim): all candidates of a view
    all1 = distributed.gather(F.normalize(target1.float(), dim=-1)).flatten(0, 2)
    all2 = distributed.gather(F.normalize(target2.float(), dim=-1)).flatten(0, 2)
    return _one_way(
        pred1, all2, all1, pred_ids1, target_ids2, target_ids1, temperature, local_negatives
    ) + _one_way(
        pred2, all1, all2, pred_ids2, target_ids1, target_ids2, temperature, local_negatives
    )


def _one_way(
    pred: Tensor,
    across: Tensor,
    within: Tensor,
    ids: Tensor,
    ids_across: Tensor,
    ids_within: Tensor,
    temperature: float,
    local_negatives: bool,
) -> Tensor:
    """Loss of one view's predictions against the other view (across) and its own (within).

    ``pred``: ``(B, M, D)``; ``across``, ``within``: ``(R * B * M, D)``; ids: ``(B, M)``.
    """
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


def _similarity(pred: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    batch, masks, dim = pred.shape
    logits = pred.reshape(-1, dim) @ candidates.T / temperature
    return logits.view(batch, masks, -1, masks)


def _remove(logits: Tensor, rows: Tensor, columns: Tensor, removed: Tensor) -> Tensor:
    """Push logits of the rows' own images towards minus infinity where ``removed`` is true."""
    shift = torch.zeros_like(logits)
    shift[rows, :, columns, :] = removed.to(logits.dtype) * _REMOVED
    return logits + shift
