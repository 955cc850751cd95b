"""The DetCon-B loss of plain tensors."""

from collections.abc import Sequence

from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.objectives.detcon import candidates, view_loss


def detcon_loss(
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    ids: Sequence[Tensor],
    target_ids: Sequence[Tensor],
    *,
    temperature: float = 0.1,
    local_negatives: bool = True,
) -> Tensor:
    """The DetCon-B loss (Hénaff et al., 2021, equation 3) of a batch, summed over both views.

    Each argument holds both views, as a pair or stacked along the first axis.  A prediction is
    drawn to the targets of the other view of its image with its mask id, and pushed from all others
    of both views; targets of its own view and image with its id are left out.  Rows count by
    1 / (rows of the image with the same id), and not at all where the other view lacks the id.

    Args:
        predictions: float ``(batch, masks, dim)`` each, of the online network; need not be
            normalised.  Gradients flow through these alone.
        targets: the same shape, projections of the target network.
        ids: integer ``(batch, masks)`` each, the mask id behind each prediction.
        target_ids: the same shape, behind each target.
        temperature: divides the cosine similarities.
        local_negatives: False also leaves out masks of other ids of the same image.

    Returns:
        A float32 scalar: of each view the mean over images and masks.

    Raises:
        InputError: shapes that do not fit, or a temperature that is not positive.
    """
    named = {"predictions": predictions, "targets": targets, "ids": ids, "target_ids": target_ids}
    for name, views in named.items():
        if len(views) != 2:
            raise InputError(f"{name}: must hold both views; got {len(views)}")
    shape = tuple(predictions[0].shape)
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"predictions: must be (batch, masks, dim) in each view; got {shape}")
    for name, views in named.items():
        wanted = shape[:2] if "ids" in name else shape
        for view in views:
            if tuple(view.shape) != wanted:
                raise InputError(
                    f"{name}: must be {wanted} in each view, as predictions are {shape}; got "
                    f"{tuple(view.shape)}"
                )
            if "ids" in name and (view.is_floating_point() or view.is_complex()):
                raise InputError(f"{name}: must be integers; got {view.dtype}")
    if not temperature > 0:
        raise InputError(f"temperature: must be above 0; got {temperature}")
    offered = [candidates(view.detach()) for view in targets]
    first, second = (
        view_loss(
            predictions[view],
            across=offered[1 - view],
            within=offered[view],
            ids=ids[view],
            ids_across=target_ids[1 - view],
            ids_within=target_ids[view],
            temperature=temperature,
            local_negatives=local_negatives,
        )
        for view in (0, 1)
    )
    return first + second
