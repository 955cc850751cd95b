"""What every objective has: settings, and the loss of one view at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cyborgs.common.section import Section

# The workflow reads its configuration, of which objectives are a part, without PyTorch.
if TYPE_CHECKING:
    from torch import Tensor


class Objective(Section):
    """What training minimises: one kind of the section `pretrain.objective`.

    The online network predicts, from the sampled masks of one view, what the target network made
    of masks of the other.  The loss of a view needs the predictions of that view alone, so that
    training goes back through one view before it begins with the other, and holds half of the
    activations.

    The settings are the fields of a subclass, whose docstring's first line says what it is.
    """

    kind: str

    def offer(self, projections: "Tensor") -> "Tensor":
        """What the masks of a view offer to be compared with, made once a step.

        Args:
            projections: of the target network, float ``(batch, masks, dim)``, without gradient;
                not normalised.
        """
        return projections

    def view_loss(
        self, view: int, predictions: "Tensor", offered: "Sequence[Tensor]", ids: "Tensor"
    ) -> "Tensor":
        """The loss of one view's masks; that of a step is the sum over both views.

        Args:
            view: 0 or 1.
            predictions: of the online network for that view, float ``(batch, masks, dim)``; not
                normalised.
            offered: from `offer`, of both views.
            ids: integer ``(batch, 2 views, 2 networks, masks)``, the mask id behind each row of the
                online network (0) and of the target network (1).

        Returns:
            A float32 scalar, through which gradients flow to the predictions: the mean over this
            rank's images.
        """
        raise NotImplementedError
