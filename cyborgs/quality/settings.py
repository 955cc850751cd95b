"""The section `quality`: measuring masks."""

from typing import Self

from pydantic import Field, model_validator

from cyborgs.common.section import MOST_LABELS, Section


class Quality(Section):
    """Comparison of masks with ground truth, if there are annotations."""

    clusters: list[int] = Field(
        [8], description="values of K at which the features of all rounds are compared"
    )
    images: int = Field(
        1000, ge=1, description="images in this comparison, rounded up to whole groups"
    )

    @model_validator(mode="after")
    def _clusters(self) -> Self:
        if any(not 1 <= k <= MOST_LABELS for k in self.clusters):
            raise ValueError(f"'clusters' must lie in 1 … {MOST_LABELS}")
        if len(set(self.clusters)) != len(self.clusters):
            raise ValueError("'clusters' lists a K twice")
        return self
