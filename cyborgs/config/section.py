"""What all sections of the schema share."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

# Of training: `cyborgs.hardware.choose_precision` says what `auto` comes to.
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]

PRECISION = (
    "of convolutions and matrix products; weights stay float32, and float16 scales the loss. auto: "
    "bfloat16 where the hardware has instructions for it, float16 on GPUs that have only those, "
    "else float32; tf32 is float32 with faster, coarser products on NVIDIA GPUs"
)


class Section(BaseModel):
    """A closed part of the configuration: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def number(value: Any) -> Any:
    """A number that YAML 1.1 reads as a string: 1e-6, with no point and no sign on the mantissa."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value
