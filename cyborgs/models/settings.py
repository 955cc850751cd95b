"""The section `model`: networks."""

from typing import Literal

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.section import Section

Architecture = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2", "wide_resnet101_2"
]


# Residual blocks in layer1 to layer4 (He et al., 2016, table 1).
BLOCKS: dict[str, tuple[int, int, int, int]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "wide_resnet50_2": (3, 4, 6, 3),
    "wide_resnet101_2": (3, 4, 23, 3),
}


class Model(Section):
    """Networks."""

    architecture: Architecture = Field("resnet50", description="torchvision's name")
    hidden: int = Field(4096, ge=1, description="hidden units of projector and predictor")
    projection: int = Field(256, ge=1, description="outputs of projector and predictor")
    weights: str | None = Field(
        None,
        description="checkpoint to begin with, of this program or another (see "
        "docs/checkpoints.md); null: random weights",
    )


def check_block(architecture: str, block: str) -> None:
    """Raise `InputError` where an architecture has no such residual block."""
    layer, index = int(block[5]), int(block[7:])
    blocks = BLOCKS[architecture][layer - 1]
    if index >= blocks:
        raise InputError(
            f"bootstrap.block: {architecture} has no block {block}; "
            f"layer{layer} ends with layer{layer}.{blocks - 1}"
        )
