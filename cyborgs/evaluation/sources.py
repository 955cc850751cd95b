"""What can be evaluated: a backbone of this program or another, random or ImageNet weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cyborgs.checkpoints.layouts import read_checkpoint
from cyborgs.common.errors import InputError
from cyborgs.common.files import sha256
from cyborgs.common.seeding import derive
from cyborgs.models.backbones import family_of, stages_of
from cyborgs.models.backbones.backbone import Backbone

Network = Literal["online", "target"]

# Sources that are no files.
RANDOM, IMAGENET = "random", "imagenet"


@dataclass(frozen=True)
class Source:
    """A backbone to evaluate.

    Attributes:
        name: what the user called it.
        architecture: torchvision's name.
        layout: what wrote it, for people.
        digest: SHA-256 of the file; empty for random weights.
        network: "online" or "target".
        weights: by torchvision's names; None for random ones.
    """

    name: str
    architecture: str
    layout: str
    digest: str
    network: Network
    weights: dict[str, Tensor] | None

    @property
    def digests(self) -> dict[str, str]:
        """The hash of the file, by its role among a result's inputs; nothing for random weights."""
        return {"backbone": self.digest} if self.digest else {}

    def load(self, seed: int) -> Backbone:
        """The backbone in eval mode on the CPU; random weights are those of ``seed``."""
        torch.manual_seed(derive(seed, "weights"))
        backbone = Backbone(self.architecture)
        if self.weights is not None:
            backbone.load_state_dict(self.weights)
        return backbone.eval()


def find_source(name: str, architecture: str | None = None, network: Network = "online") -> Source:
    """Look at what a user names.

    Args:
        name: a file that `read_checkpoint` reads; "random"; or "imagenet", torchvision's weights
            where its cache has them.
        architecture: needed for the last two; of a file it must be that of its weights.
        network: the one that learns, or "target", its moving average.

    Raises:
        InputError: no such file, network or architecture, a file that cannot be used, or no
            architecture given.
    """
    if architecture is not None:
        try:
            stages_of(architecture)
        except InputError as error:
            raise InputError(f"--architecture: {error}") from None
    if name in (RANDOM, IMAGENET) and architecture is None:
        raise InputError(f"--backbone {name}: give --architecture, such as resnet50")
    if name == RANDOM:
        assert architecture is not None
        return Source(name, architecture, "random weights", "", "online", None)
    if name == IMAGENET:
        assert architecture is not None
        path = imagenet_weights(architecture)
    else:
        path = Path(name)
    checkpoint = read_checkpoint(path, "--backbone", architecture)
    if architecture not in (None, checkpoint.architecture):
        raise InputError(
            f"--backbone: {path} holds a {checkpoint.architecture}, not a {architecture}"
        )
    if network == "target" and not checkpoint.target:
        raise InputError(f"--network: {path} ({checkpoint.layout}) holds no moving average")
    return Source(
        name,
        checkpoint.architecture,
        checkpoint.layout,
        sha256(path),
        network,
        checkpoint.backbone(network),
    )


def imagenet_weights(architecture: str) -> Path:
    """The weights that the architecture's library publishes, in its cache.

    Raises `InputError` where the cache does not have them.
    """
    try:
        return family_of(architecture).pretrained(architecture)
    except InputError as error:
        raise InputError(f"imagenet: {error}") from None
