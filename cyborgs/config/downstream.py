"""The section `downstream`: evaluating backbones by what they do elsewhere."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.common.section import PRECISION, Precision, Section, number

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(number)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(number)]
Share = Annotated[float, Field(gt=0, lt=1), BeforeValidator(number)]
Area = Annotated[float, Field(gt=0, le=1), BeforeValidator(number)]
Momentum = Annotated[float, Field(ge=0, lt=1), BeforeValidator(number)]

_BACKBONES = (
    "what the workflow evaluates: random, imagenet (torchvision's weights, where its cache has "
    "them), rounds (each round's state), last (the last round's), or files that `cyborgs import` "
    "takes"
)


class _Evaluation(Section):
    """What all evaluations share."""

    backbones: list[str] = Field(["last"], min_length=1, description=_BACKBONES)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len(set(self.backbones)) != len(self.backbones):
            raise ValueError("'backbones' names one twice")
        return self


class _Scheduled(_Evaluation):
    """An evaluation with a published schedule and a short one.

    `schedule` only chooses the values of keys that are not given.  What counts is these, so it is
    taken out when it has done so.
    """

    SHORT: ClassVar[dict[str, Any]]

    schedule: Literal["published", "short"] = Field(
        "published",
        exclude=True,
        description="defaults of the other keys: the published ones, or for a workstation",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("schedule") == "short":
            return cls.SHORT | {key: value for key, value in given.items() if key != "schedule"}
        return given


class Objects(_Evaluation):
    """Probe: classification of annotated objects, cut out of their images, on frozen features."""

    backbones: list[str] = Field(["random", "rounds"], min_length=1, description=_BACKBONES)
    images: int = Field(
        2000, ge=2, description="annotated images whose objects are taken, drawn at random, at most"
    )
    size: int = Field(96, ge=32, description="side that a crop is resized to, in pixels")
    smallest: int = Field(
        16, ge=1, description="objects with a side below this are left out, in pixels"
    )
    test: Share = Field(0.3, description="share of the images whose objects are for testing")
    neighbours: int = Field(20, ge=1, description="k of the k-nearest-neighbour classifier")
    cost: Positive = Field(
        1.0, description="C of the logistic regression: larger fits the training objects closer"
    )


class Segmentation(_Evaluation):
    """Probe: classification of pixels by a linear layer on frozen features."""

    backbones: list[str] = Field(["random", "rounds"], min_length=1, description=_BACKBONES)
    images: int = Field(500, ge=2, description="annotated images, drawn at random, at most")
    short_side: int = Field(
        224, ge=32, description="larger images are shrunk to this short side, in pixels"
    )
    layers: list[Literal["layer1", "layer2", "layer3", "layer4"]] = Field(
        ["layer2", "layer3", "layer4"],
        min_length=1,
        description="whose outputs are joined, on the grid of the first of them",
    )
    locations: int = Field(
        64, ge=1, description="of an image for training, drawn at random from its grid, at most"
    )
    test: Share = Field(0.3, description="share of the images that are for testing")
    cost: Positive = Field(
        1.0, description="C of the logistic regression: larger fits the training pixels closer"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if sorted(set(self.layers)) != self.layers:
            raise ValueError("'layers' must rise")
        return self


class _Cropped(_Scheduled):
    """An evaluation of images that are resized and cut to their centre."""

    short_side: int = Field(256, ge=32, description="test images are resized to this, in pixels")
    crop: int = Field(224, ge=32, multiple_of=32, description="side of a crop, in pixels")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.crop > self.short_side:
            raise ValueError("'crop' must not be larger than 'short_side'")
        return self


class VocSvm(_Cropped):
    """VOC07 classification: linear SVMs on frozen features (VirTex, Desai and Johnson, 2021)."""

    SHORT: ClassVar[dict[str, Any]] = {
        "short_side": 146,
        "crop": 128,
        "costs": [0.1, 1.0],
        "iterations": 1000,
    }

    backbones: list[str] = Field(["random", "last"], min_length=1, description=_BACKBONES)
    costs: list[Positive] = Field(
        [0.01, 0.1, 1.0, 10.0], min_length=1, description="values of C, of which each class's best"
    )
    folds: int = Field(3, ge=2, description="of the cross-validation that chooses C")
    positive_weight: Positive = Field(2.0, description="weight of the images that show the class")
    iterations: int = Field(2000, ge=1, description="of the solver, at most")


class ImagenetLinear(_Cropped):
    """ImageNet classification: a linear layer on frozen features (VirTex, section 4.2)."""

    SHORT: ClassVar[dict[str, Any]] = {"images_per_class": 130, "epochs": 20}

    images_per_class: int | None = Field(
        None, ge=1, description="training images of a class, at most; null: all"
    )
    area: list[Area] = Field(
        [0.08, 1.0],
        min_length=2,
        max_length=2,
        description="area of a training crop as a share of the image",
    )
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(256, ge=1, description="images of a step, over all processes")
    rate: Positive = Field(0.3, description="learning rate, which falls to 0 by a cosine")
    momentum: Momentum = 0.9
    weight_decay: NonNegative = 0.0
    precision: Precision = Field("auto", description=PRECISION)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.area[0] > self.area[1]:
            raise ValueError("'area' must be [low, high] with low <= high")
        return self


Iterations = Annotated[int, Field(ge=1, description="optimiser steps")]
Milestones = Annotated[list[int], Field(description="steps at which the rate falls to a tenth")]
Warmup = Annotated[
    int, Field(ge=0, description="steps in which the rate rises, from a thousandth of it")
]
Sides = Annotated[
    list[int],
    Field(
        min_length=1,
        description="short sides, of which one is drawn for each image in training, in pixels",
    ),
]


class Detection(_Scheduled):
    """What both evaluations that train a detector share."""

    SHORT: ClassVar[dict[str, Any]] = {
        "batch_size": 8,
        "rate": 0.01,
        "sides": [320, 352, 384, 416, 448, 480],
        "test_side": 480,
        "longest": 800,
    }

    iterations: Iterations
    milestones: Milestones
    warmup: Warmup
    batch_size: int = Field(16, ge=1, description="images of a step, over all processes")
    rate: Positive = Field(0.02, description="learning rate")
    momentum: Momentum = 0.9
    weight_decay: NonNegative = Field(1e-4, description="not of BatchNorm")
    sides: Sides
    test_side: int = Field(800, ge=32, description="short side in testing, in pixels")
    longest: int = Field(1333, ge=32, description="long side, at most, in pixels")
    batchnorm: int = Field(
        200,
        ge=0,
        description="steps after training in which BatchNorm's statistics are measured anew; 0: "
        "score with the running ones",
    )
    precision: Precision = Field("auto", description=PRECISION)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        steps = [0, *self.milestones, self.iterations]
        if sorted(set(steps)) != steps:
            raise ValueError("'milestones' must rise, and lie below 'iterations'")
        sides = [*self.sides, self.test_side]
        if min(sides) < 32 or max(sides) > self.longest:
            raise ValueError("'sides' and 'test_side' must lie in 32 … 'longest'")
        return self


class VocDetection(Detection):
    """VOC07+12 detection: Faster R-CNN, all layers trained (MoCo, He et al., 2020)."""

    SHORT: ClassVar[dict[str, Any]] = Detection.SHORT | {
        "iterations": 6000,
        "milestones": [4500, 5500],
    }

    iterations: Iterations = 24000
    milestones: Milestones = Field([18000, 22000])
    warmup: Warmup = 100
    sides: Sides = Field(list(range(480, 801, 32)))


class CocoInstances(Detection):
    """COCO instance segmentation: Mask R-CNN, all layers trained (MoCo, He et al., 2020)."""

    SHORT: ClassVar[dict[str, Any]] = Detection.SHORT | {
        "iterations": 22500,
        "milestones": [15000, 20000],
    }

    iterations: Iterations = 180000
    milestones: Milestones = Field([120000, 160000])
    warmup: Warmup = 1000
    sides: Sides = Field(list(range(640, 801, 32)))


Name = Literal[
    "objects", "segmentation", "voc_svm", "voc_detection", "imagenet_linear", "coco_instances"
]

# Evaluations on the run's own annotated images; the others need data sets of their own.
PROBES = ("objects", "segmentation")

# Evaluations that train networks: a job, and a file of figures, each seed.
TRAINED = ("voc_detection", "imagenet_linear", "coco_instances")


class Downstream(Section):
    """Evaluations of backbones by what they do elsewhere."""

    evaluations: list[Name] = Field(
        [], description="which of them the workflow runs; each has its settings below"
    )
    seeds: int = Field(
        3, ge=1, description="repetitions with other random numbers; tables give mean and spread"
    )
    datasets: str = Field(
        "datasets",
        description="folder with VOC2007, VOC2012, imagenet and coco, for all but `objects` and "
        "`segmentation`, which use the run's own images",
    )
    objects: Objects = Objects()
    segmentation: Segmentation = Segmentation()
    voc_svm: VocSvm = VocSvm()
    voc_detection: VocDetection = VocDetection()
    imagenet_linear: ImagenetLinear = ImagenetLinear()
    coco_instances: CocoInstances = CocoInstances()

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.evaluations)) != len(self.evaluations):
            raise ValueError("'evaluations' names one twice")
        return self

    def used_by(self, name: str, exclude_defaults: bool = False) -> dict[str, Any]:
        """The settings that change the figures of an evaluation."""
        # Repetitions of what trains are jobs of their own.
        keys = {name} if name in TRAINED else {name, "seeds"}
        used = self.model_dump(include=keys, exclude_defaults=exclude_defaults)
        used.get(name, {}).pop("backbones", None)
        return {key: value for key, value in used.items() if value != {}}
