"""Eight-bit pixels to what the networks see, on the device that computes."""

from functools import lru_cache

import torch
from torch import Tensor

# Mean and standard deviation of ImageNet's training images, RGB in 0 … 255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB ``(batch, height, width, 3)`` to float32 ``(batch, 3, height, width)``.

    The result is a view in channels_last memory format, at no cost.
    """
    mean, deviation = _constants(images.device)
    return ((images.float() - mean) / deviation).permute(0, 3, 1, 2)


@lru_cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept: a copy to a GPU would wait for all that it still has to do.
    with torch.inference_mode(False):
        return torch.tensor(MEAN, device=device), torch.tensor(DEVIATION, device=device)
