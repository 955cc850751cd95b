"""Features of whole images at full resolution, from one block of a backbone."""

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cyborgs.models.backbones import LAYERS, Backbone
from cyborgs.models.normalise import normalise


class FeatureExtractor:
    """Runs a backbone up to a block, in eval mode, one image at a time.

    One at a time, because a convolution's rounding may depend on the batch it is part of,
    and a mask must not depend on its neighbours in it.

    Args:
        backbone: copied.
        block: such as ``layer2.2``.
        device: of the computation.
        precision: of the computation, ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(
        self, backbone: Backbone, block: str, device: torch.device, precision: torch.dtype
    ) -> None:
        self._backbone = _without_normalisation(backbone).to(device, precision)
        self._backbone.to(memory_format=torch.channels_last)
        self._block = block
        self._device = device
        self._precision = precision

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Features of an RGB image ``(height, width, 3)``.

        Returns ``(rows, cols, channels)`` in the precision of the computation, every location of
        unit length.
        """
        batch = torch.from_numpy(image)[None].to(self._device)
        features = self._backbone.up_to(normalise(batch).to(self._precision), self._block)
        # (1, channels, rows, cols) in channels_last: the permuted view is contiguous.
        return F.normalize(features[0].permute(1, 2, 0), dim=-1)


def memory_needed(height: int, width: int, precision: torch.dtype, device: torch.device) -> int:
    """Bytes that the features of an image of this size take while they are computed, about.

    The widest part of every architecture is layer1, at a sixteenth of the pixels; the figure was
    measured on the CPU.
    """
    itemsize = precision.itemsize
    if device.type == "cpu" and not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        # Other CPUs convolve bfloat16 by way of float32.
        itemsize = torch.float32.itemsize
    return 45 * itemsize * height * width


def _without_normalisation(backbone: Backbone) -> Backbone:
    """A copy in eval mode, whose BatchNorms are part of the convolutions before them."""
    backbone = copy.deepcopy(backbone).eval()
    blocks: list[Any] = [backbone, *(b for name in LAYERS for b in getattr(backbone, name))]
    for block in blocks:
        for name, norm in list(block.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                conv = name.replace("bn", "conv")
                setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), norm))
                setattr(block, name, nn.Identity())
        if getattr(block, "downsample", None) is not None:
            block.downsample = fuse_conv_bn_eval(*block.downsample)
    return backbone
