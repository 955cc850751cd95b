"""What every family of backbones has: architectures, the places in them, and their networks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cyborgs.common.errors import InputError
from cyborgs.models.backbones.published import Published

# The workflow reads its configuration, which names architectures, without PyTorch.
if TYPE_CHECKING:
    from torch import Tensor, nn

# Mean and standard deviation of each colour, RGB in 0 … 255.
Statistics: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]


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

    # Whether training and pooling take crops that are no multiple of the last stage's stride.
    takes_any_size: bool = False

    # Distributions whose version can change what a network computes, beside those that every
    # record of provenance has.
    libraries: tuple[str, ...] = ()

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
    def clustered(self, architecture: str) -> str:
        """Block or stage whose features make masks, where nobody names another."""

    @abstractmethod
    def network(self, architecture: str) -> "nn.Module":
        """A network with random weights and no head; the backbone takes over its children."""

    @abstractmethod
    def statistics(self, architecture: str) -> Statistics:
        """What pixels are normalised by."""

    @abstractmethod
    def smallest_image(self, architecture: str) -> tuple[int, int]:
        """Height and width of an image that goes through a network, in pixels."""

    @abstractmethod
    def stage_outputs(
        self, backbone: "nn.Module", images: "Tensor", architecture: str
    ) -> "dict[str, Tensor]":
        """Outputs of all stages by name, each ``(batch, channels, rows, cols)``.

        Args:
            backbone: with the children of `network`.
            images: normalised float ``(batch, 3, height, width)``, whose sides are multiples of
                the last stage's stride.
            architecture: of the backbone.
        """

    @abstractmethod
    def aligned(
        self, backbone: "nn.Module", images: "Tensor", places: Sequence[str], architecture: str
    ) -> "dict[str, Tensor]":
        """Outputs of some stages and blocks, of images of any size, on the grid of mask files.

        Location ``i`` of an output with stride ``s`` is centred on pixel ``s i``, and a side of
        ``n`` pixels has ``ceil(n / s)`` of them (`cyborgs.masks.alignment`).  Nothing behind the
        last of the places is computed.
        """

    @abstractmethod
    def memory(self, architecture: str, place: str, *, pixels: int, itemsize: int) -> int:
        """Bytes that a process needs, about, while `aligned` computes one image up to one place.

        The image itself, normalised, is among them.  Where a network's memory grows faster than
        with the number of pixels, so does this.

        Args:
            architecture: of the backbone.
            place: a stage or block.
            pixels: of the image.
            itemsize: bytes of a number, of the precision of the computation.
        """

    @abstractmethod
    def simplify(self, backbone: "nn.Module") -> None:
        """Make inference cheaper at the same result, up to rounding: in place, in eval mode."""

    @abstractmethod
    def depths(self, backbone: "nn.Module") -> dict[str, int]:
        """The layer of each parameter by name, counted from the images: for layer-wise decay."""

    def without_decay(self, backbone: "nn.Module") -> frozenset[str]:
        """Parameters of more than one dimension that weight decay would harm; none by default."""
        return frozenset()

    @abstractmethod
    def public_names(self, weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Weights of a backbone by the names of the library that the network comes from."""

    @abstractmethod
    def published(self, architecture: str) -> Published:
        """The weights that its library publishes; raises `InputError` where there are none."""

    def pretrained(self, architecture: str) -> Path:
        """The file of these weights in the library's cache.

        Raises `InputError`, which says how to fetch it, where the cache does not have it.
        """
        published = self.published(architecture)
        path = published.cached()
        if path is None:
            raise InputError(
                f"the published weights of {architecture} are not in {published.place}; "
                f"`cyborgs data weights {architecture}` fetches them"
            )
        return path

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
