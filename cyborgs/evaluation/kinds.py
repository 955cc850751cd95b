"""What an evaluation is: its file holds one of these, and `cyborgs.evaluation` lists them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cyborgs.evaluation.settings import Evaluated

# These load torch, and the schema and the workflow import this file.
if TYPE_CHECKING:
    import torch

    from cyborgs.evaluation.sources import Source
    from cyborgs.evaluation.task import Task
    from cyborgs.runtime.settings import Compute

S = TypeVar("S", bound=Evaluated)
D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class Evaluation(Generic[S]):
    """What all kinds share.

    Attributes:
        name: of its section of `downstream`, of its files and its rule.
        title: of its tables.
        about: what its command does.
        metrics: their keys and headings; values are shares in 0 … 1, tables show percent.
        headline: the metric in which backbones are compared.
        settings: the defaults of its section.
        version: raised when its results change for the same inputs (`cyborgs.run.provenance`).
        needed: files and folders that it reads, below `downstream.datasets`.
        fits: raises `InputError` where an architecture cannot be evaluated with these settings;
            reads no weights.
    """

    name: str
    title: str
    about: str
    metrics: Mapping[str, str]
    headline: str
    settings: S
    version: int
    needed: tuple[str, ...] = ()
    fits: Callable[[S, str], None] = lambda settings, architecture: None

    @property
    def folders(self) -> list[str]:
        """Those below `downstream.datasets` that it reads."""
        return list(dict.fromkeys(path.split("/")[0] for path in self.needed))

    @property
    def command(self) -> str:
        """Its name on the command line."""
        return self.name.replace("_", "-")

    @property
    def stage(self) -> str:
        """Its name in provenance."""
        return f"evaluate-{self.command}"


@dataclass(frozen=True)
class OwnImages:
    """Folder of a run's images, their index, and COCO instances JSON of them."""

    folder: Path
    index: Path
    annotations: Path


@dataclass(frozen=True, kw_only=True)
class Given(Generic[S, D]):
    """What a measurement of frozen features is given: its section, and what to measure on what.

    ``seeds`` is the number of repetitions, with seeds from 0; ``compute`` has threads and workers;
    ``scores`` is the file for the scores of each test image, or None.
    """

    settings: S
    data: D
    source: "Source"
    seeds: int
    device: "torch.device"
    compute: "Compute"
    scores: Path | None = None


@dataclass(frozen=True)
class Measured:
    """What a measurement of frozen features found.

    Attributes:
        rows: of each seed: ``seed``, ``test`` (how many were tested), and the metrics.
        inputs: hashes of the data, by role.
        classes: how many are told apart.
    """

    rows: list[dict[str, Any]]
    inputs: dict[str, str]
    classes: int


@dataclass(frozen=True, kw_only=True)
class Frozen(Evaluation[S], Generic[S, D]):
    """Of frozen features; all seeds in one job.

    Attributes:
        measure: raises `InputError` where data are missing, damaged, or too little.
    """

    measure: Callable[[Given[S, D]], Measured]


@dataclass(frozen=True, kw_only=True)
class OnOwnImages(Frozen[S, OwnImages]):
    """On the run's own annotated images."""


@dataclass(frozen=True, kw_only=True)
class OnDatasets(Frozen[S, Path]):
    """On data sets of its own, below the folder that it is given.

    Attributes:
        scores: whether it can write the scores of each test image.
    """

    scores: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained(Evaluation[S]):
    """Trains a network that starts from the backbone; one job for each seed.

    Attributes:
        task: what is trained, from the settings and the folder `downstream.datasets`; raises
            `InputError` where data are missing, damaged, or too little.
    """

    task: "Callable[[S, Path], Task]"
