"""The schema: every section, its keys, their types, bounds and defaults."""

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, Union

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.common.errors import InputError
from cyborgs.common.section import (
    MOST_LABELS,
    PRECISION,
    Fraction,
    NonNegative,
    Positive,
    Precision,
    Section,
    number,
)
from cyborgs.config.downstream import Downstream
from cyborgs.mask_methods import METHODS
from cyborgs.mask_methods.felzenszwalb import Felzenszwalb
from cyborgs.mask_methods.method import MaskMethod
from cyborgs.objectives import OBJECTIVES
from cyborgs.objectives.detcon import DetConB
from cyborgs.objectives.objective import Objective
from cyborgs.objectives.vmf import Vmf

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

# A training cell is one location of layer4's grid, this many pixels a side.
CELL = 32


class Scenes(Section):
    """Labelled scenes drawn by the program itself: the embedded data."""

    images: int = Field(320, ge=1, description="number of scenes")
    seed: int = Field(0, ge=0, description="of the drawing; apart from the run's own")
    height: int = Field(192, ge=64, description="pixels")
    width: int = Field(256, ge=64, description="pixels")


class Data(Section):
    """What to train on: exactly one of `images` and `scenes`."""

    images: str | None = Field(None, description="folder of images, searched recursively")
    list: str | None = Field(
        None,
        description="file that names the images to take from that folder, one a line, by their "
        "paths below it; null: all of them",
    )
    annotations: str | None = Field(
        None,
        description="COCO instances JSON of those images, for measuring masks (never for training)",
    )
    short_side: int | None = Field(
        None,
        ge=CELL,
        description="make a copy of the images with this short side first, in pixels, and use "
        "that; annotations are scaled in step; null: the images as they are",
    )
    scenes: Scenes | None = Field(None, description="draw scenes instead of reading images")
    on_bad_image: Literal["error", "skip"] = Field(
        "error",
        description="where an image cannot be decoded: stop, or leave it out and list it",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.images is None) == (self.scenes is None):
            raise ValueError("give exactly one of the keys 'images' and 'scenes'")
        if self.scenes is not None and self.annotations is not None:
            raise ValueError("'annotations' goes with 'images'; scenes bring their own")
        if self.scenes is not None and (self.list, self.short_side) != (None, None):
            raise ValueError("'list' and 'short_side' go with 'images'")
        return self

    @property
    def labelled(self) -> bool:
        """Whether there is ground truth to measure masks against."""
        return self.scenes is not None or self.annotations is not None


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


# One of the methods and of the objectives, by its `kind`.
if TYPE_CHECKING:
    SeedMasks: TypeAlias = MaskMethod
    AnyObjective: TypeAlias = Objective
else:
    SeedMasks = Annotated[Union[METHODS], Field(discriminator="kind")]  # noqa: UP007
    AnyObjective = Annotated[Union[OBJECTIVES], Field(discriminator="kind")]  # noqa: UP007


class Views(Section):
    """Random augmentation: two views of an image and its masks."""

    later: ClassVar = ("colour",)

    crop: int = Field(224, ge=CELL, multiple_of=CELL, description="side of a view, in pixels")
    area: list[Fraction] = Field(
        [0.08, 1.0], min_length=2, max_length=2, description="crop area as a share of the image"
    )
    ratio: list[Positive] = Field(
        [3 / 4, 4 / 3], min_length=2, max_length=2, description="width over height of a crop"
    )
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    jitter: Fraction = Field(0.8, description="probability of colour jitter")
    colour: Literal["detcon-like", "published"] = Field(
        "detcon-like",
        description="which colour jitter. detcon-like: torchvision's four changes in random "
        "order; published: that of the published program, to the bit, which saturates almost "
        "every pixel: a mistake, but the released weights were trained with it",
    )
    brightness: Fraction = Field(0.4, description="its factor is drawn from 1 ± this")
    contrast: Fraction = Field(0.4, description="its factor is drawn from 1 ± this")
    saturation: Fraction = Field(0.2, description="its factor is drawn from 1 ± this")
    hue: Annotated[
        float,
        Field(ge=0, le=0.5, description="its shift is drawn from ± this"),
        BeforeValidator(number),
    ] = 0.1
    greyscale: Fraction = Field(0.2, description="probability of dropping colour")
    blur: list[Fraction] = Field(
        [1.0, 0.1], min_length=2, max_length=2, description="probability in view 1 and view 2"
    )
    blur_kernel: int = Field(23, ge=1, description="side of the Gaussian kernel, odd, in pixels")
    blur_sigma: list[Positive] = Field(
        [0.1, 2.0], min_length=2, max_length=2, description="range of the blur, in pixels"
    )
    solarise: list[Fraction] = Field(
        [0.0, 0.2], min_length=2, max_length=2, description="probability in view 1 and view 2"
    )

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for name in ("area", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"'{name}' must be [low, high] with 0 < low <= high")
        if self.blur_kernel % 2 == 0:
            raise ValueError("'blur_kernel' must be odd")
        return self


WarmupDivisor = Annotated[
    float,
    Field(
        ge=1,
        allow_inf_nan=False,
        description="the warm-up begins at the base rate divided by this",
    ),
    BeforeValidator(number),
]


class StepSchedule(Section):
    """Linear warm-up, then the rate times `gamma` at each milestone."""

    later: ClassVar = ("warmup_divisor",)

    kind: Literal["step"]
    warmup_epochs: int = Field(10, ge=0)
    warmup_divisor: WarmupDivisor = 100.0
    milestones: list[int] = Field([768, 784], description="epochs, counted over all rounds")
    gamma: Positive = 0.1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError("'milestones' must rise")
        if self.milestones and self.milestones[0] < self.warmup_epochs:
            raise ValueError("'milestones' must not come before the end of 'warmup_epochs'")
        return self


class CosineSchedule(Section):
    """Linear warm-up, then half a cosine down to `final_rate`."""

    later: ClassVar = ("warmup_divisor",)

    kind: Literal["cosine"]
    warmup_epochs: int = Field(10, ge=0)
    warmup_divisor: WarmupDivisor = 100.0
    horizon_epochs: int = Field(
        ge=1,
        description="epoch, counted over all rounds, at which the rate reaches `final_rate` and "
        "stays; stated, not derived, so that one more round leaves earlier ones as they are",
    )
    final_rate: NonNegative = 1e-6

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.horizon_epochs <= self.warmup_epochs:
            raise ValueError("'horizon_epochs' must be larger than 'warmup_epochs'")
        return self


class Lars(Section):
    """Layer-wise adaptive rate scaling over momentum SGD (You et al., 2017)."""

    momentum: Fraction = 0.9
    weight_decay: NonNegative = 1.5e-6
    trust: Positive = Field(1e-3, description="trust coefficient of the layer-wise adaptation")


class Sgd(Section):
    """Momentum SGD; weight decay on every parameter, biases and norms too, as published."""

    momentum: Fraction = 0.9
    weight_decay: NonNegative = 1.5e-6


class Ema(Section):
    """The target network's moving average."""

    decay: Fraction = 0.996
    horizon_epochs: int | None = Field(
        None,
        ge=1,
        description="epoch, counted over all rounds, at which a cosine takes the decay to 1 (as "
        "DetCon does); null: constant",
    )


class Pretrain(Section):
    """A pretraining round."""

    later: ClassVar = ("fixed_masks", "scramble_masks", "sgd", "vmf")

    epochs: int | list[int] = Field(100, description="epochs of each round, or a list of them")
    batch_size: int = Field(128, ge=2, description="images of a step, over all processes")
    masks: int = Field(16, ge=1, description="masks sampled from a view")
    fixed_masks: bool = Field(
        False,
        description="train every round on the seed masks and make no others (a control)",
    )
    objective: AnyObjective = DetConB(kind="detcon-b")
    scramble_masks: bool = Field(
        False,
        description="control: permute the labels of an image's cells over their locations, anew "
        "each epoch, alike in both views; masks keep their number and sizes, and what they group "
        "is chance",
    )
    vmf: Vmf = Vmf()
    base_rate: Positive = Field(0.2, description="learning rate at a batch of 128; scaled linearly")
    schedule: Annotated[StepSchedule | CosineSchedule, Field(discriminator="kind")] = StepSchedule(
        kind="step"
    )
    lars: Lars = Lars()
    sgd: Sgd | None = Field(
        None, description="`{}` or its keys: momentum SGD instead of LARS; null: LARS"
    )
    ema: Ema = Ema()
    precision: Precision = Field("auto", description=PRECISION)

    @model_validator(mode="after")
    def _epochs(self) -> Self:
        every = self.epochs if isinstance(self.epochs, list) else [self.epochs]
        if not every or min(every) < 1:
            raise ValueError("'epochs' must be at least 1 in every round")
        return self

    @model_validator(mode="after")
    def _one_optimiser(self) -> Self:
        if self.sgd is not None and self.lars != Lars():
            raise ValueError(
                "'sgd' and 'lars' are both set; leave out the optimiser that is not to be used"
            )
        return self

    def recorded(self) -> dict[str, Any]:
        """As `Section.recorded`; DetCon-B's keys stand where they were before it had a section."""
        found = super().recorded()
        if not isinstance(self.objective, DetConB):
            return found
        own = {name: value for name, value in found["objective"].items() if name != "kind"}
        return {
            name: value
            for key, whole in found.items()
            for name, value in (own if key == "objective" else {key: whole}).items()
        }

    def for_round(self, number: int) -> Self:
        """This section with what holds for round ``number`` (from 1) alone.

        `epochs` is one number, and `fixed_masks` is false in round 1, which trains on the seed
        masks either way.  Raises `InputError` where a list of epochs has no entry for that round.
        """
        resolved: dict[str, Any] = {"fixed_masks": self.fixed_masks and number > 1}
        if isinstance(self.epochs, list):
            if number > len(self.epochs):
                raise InputError(
                    f"pretrain.epochs lists {len(self.epochs)} rounds; round {number} has no entry"
                )
            resolved["epochs"] = self.epochs[number - 1]
        return self.model_copy(update=resolved)


class Bootstrap(Section):
    """Masks from features."""

    block: str = Field(
        "layer2.2", pattern=r"^layer[1-4]\.\d+$", description="residual block that is clustered"
    )
    group: int = Field(16, ge=1, description="images clustered together")
    clusters: list[int] = Field(
        [2, 256],
        min_length=2,
        max_length=2,
        description="range K is drawn from, once a group",
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
    def _exact(self) -> Self:
        fields = type(self).model_fields
        of_ours = ("sample", "refinements", "tolerance")
        idle = [name for name in of_ours if getattr(self, name) != fields[name].default]
        if self.exact and idle:
            raise ValueError(
                f"'exact' is true, so that {', '.join(map(repr, idle))} would have no effect; set "
                "'exact' to false, or leave them out"
            )
        return self


class Quality(Section):
    """Measuring masks against ground truth, where there is any."""

    clusters: list[int] = Field(
        [8], description="fixed K at which every round's features are clustered and compared"
    )
    images: int = Field(
        1000, ge=1, description="images of the fixed-K comparison (rounded up to whole groups)"
    )

    @model_validator(mode="after")
    def _clusters(self) -> Self:
        if any(not 1 <= k <= MOST_LABELS for k in self.clusters):
            raise ValueError(f"'clusters' must lie in 1 … {MOST_LABELS}")
        if len(set(self.clusters)) != len(self.clusters):
            raise ValueError("'clusters' names a K twice")
        return self


class Compute(Section):
    """Where and how fast: changes here rerun nothing."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a GPU if there is one"
    )
    processes: int = Field(
        1,
        ge=1,
        description="training processes on a node, one a GPU (several on CPUs change the result)",
    )
    nodes: int = Field(1, ge=1, description="nodes that train together, in a SLURM job")
    threads: int = Field(
        2, ge=1, description="compute threads of a job; pinned, whatever --cores says"
    )
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="compile the backbones in training (`torch.compile`), with which each job "
        "begins, for about a minute; auto: where one process trains on a GPU, in rounds of 5,000 "
        "steps or more",
    )
    workers: int = Field(2, ge=0, description="loader processes of a training process")
    checkpoint_minutes: NonNegative = Field(
        5.0, description="minutes between rolling checkpoints; what a killed round loses at most"
    )
    leave_minutes: NonNegative = Field(
        2.0,
        description="minutes before the time limit of a SLURM job at which training saves and "
        "leaves (at most half of the time that it has)",
    )

    @property
    def gpu(self) -> int:
        """GPUs of a process, for executors that hand them out."""
        return 1 if self.device == "cuda" else 0

    @property
    def places(self) -> dict[str, int | str]:
        """What a training asks a cluster for, as resources of Snakemake.

        All its GPUs on one node, or as many on each of several, on which the command starts itself
        by srun.
        """
        if self.nodes == 1:
            return {"nodes": 1, "gpu": self.gpu * self.processes}
        places: dict[str, int | str] = {"nodes": self.nodes, "tasks": self.nodes, "mpi": "srun"}
        if self.gpu:
            places |= {"gres": f"gpu:{self.processes}", "tasks_per_gpu": 0}
        return places


class Config(Section):
    """A run."""

    run: str = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="name: everything lies under results/<run>",
    )
    seed: int = Field(0, ge=0, description="of every random choice")
    rounds: int = Field(8, ge=1, le=99, description="pretraining rounds")
    shards: int = Field(8, ge=1, le=9999, description="mask files, and jobs, a round")
    data: Data | None = None
    model: Model = Model()
    seed_masks: SeedMasks = Felzenszwalb(kind="felzenszwalb")
    views: Views = Views()
    pretrain: Pretrain = Pretrain()
    bootstrap: Bootstrap = Bootstrap()
    quality: Quality = Quality()
    downstream: Downstream = Downstream()
    compute: Compute = Compute()

    def only(self, *sections: str) -> str:
        """The named sections as one line of JSON, defaults left out: a command's ``--config``.

        ``section.key`` is one key of a section.
        """
        include: dict[str, Any] = {}
        for section in sections:
            name, _, key = section.partition(".")
            include[name] = {key} if key else True
        chosen = self.model_dump(include=include, exclude_defaults=True)
        # Of a section whose other keys alone are set, nothing is left.
        return json.dumps({k: v for k, v in chosen.items() if v != {}}, sort_keys=True)

    def only_evaluation(self, name: str) -> str:
        """What an evaluation uses of `downstream`, as `only` has it."""
        chosen = self.downstream.used_by(name, exclude_defaults=True)
        return json.dumps({"downstream": chosen} if chosen else {}, sort_keys=True)

    def for_round(self, number: int) -> Self:
        """This configuration with `pretrain` as it is in round ``number``."""
        return self.model_copy(update={"pretrain": self.pretrain.for_round(number)})

    def at_fixed_k(self, clusters: int) -> Self:
        """This configuration with one shard, whose groups all have the same K."""
        fixed = self.bootstrap.model_copy(update={"clusters": [clusters, clusters]})
        return self.model_copy(update={"shards": 1, "bootstrap": fixed})
