"""The section `bootstrap`: masks from features."""

import importlib.util
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from cyborgs.common.errors import InputError
from cyborgs.common.section import MOST_LABELS, NonNegative, Section


class Bootstrap(Section):
    """Masks from features."""

    later: ClassVar = ("method", "threshold")

    block: str = Field(
        "layer2.2",
        min_length=1,
        description="block or stage of the backbone whose output is clustered",
    )
    group: int = Field(16, ge=1, description="images clustered together")
    clusters: list[int] = Field(
        [2, 256],
        min_length=2,
        max_length=2,
        description="range K is drawn from, once a group",
    )
    method: Literal["k-means", "normalised-cut"] = Field(
        "k-means",
        description="k-means over the locations of all images of a group, or the normalised cut of "
        "each image by itself (as MaskCut, into K parts), which takes a K of a few and features of "
        "stride 14 to 32: its memory grows with the square of an image's locations",
    )
    threshold: float = Field(
        0.2,
        ge=-1,
        le=1,
        description="of the normalised cut: cosine of features from which on two locations belong "
        "together",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of features and k-means; auto: bfloat16 where the hardware has instructions "
        "for it, else float32",
    )
    iterations: int = Field(20, ge=1, description="of k-means, at most")
    sample: int = Field(
        64,
        ge=1,
        description="points a cluster, drawn at random, that the iterations see (8192 at least)",
    )
    refinements: int = Field(
        3, ge=0, description="further iterations, over all points of the group, at most"
    )
    tolerance: NonNegative = Field(
        1e-3, description="stop when an iteration lowers the squared distances by a smaller share"
    )
    exact: bool = Field(
        False,
        description="the published program's k-means: FAISS, all points in every iteration, in "
        "float32, whatever `precision` says of features; `sample`, `refinements` and `tolerance` "
        "then have no effect, and are refused",
    )

    @model_validator(mode="after")
    def _clusters(self) -> Self:
        low, high = self.clusters
        if not 1 <= low <= high <= MOST_LABELS:
            raise ValueError(
                f"'clusters' must be [low, high] with 1 <= low <= high <= {MOST_LABELS}, the most "
                f"that a mask file can hold; got [{low}, {high}]"
            )
        return self

    @model_validator(mode="after")
    def _of_one_method(self) -> Self:
        fields = type(self).model_fields
        idle = ["threshold"]
        if self.method == "normalised-cut":
            idle = ["iterations", "sample", "refinements", "tolerance", "exact"]
        given = [name for name in idle if getattr(self, name) != fields[name].default]
        if given:
            raise ValueError(
                f"'method' is {self.method}, so that {', '.join(map(repr, given))} would have no "
                "effect; leave them out, or take the other method"
            )
        return self

    @model_validator(mode="after")
    def _exact(self) -> Self:
        fields = type(self).model_fields
        of_ours = ("sample", "refinements", "tolerance")
        idle = [name for name in of_ours if getattr(self, name) != fields[name].default]
        if self.exact and idle:
            raise ValueError(
                f"'exact' is true, so {', '.join(map(repr, idle))} would have no effect; set "
                "'exact' to false, or leave them out"
            )
        return self


def require_faiss() -> None:
    """Raise `InputError` where FAISS is not installed; does not load it."""
    if importlib.util.find_spec("faiss") is None:
        raise InputError(
            "bootstrap.exact: needs FAISS, which is not installed: `pip install faiss-cpu` (or "
            "faiss-gpu), or set it to false"
        )
