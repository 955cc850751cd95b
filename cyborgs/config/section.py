"""What all sections of the schema share."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A closed part of the configuration: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def number(value: Any) -> Any:
    """A number that YAML 1.1 reads as a string: 1e-6, with no point and no sign on the mantissa."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value
