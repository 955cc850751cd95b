"""What every family of backbones has: architectures, the places in them, and their networks."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyborgs.common.errors import InputError

# The workflow reads its configuration, which names architectures, without PyTorch.
if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Place:
    """Where features are taken: a stage of a backbone, or a block within a stage.

    Attributes:
        name: such as ``layer2`` (a stage) or ``layer2.2`` (a block).
        channels: of its output.
        stride: pixels between two neighbouring locations of its output.
    """

    name: str
    channels: int
    stride: int


class Family(ABC):
    """Backbones that are built alike.

    A family is one file: what the configuration must know of its architectures, and how their
    networks are built and run.  Networks are plain modules, so that PyTorch is imported inside the
    methods that need it.
    """

    @abstractmethod
    def has(self, architecture: str) -> bool:
        """Whether an architecture is one of this family; must be quick."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Architectures to suggest where a name is wrong."""

    @abstractmethod
    def stages(self, architecture: str) -> tuple[Place, ...]:
        """Stages from the first to the last; the last has the largest stride."""

    @abstractmethod
    def blocks(self, architecture: str) -> tuple[Place, ...]:
        """Blocks within the stages, in the order in which they compute."""

    @abstractmethod
    def pooled(self, architecture: str) -> tuple[str, ...]:
        """Stages whose outputs masks pool in training, unless a configuration names others."""

    @abstractmethod
    def network(self, architecture: str) -> "nn.Module":
        """A network with random weights and no head; the backbone takes over its children."""

    @abstractmethod
    def stage_outputs(self, backbone: "nn.Module", images: "Tensor") -> "dict[str, Tensor]":
        """Outputs of all stages by name, each ``(batch, channels, rows, cols)``.

        Args:
            backbone: with the children of `network`.
            images: normalised float ``(batch, 3, height, width)``.
        """

    @abstractmethod
    def output_of(self, backbone: "nn.Module", images: "Tensor", place: str) -> "Tensor":
        """Output of one stage or block; nothing behind it is computed.  Arguments as above."""

    @abstractmethod
    def simplify(self, backbone: "nn.Module") -> None:
        """Make inference cheaper at the same result, up to rounding: in place, in eval mode."""

    def place(self, architecture: str, name: str, key: str) -> Place:
        """The stage or block of this name.

        Raises `InputError`, which begins with ``key``, where the architecture has none.
        """
        stages, blocks = self.stages(architecture), self.blocks(architecture)
        for place in (*stages, *blocks):
            if place.name == name:
                return place
        within = [block.name for block in blocks if block.name.startswith(f"{name.split('.')[0]}.")]
        if within:
            hint = f"{name.split('.')[0]} ends with {within[-1]}"
        else:
            hint = f"its stages are {', '.join(stage.name for stage in stages)}"
        raise InputError(f"{key}: {architecture} has no block {name}; {hint}")
