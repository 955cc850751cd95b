"""What a verdict is made from: measurements with their baselines, and how far a run is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Judgement(Enum):
    """What a comparison says; the value is its word on the page."""

    BETTER = "better"
    WORSE = "worse"
    EVEN = "no clear difference"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Difference:
    """A measured value and the baseline with which it is compared.

    Attributes:
        value, baseline: higher is better.
        interval: both ends of the 95 % interval of their difference, or None.
        over: what the interval is over, with its number: "256 images".
    """

    value: float
    baseline: float
    interval: tuple[float, float] | None
    over: str

    @property
    def delta(self) -> float:
        """The value minus its baseline."""
        return self.value - self.baseline

    @property
    def judgement(self) -> Judgement:
        """Better or worse where the interval leaves out 0."""
        if self.interval is None:
            return Judgement.UNKNOWN
        low, high = self.interval
        if low > 0:
            return Judgement.BETTER
        return Judgement.WORSE if high < 0 else Judgement.EVEN


@dataclass(frozen=True)
class Masks:
    """What is known of the masks; adjusted Rand indices.

    Attributes:
        labelled: whether there are annotations.
        round: the last one whose masks were measured.
        kind: how those were made: "K = 8".
        seed: these compared with the seed masks.
        before: these compared with masks from the features before training, made in the same way.
        made: the masks that training used last, compared with the seed masks.
        oracle: whether the seed masks are the annotations.
        fixed: whether all rounds trained on the seed masks.
        agreement: of the masks of the last two rounds, without labels.
    """

    labelled: bool = False
    round: int = 0
    kind: str = ""
    seed: Difference | None = None
    before: Difference | None = None
    made: Difference | None = None
    oracle: bool = False
    fixed: bool = False
    agreement: float | None = None


@dataclass(frozen=True)
class Backbone:
    """What an evaluation found; percent.

    Attributes:
        measure: the evaluation and its metric: "object classification, linear".
        round: of the backbone.
        random: it compared with random weights.
        initial: it compared with the weights that the run was given.
        given: whether it was given any.
        hint: the setting that measures what is not known; "" if it is set already.
    """

    measure: str = ""
    round: int = 0
    random: Difference | None = None
    initial: Difference | None = None
    given: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Health:
    """Signs of collapse.

    Attributes:
        spreads: of the projections, each epoch.
        masks: masks an image of the last round that made some, None where none did.
        seed_masks: those of the seed.
    """

    spreads: Sequence[float] = ()
    masks: float | None = None
    seed_masks: float | None = None


@dataclass(frozen=True)
class Costs:
    """What the run took.

    Attributes:
        training, masks: wall time of jobs, seconds.
        speeds: images a second, each epoch.
        memory, gpu_memory: the most that a job held, bytes; 0 where it is not known.
    """

    training: float = 0.0
    masks: float = 0.0
    speeds: Sequence[float] = ()
    memory: float = 0.0
    gpu_memory: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far the run is.

    Attributes:
        rounds: that it has in all.
        trained: that are finished.
        epochs: of the round under way.
        of_epochs: that a round has.
        missing: what else is not done yet: "mask quality".
    """

    rounds: int
    trained: int
    epochs: int = 0
    of_epochs: int = 0
    missing: Sequence[str] = ()

    @property
    def finished(self) -> bool:
        """Whether everything is done."""
        return self.trained >= self.rounds and not self.missing

    @property
    def words(self) -> str:
        """Where it is."""
        if self.trained >= self.rounds:
            return f"training is done, {' and '.join(self.missing)} still missing"
        words = f"round {self.trained + 1} of {self.rounds} under way"
        return f"{words}, {self.epochs} of {self.of_epochs} epochs" if self.epochs else words


@dataclass(frozen=True)
class Facts:
    """All that the verdict is made from."""

    progress: Progress
    masks: Masks = Masks()
    backbone: Backbone = Backbone()
    health: Health = Health()
    costs: Costs = Costs()
