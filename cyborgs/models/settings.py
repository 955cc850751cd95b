"""The section `model`: networks."""

from typing import Annotated

from pydantic import AfterValidator, Field

from cyborgs.common.errors import InputError
from cyborgs.common.section import Section
from cyborgs.models.backbones import FAMILIES, family_of


def _known(architecture: str) -> str:
    try:
        family_of(architecture)
    except InputError as error:
        raise ValueError(str(error)) from None
    return architecture


_NAMES = ", ".join(name for family in FAMILIES for name in family.names())

Architecture = Annotated[str, AfterValidator(_known)]


class Model(Section):
    """Networks."""

    architecture: Architecture = Field("resnet50", description=f"of the backbone: {_NAMES}")
    hidden: int = Field(4096, ge=1, description="hidden units of projector and predictor")
    projection: int = Field(256, ge=1, description="outputs of projector and predictor")
    weights: str | None = Field(
        None,
        description="checkpoint to begin with, of this program or another (see "
        "docs/checkpoints.md); null: random weights",
    )
