"""Settings of optimisers and of schedules of the learning rate."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.common.section import Fraction, NonNegative, Positive, Section, number

WarmupDivisor = Annotated[
    float,
    Field(
        ge=1,
        allow_inf_nan=False,
        description="the warm-up starts at the learning rate divided by this",
    ),
    BeforeValidator(number),
]


class StepSchedule(Section):
    """Linear warm-up; then the rate is multiplied by `gamma` at each milestone."""

    later: ClassVar = ("warmup_divisor",)

    kind: Literal["step"]
    warmup_epochs: int = Field(10, ge=0)
    warmup_divisor: WarmupDivisor = 100.0
    milestones: list[int] = Field([768, 784], description="epochs, counted over all rounds")
    gamma: Positive = 0.1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError("'milestones' must be in ascending order")
        if self.milestones and self.milestones[0] < self.warmup_epochs:
            raise ValueError("'milestones' must not come before the end of 'warmup_epochs'")
        return self


class CosineSchedule(Section):
    """Linear warm-up, then half a cosine down to `final_learning_rate`."""

    later: ClassVar = ("warmup_divisor",)

    kind: Literal["cosine"]
    warmup_epochs: int = Field(10, ge=0)
    warmup_divisor: WarmupDivisor = 100.0
    horizon_epochs: int = Field(
        ge=1,
        description="epoch, counted over all rounds, at which the learning rate reaches "
        "`final_learning_rate` and stays there; not derived from `rounds`, so that one more round "
        "leaves the earlier ones unchanged",
    )
    final_learning_rate: NonNegative = 1e-6

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.horizon_epochs <= self.warmup_epochs:
            raise ValueError("'horizon_epochs' must be larger than 'warmup_epochs'")
        return self


class Lars(Section):
    """Layer-wise adaptive rate scaling over momentum SGD (You et al., 2017)."""

    momentum: Fraction = 0.9
    weight_decay: NonNegative = 1.5e-6
    trust_coefficient: Positive = Field(
        1e-3, description="trust coefficient of the layer-wise adaptation"
    )


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as usual for transformers.

    Weight decay is that of weights of more than one dimension; biases, norms, position embeddings
    and tokens have none.
    """

    betas: list[Fraction] = Field(
        [0.9, 0.95], min_length=2, max_length=2, description="decay rates of the two moments"
    )
    weight_decay: NonNegative = 0.05
    layer_decay: Fraction = Field(
        1.0,
        gt=0,
        description="layer-wise decay of the learning rate: each layer of the backbone has this "
        "factor times the rate of the layer above it; use less than 1 with strong weights",
    )


class Sgd(Section):
    """Momentum SGD; as published, weight decay also applies to biases and norms."""

    momentum: Fraction = 0.9
    weight_decay: NonNegative = 1.5e-6
