"""A backbone: a network without its head, whose intermediate features have names."""

import copy
from collections.abc import Mapping
from typing import Self

from torch import Tensor, nn

from cyborgs.models.backbones import family_of


class Backbone(nn.Module):
    """A backbone of any family, with random weights.

    Parameters have the names that the family's library gives them.

    Args:
        architecture: such as ``resnet50``.

    Attributes:
        architecture: as given.
        stages: by name, in order (`Place`: channels and stride).

    Raises:
        InputError: no family has the architecture.
    """

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.architecture = architecture
        self._family = family_of(architecture)
        self.stages = {stage.name: stage for stage in self._family.stages(architecture)}
        for name, module in self._family.network(architecture).named_children():
            self.add_module(name, module)

    @property
    def last(self) -> str:
        """Name of the last stage."""
        return next(reversed(self.stages))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs of all stages, of shape ``(batch, channels, height / s, width / s)``.

        ``images``: float ``(batch, 3, height, width)``, normalised; ``s`` is a stage's stride.
        """
        return self._family.stage_outputs(self, images)

    def up_to(self, images: Tensor, place: str) -> Tensor:
        """Output of one stage or block, such as ``layer2.2``; nothing behind it is computed.

        ``images``: as `forward`; returns ``(batch, channels, rows, cols)``.
        """
        return self._family.output_of(self, images, place)

    def for_inference(self) -> Self:
        """A copy in eval mode that is cheaper to run, and equal up to rounding."""
        backbone = copy.deepcopy(self).eval()
        self._family.simplify(backbone)
        return backbone


def backbone_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the backbone in that of an encoder."""
    prefix = "backbone."
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def describe_mismatch(expected: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """What is missing, unexpected or of another shape; empty where all fits."""
    wrong = [
        *(f"{k} is missing" for k in expected if k not in given),
        *(f"{k} is unexpected" for k in given if k not in expected),
        *(
            f"{k} is {tuple(given[k].shape)}, not {tuple(v.shape)}"
            for k, v in expected.items()
            if k in given and given[k].shape != v.shape
        ),
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more
