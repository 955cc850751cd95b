"""What all sections of the schema share, in whichever room they are; loads nothing else of ours."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

# Smaller images are no use: a location of most backbones' last stage is this many pixels a side.
CELL = 32

# Labels are stored in at most 16 bits.
MOST_LABELS = 2**16

# Of training: `cyborgs.runtime.hardware.choose_precision` says what `auto` comes to.
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]

PRECISION = (
    "precision of convolutions and matrix products; weights stay float32, and float16 scales the "
    "loss. auto: bfloat16 if the hardware has instructions for it, float16 on GPUs that have them "
    "only for float16, else float32. tf32 is float32 with faster, coarser products on NVIDIA GPUs"
)


class Section(BaseModel):
    """A closed part of the configuration: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # Keys that older files with this section do not have.
    later: ClassVar[tuple[str, ...]] = ()

    def recorded(self) -> dict[str, Any]:
        """The section as the provenance of a file has it: all keys, but of `later` those set.

        So work that was begun before a key came goes on, and settings that were possible then
        give the same bytes.
        """
        found = self.model_dump()
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in self.later and value == field.default:
                del found[name]
            elif isinstance(value, Section):
                found[name] = value.recorded()
        return found


def number(value: Any) -> Any:
    """A number that YAML 1.1 reads as a string: 1e-6, with no point and no sign on the mantissa."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(number)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(number)]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(number)]
