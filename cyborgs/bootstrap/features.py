"""Features of whole images at full resolution, from one block of a backbone."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cyborgs.models.backbones import family_of
from cyborgs.models.backbones.backbone import Backbone

# Pixels in one GPU batch: 16 images of COCO's most frequent size.
TOGETHER = 16 * 640 * 480


class FeatureExtractor:
    """Runs a backbone up to a block, in eval mode.

    A convolution's rounding may depend on the batch that it is part of, so only images of one
    group, whose masks depend on one another anyway, are ever taken together; and only on GPUs,
    where that pays.

    Args:
        backbone: copied.
        block: such as ``layer2.2``.
        device: of the computation.
        precision: of the computation, ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(
        self, backbone: Backbone, block: str, device: torch.device, precision: torch.dtype
    ) -> None:
        self._backbone = backbone.for_inference().to(device, precision)
        self._backbone.to(memory_format=torch.channels_last)
        self._block = block
        self._device = device
        self._precision = precision

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor]:
        """Features of RGB images ``(height, width, 3)`` of one group, in their order.

        Returns ``(rows, cols, channels)`` of each, in the precision of the computation, every
        location of unit length.
        """
        found: dict[int, torch.Tensor] = {}
        for batch in self._batches(images):
            found |= zip(batch, self._features([images[i] for i in batch]), strict=True)
        return [found[i] for i in range(len(images))]

    def _batches(self, images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """Which images are taken together: on a GPU those of one size, up to `TOGETHER`."""
        if self._device.type == "cpu":
            return [[i] for i in range(len(images))]
        batches = []
        by_size = sorted(range(len(images)), key=lambda i: images[i].shape)
        for shape, alike in groupby(by_size, key=lambda i: images[i].shape):
            every, most = list(alike), max(1, TOGETHER // (shape[0] * shape[1]))
            batches += [every[i : i + most] for i in range(0, len(every), most)]
        return batches

    @torch.inference_mode()
    def _features(self, images: list[NDArray[np.uint8]]) -> torch.Tensor:
        batch = torch.empty(
            len(images), *images[0].shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda"
        )
        for row, image in zip(batch, images, strict=True):
            row.copy_(torch.from_numpy(image))
        batch = batch.to(self._device, non_blocking=True)
        batch = self._backbone.normalise(batch).to(self._precision)
        features = self._backbone.aligned(batch, [self._block])[self._block]
        # (batch, channels, rows, cols) in channels_last: the permuted view is contiguous.
        return F.normalize(features.permute(0, 2, 3, 1), dim=-1)


def memory_needed(
    architecture: str,
    block: str,
    *,
    height: int,
    width: int,
    precision: torch.dtype,
    device: torch.device,
) -> int:
    """Bytes that the features of an image of this size take while they are computed, about.

    Measured on the CPU (``python tests/bench/backbones.py --memory``).  A GPU takes several of a
    group together.
    """
    family, itemsize, pixels = family_of(architecture), precision.itemsize, height * width
    if device.type == "cuda":
        of_one = family.memory(architecture, block, pixels=pixels, itemsize=itemsize)
        return of_one * max(pixels, TOGETHER) // pixels
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        # Without these instructions, a CPU converts bfloat16 to float32 to convolve.
        itemsize = torch.float32.itemsize
    return family.memory(architecture, block, pixels=pixels, itemsize=itemsize)
