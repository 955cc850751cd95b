"""Eight-bit pixels to what the networks see, on the device that computes."""

import torch
from torch import Tensor

# Mean and standard deviation of ImageNet's training images, RGB in 0 … 255.
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)


def normalise(images: Tensor) -> Tensor:
    """uint8 RGB ``(batch, height, width, 3)`` to float32 ``(batch, 3, height, width)``.

    The result is a view in channels_last memory format, at no cost.
    """
    mean = torch.tensor(MEAN, device=images.device)
    deviation = torch.tensor(DEVIATION, device=images.device)
    return ((images.float() - mean) / deviation).permute(0, 3, 1, 2)
