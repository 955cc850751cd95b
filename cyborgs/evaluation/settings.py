"""Sections of settings that several evaluations share."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.common.errors import InputError
from cyborgs.common.section import PRECISION, NonNegative, Positive, Precision, Section, number
from cyborgs.models.backbones import family_of, stages_of

Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(number)]
Momentum = Annotated[float, Field(ge=0, lt=1), BeforeValidator(number)]


# Of evaluations that classify pixels.
Layers = Annotated[
    list[str] | None,
    Field(
        min_length=1,
        description="stages of the backbone whose outputs are joined, on the grid of the first; "
        "null: the stages that masks pool in training by default (layer2, layer3 and layer4 of a "
        "ResNet)",
    ),
]


def require_multiple(side: int, architecture: str, key: str) -> None:
    """Raise `InputError` where crops of this side, in pixels, are no whole locations of a backbone.

    ResNets take any: theirs round up.
    """
    stride = stages_of(architecture)[-1].stride
    if side % stride and not family_of(architecture).takes_any_size:
        below = max(stride, side // stride * stride)
        raise InputError(
            f"{key}: {side} pixels are not a multiple of {stride}, the stride of {architecture}; "
            f"take {below} or {below + stride}"
        )


Locations = Annotated[
    int,
    Field(ge=1, description="training locations per image, drawn at random from its grid, at most"),
]
PixelCost = Annotated[
    Positive,
    Field(description="C of the logistic regression: a larger C fits the training pixels closer"),
]

Backbones = Annotated[
    list[str],
    Field(
        min_length=1,
        description="backbones that the workflow evaluates: random, imagenet (the published "
        "weights, once `cyborgs data weights` has fetched them), rounds (each round's), last (the "
        "last round's), or files that `cyborgs import` reads",
    ),
]


class Evaluated(Section):
    """What all evaluations share."""

    backbones: Backbones = Field(["last"])

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.backbones)) != len(self.backbones):
            raise ValueError("'backbones' lists a backbone twice")
        return self


class Scheduled(Evaluated):
    """An evaluation with a published schedule and a short one.

    `schedule` only chooses the values of keys that are not given.  What counts is these, so it is
    taken out when it has done so.
    """

    SHORT: ClassVar[dict[str, Any]]

    schedule: Literal["published", "short"] = Field(
        "published",
        exclude=True,
        description="defaults of the other keys: as published, or short for a workstation",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("schedule") == "short":
            return cls.SHORT | {key: value for key, value in given.items() if key != "schedule"}
        return given


class Cropped(Scheduled):
    """An evaluation of images that are resized and cut to their centre."""

    short_side: int = Field(256, ge=32, description="short side of test images, in pixels")
    crop: int = Field(224, ge=32, multiple_of=32, description="side of a crop, in pixels")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.crop > self.short_side:
            raise ValueError("'crop' must not be larger than 'short_side'")
        return self


Iterations = Annotated[int, Field(ge=1, description="optimiser steps")]
Milestones = Annotated[list[int], Field(description="steps at which the rate drops to a tenth")]
Warmup = Annotated[int, Field(ge=0, description="warm-up steps; the rate starts at a thousandth")]
Sides = Annotated[
    list[int],
    Field(
        min_length=1,
        description="short sides in training, in pixels; one is drawn for each image",
    ),
]


class Detection(Scheduled):
    """What both evaluations that train a detector share."""

    SHORT: ClassVar[dict[str, Any]] = {
        "batch_size": 8,
        "learning_rate": 0.01,
        "sides": [320, 352, 384, 416, 448, 480],
        "test_side": 480,
        "longest": 800,
    }

    iterations: Iterations
    milestones: Milestones
    warmup: Warmup
    batch_size: int = Field(16, ge=1, description="images per step, over all processes")
    learning_rate: Positive = Field(0.02, description="learning rate")
    momentum: Momentum = 0.9
    weight_decay: NonNegative = Field(1e-4, description="weight decay, except of BatchNorm")
    sides: Sides
    test_side: int = Field(800, ge=32, description="short side in testing, in pixels")
    longest: int = Field(1333, ge=32, description="long side, at most, in pixels")
    batchnorm: int = Field(
        200,
        ge=0,
        description="steps after training in which BatchNorm's statistics are measured again; 0: "
        "use the running statistics",
    )
    precision: Precision = Field("auto", description=PRECISION)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        steps = [0, *self.milestones, self.iterations]
        if sorted(set(steps)) != steps:
            raise ValueError("'milestones' must be in ascending order and below 'iterations'")
        sides = [*self.sides, self.test_side]
        if min(sides) < 32 or max(sides) > self.longest:
            raise ValueError("'sides' and 'test_side' must lie in 32 … 'longest'")
        return self
