"""The section `model`: networks."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from cyborgs.common.errors import InputError
from cyborgs.common.section import Section
from cyborgs.models.backbones import FAMILIES, family_of, stages_named, stages_of


def _known(architecture: str) -> str:
    try:
        # In a family as large as timm's, only a look at the network tells whether it can be used.
        stages_of(architecture)
    except InputError as error:
        raise ValueError(str(error)) from None
    return architecture


# In place of a file: the weights that the library of the backbone publishes.
PRETRAINED = "pretrained"

_NAMES = ", ".join(name for family in FAMILIES for name in family.names())

Architecture = Annotated[str, AfterValidator(_known)]


class Model(Section):
    """Networks."""

    later: ClassVar = ("pooled",)

    architecture: Architecture = Field(
        "resnet50",
        description=f"the backbone: {_NAMES}, or any other of timm's that gives feature maps",
    )
    hidden: int = Field(4096, ge=1, description="hidden units of projector and predictor")
    projection: int = Field(256, ge=1, description="outputs of projector and predictor")
    pooled: list[str] | None = Field(
        None,
        min_length=1,
        description="stages of the backbone that masks pool, joined on the grid of the last one; "
        "null: the stages of stride 8 or more (layer2, layer3 and layer4 of a ResNet), or the "
        "last block of a vision transformer",
    )
    weights: str | None = Field(
        None,
        description="checkpoint to start from, of this program or another (see "
        "docs/checkpoints.md); `pretrained`: the weights that the backbone's library publishes, "
        "once `cyborgs data weights` has fetched them; null: random weights",
    )

    @property
    def weights_file(self) -> str | None:
        """The checkpoint to begin with; raises `InputError` where a cache does not have it."""
        if self.weights != PRETRAINED:
            return self.weights
        try:
            return str(family_of(self.architecture).pretrained(self.architecture))
        except InputError as error:
            raise InputError(f"model.weights: {error}") from None

    @property
    def cell(self) -> int:
        """Pixels of a view, a side, that a cell has: the stride of the last pooled stage.

        Raises `InputError` where the architecture has no such stage.
        """
        return stages_named(self.architecture, self.pooled, "model.pooled")[-1].stride

    def recorded(self) -> dict[str, Any]:
        """As `Section.recorded`, without the file of the weights, which is known by its hash."""
        found = super().recorded()
        del found["weights"]
        return found
