"""Eight-bit pixels to what the networks see, on the device that computes."""

from functools import lru_cache

import torch
from torch import Tensor

from cyborgs.models.backbones.family import Statistics


def normalise(images: Tensor, statistics: Statistics) -> Tensor:
    """uint8 RGB ``(batch, height, width, 3)`` to float32 ``(batch, 3, height, width)``.

    The result is a view in channels_last memory format, at no cost.
    """
    mean, deviation = _constants(images.device, statistics)
    return ((images.float() - mean) / deviation).permute(0, 3, 1, 2)


@lru_cache
def _constants(device: torch.device, statistics: Statistics) -> tuple[Tensor, Tensor]:
    # Cached: a new copy to a GPU would wait for all of its queued work.
    with torch.inference_mode(False):
        mean, deviation = statistics
        return torch.tensor(mean, device=device), torch.tensor(deviation, device=device)
