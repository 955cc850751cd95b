"""The section `downstream`: evaluating backbones by what they do elsewhere."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.config.section import Section, number


class Objects(Section):
    """Classification of annotated objects, cut out of their images, on frozen features."""

    images: int = Field(
        2000, ge=2, description="annotated images whose objects are taken, drawn at random, at most"
    )
    size: int = Field(96, ge=32, description="side that a crop is resized to, in pixels")
    smallest: int = Field(
        16, ge=1, description="objects with a side below this are left out, in pixels"
    )
    test: Annotated[float, Field(gt=0, lt=1), BeforeValidator(number)] = Field(
        0.3, description="share of the images whose objects are for testing"
    )
    neighbours: int = Field(20, ge=1, description="k of the k-nearest-neighbour classifier")
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(number)] = Field(
        1.0, description="C of the logistic regression: larger fits the training objects closer"
    )


class Downstream(Section):
    """Evaluations of backbones: of random weights, and of every round's."""

    evaluations: list[Literal["objects"]] = Field(
        [], description="which of them the workflow runs; each has its settings below"
    )
    seeds: int = Field(
        3, ge=1, description="repetitions, each with another split; tables give mean and spread"
    )
    objects: Objects = Objects()

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.evaluations)) != len(self.evaluations):
            raise ValueError("'evaluations' names one twice")
        return self
