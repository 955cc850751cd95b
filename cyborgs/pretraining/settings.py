"""The sections `views` and `pretrain`."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeAlias, Union

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.common.errors import InputError
from cyborgs.common.section import (
    PRECISION,
    Fraction,
    Positive,
    Precision,
    Section,
    number,
)
from cyborgs.objectives import OBJECTIVES
from cyborgs.objectives.detcon import DetConB
from cyborgs.objectives.objective import Objective
from cyborgs.objectives.vmf import Vmf
from cyborgs.training.settings import AdamW, CosineSchedule, Lars, Sgd, StepSchedule

if TYPE_CHECKING:
    AnyObjective: TypeAlias = Objective
else:
    # One of the objectives, by its `kind`.
    AnyObjective = Annotated[Union[OBJECTIVES], Field(discriminator="kind")]  # noqa: UP007


class Views(Section):
    """Random augmentation: two views of an image and its masks."""

    later: ClassVar = ("colour",)

    crop: int = Field(
        224,
        ge=1,
        description="side of a view, in pixels: a multiple of the stride of the backbone's last "
        "pooled stage (32 for ResNets)",
    )
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
        "order; published: the published program's, bit for bit. By mistake it saturates almost "
        "every pixel, but the released weights were trained with it",
    )
    brightness: Fraction = Field(0.4, description="the factor is drawn from 1 ± this value")
    contrast: Fraction = Field(0.4, description="the factor is drawn from 1 ± this value")
    saturation: Fraction = Field(0.2, description="the factor is drawn from 1 ± this value")
    hue: Annotated[
        float,
        Field(ge=0, le=0.5, description="the shift is drawn from ± this value"),
        BeforeValidator(number),
    ] = 0.1
    greyscale: Fraction = Field(0.2, description="probability of dropping colour")
    blur: list[Fraction] = Field(
        [1.0, 0.1], min_length=2, max_length=2, description="probabilities in view 1 and view 2"
    )
    blur_kernel: int = Field(23, ge=1, description="side of the Gaussian kernel, odd, in pixels")
    blur_sigma: list[Positive] = Field(
        [0.1, 2.0], min_length=2, max_length=2, description="range of sigma of the blur, in pixels"
    )
    solarise: list[Fraction] = Field(
        [0.0, 0.2], min_length=2, max_length=2, description="probabilities in view 1 and view 2"
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


class Ema(Section):
    """The target network's moving average."""

    decay: Fraction = 0.996
    horizon_epochs: int | None = Field(
        None,
        ge=1,
        description="epoch, counted over all rounds, at which a cosine brings the decay to 1 (as "
        "in DetCon); null: the decay is constant",
    )


class Pretrain(Section):
    """A pretraining round."""

    later: ClassVar = ("adamw", "fixed_masks", "scramble_masks", "sgd", "vmf")

    epochs: int | list[int] = Field(100, description="epochs of each round, or a list of them")
    batch_size: int = Field(128, ge=2, description="images per step, over all processes")
    masks: int = Field(16, ge=1, description="masks sampled from each view")
    fixed_masks: bool = Field(
        False,
        description="a control: train every round on the seed masks, and make no others",
    )
    objective: AnyObjective = DetConB(kind="detcon-b")
    scramble_masks: bool = Field(
        False,
        description="a control: permute the labels of an image's cells, with a new permutation in "
        "each epoch and the same one in both views; masks keep their number and sizes, but group "
        "random cells",
    )
    vmf: Vmf = Vmf()
    base_learning_rate: Positive = Field(
        0.2, description="learning rate at a batch of 128; it is scaled linearly with the batch"
    )
    schedule: Annotated[StepSchedule | CosineSchedule, Field(discriminator="kind")] = StepSchedule(
        kind="step"
    )
    lars: Lars = Lars()
    sgd: Sgd | None = Field(
        None, description="`{}` or its keys: momentum SGD instead of LARS; null: LARS"
    )
    adamw: AdamW | None = Field(
        None,
        description="`{}` or its keys: AdamW instead of LARS, for transformers and ConvNeXts; its "
        "learning rates are about a thousandth of those of LARS (`base_learning_rate: 1e-4`); "
        "null: LARS",
    )
    ema: Ema = Ema()
    precision: Precision = Field("auto", description=PRECISION)

    @model_validator(mode="after")
    def _epochs(self) -> Self:
        every = self.epochs_of_rounds(1)
        if not every or min(every) < 1:
            raise ValueError("'epochs' must be at least 1 in every round")
        return self

    @model_validator(mode="after")
    def _one_optimiser(self) -> Self:
        given = {"lars": self.lars != Lars(), "sgd": self.sgd, "adamw": self.adamw}
        names = [f"'{name}'" for name, own in given.items() if own not in (None, False)]
        if len(names) > 1:
            raise ValueError(
                f"{' and '.join(names)} are set together; leave out the optimisers that are not to "
                "be used"
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

    def epochs_of_rounds(self, rounds: int) -> list[int]:
        """Epochs of each round: those listed, however many, or the same for each of ``rounds``."""
        return self.epochs if isinstance(self.epochs, list) else [self.epochs] * rounds

    def for_round(self, number: int) -> Self:
        """This section with what holds for round ``number`` (from 1) alone.

        `epochs` is one number, and `fixed_masks` is false in round 1, which trains on the seed
        masks either way.  Raises `InputError` where a list of epochs has no entry for that round.
        """
        epochs = self.epochs_of_rounds(number)
        if number > len(epochs):
            raise InputError(
                f"pretrain.epochs lists {len(epochs)} rounds; round {number} has no entry"
            )
        fixed = self.fixed_masks and number > 1
        return self.model_copy(update={"fixed_masks": fixed, "epochs": epochs[number - 1]})


def check_cells(pretrain: Pretrain, views: Views, cell: int) -> None:
    """Raise `InputError` where views are no whole cells, or too few for the vMF term's clusters.

    ``cell`` is the side of one, in pixels (`cyborgs.models.settings.Model.cell`).
    """
    if views.crop % cell:
        near = max(cell, views.crop // cell * cell)
        raise InputError(
            f"views.crop: {views.crop} is not a multiple of {cell}, the stride of the backbone's "
            f"last pooled stage; take {near} or {near + cell}"
        )
    most, grid = pretrain.vmf.clusters[1], views.crop // cell
    locations = 2 * pretrain.batch_size * grid * grid
    if pretrain.vmf.weight > 0 and most > locations:
        raise InputError(
            f"pretrain.vmf.clusters: up to {most} clusters, but a step has {locations} locations: "
            f"2 views of {pretrain.batch_size} images (pretrain.batch_size) with {grid} x {grid} "
            f"cells (views.crop / {cell})"
        )
