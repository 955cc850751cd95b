"""A backbone: a network without its head, whose intermediate features have names."""

import copy
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Self

import torch
from torch import Tensor, nn

from cyborgs.models.backbones import family_of
from cyborgs.models.normalise import normalise


class Backbone(nn.Module):
    """A backbone of any family, with random weights.

    Parameters have the names that the family's library gives them.

    Args:
        architecture: such as ``resnet50``.

    Attributes:
        architecture: as given.
        stages: by name, in order (`Place`: channels and stride).
        statistics: mean and deviation that pixels are normalised by, RGB in 0 … 255.

    Raises:
        InputError: no family has the architecture.
    """

    def __init__(self, architecture: str) -> None:
        super().__init__()
        self.architecture = architecture
        self._family = family_of(architecture)
        self.stages = {stage.name: stage for stage in self._family.stages(architecture)}
        self.statistics = self._family.statistics(architecture)
        for name, module in self._family.network(architecture).named_children():
            self.add_module(name, module)

    @property
    def last(self) -> str:
        """Name of the last stage."""
        return next(reversed(self.stages))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs of all stages, of shape ``(batch, channels, height / s, width / s)``.

        ``images``: float ``(batch, 3, height, width)``, normalised; ``s`` is a stage's stride.
        """
        return self._family.stage_outputs(self, images, self.architecture)

    def aligned(self, images: Tensor, places: Sequence[str]) -> dict[str, Tensor]:
        """Outputs of some stages and blocks of images of any size, by name.

        Location ``i`` of an output with stride ``s`` is centred on pixel ``s i``, as those of mask
        files are (`cyborgs.masks.alignment`).  Nothing behind the last of them is computed.

        Args:
            images: normalised float ``(batch, 3, height, width)``.
            places: names of stages or blocks, such as ``layer2`` and ``layer2.2``.
        """
        return self._family.aligned(self, images, places, self.architecture)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 RGB ``(batch, height, width, 3)`` to float32 ``(batch, 3, height, width)``."""
        return normalise(images, self.statistics)

    def depths(self) -> dict[str, int]:
        """The layer of each parameter by its name, counted from the images."""
        return self._family.depths(self)

    def without_decay(self) -> frozenset[str]:
        """Parameters of more than one dimension that weight decay would harm."""
        return self._family.without_decay(self)

    def freeze_unused(self, stages: Sequence[str]) -> None:
        """Take weights that these stages do not depend on out of the training."""
        for name in _unused(self.architecture, tuple(stages)):
            self.get_parameter(name).requires_grad_(False)

    def for_inference(self) -> Self:
        """A copy in eval mode that is cheaper to run, and equal up to rounding."""
        backbone = copy.deepcopy(self).eval()
        self._family.simplify(backbone)
        return backbone


@cache
def _unused(architecture: str, stages: tuple[str, ...]) -> tuple[str, ...]:
    """Parameters that get no gradient from the outputs of some stages."""
    with torch.device("meta"), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        twin = Backbone(architecture).train()
        size = family_of(architecture).smallest_image(architecture)
        outputs = twin(torch.empty(2, 3, *size))
        torch.stack([outputs[name].sum() for name in stages]).sum().backward()  # type: ignore[no-untyped-call]
    return tuple(name for name, p in twin.named_parameters() if p.grad is None)


def backbone_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the backbone in that of an encoder."""
    prefix = "backbone."
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def describe_mismatch(expected: dict[str, Tensor], given: dict[str, Tensor]) -> str:
    """What is missing, unexpected or of another shape; empty where all fits."""
    wrong = [
        *(f"{k} is missing" for k in expected if k not in given),
        *(f"{k} is unexpected" for k in given if k not in expected),
        *(
            f"{k} is {tuple(given[k].shape)}, not {tuple(v.shape)}"
            for k, v in expected.items()
            if k in given and given[k].shape != v.shape
        ),
    ]
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more
