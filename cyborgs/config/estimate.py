"""About how long a run takes: an estimate from measured speeds, before anything runs.

The speeds are those of docs/speed.md and docs/choosing.md, on the machines named there; they are
scaled to other sizes by the number of pixels, and on CPUs by the number of cores.
"""

from cyborgs.config.choosing import Hardware, Images
from cyborgs.config.schema import Config

# Images a second of training a ResNet-50 at 224 pixels: of two CPU cores with bfloat16 and without,
# and of a GPU by its bytes of memory.
_CPU = {True: 3.62, False: 1.80}
_GPU = ((60e9, 1295.0), (20e9, 380.0), (0.0, 150.0))

# Billions of multiplications of an image of 224 pixels, by which other backbones are faster.
_WORK = {"resnet18": 1.82, "resnet34": 3.67, "resnet50": 4.11, "resnet101": 7.83}

# Core seconds of Felzenszwalb's segments of an image of 640 x 480 pixels.
_SEED = 0.59

# Images of 640 x 480 pixels a second from features to masks: of two cores, with bfloat16 and
# without; and of a GPU, which waits for its images.
_MASKS = {True: 12.4, False: 6.9}
_MASKS_ON_GPU = 100.0

# Seconds that a job takes before it begins: its libraries are loaded.
_JOB = 7.0

_COCO = 640 * 480


def seconds_of(config: Config, images: Images, hardware: Hardware, jobs: int) -> float | None:
    """Seconds of a run from its beginning; None for a backbone that has not been measured.

    Args:
        config: of the run.
        images: what it trains on.
        hardware: what computes it: one GPU, or the CPU.
        jobs: number of jobs.
    """
    architecture = config.model.architecture
    if architecture not in _WORK:
        return None
    gpu = hardware.memory is not None
    if hardware.memory is not None:
        speed = next(speed for least, speed in _GPU if hardware.memory >= least)
        speed *= config.compute.processes
        masks = _MASKS_ON_GPU
    else:
        speed = _CPU[hardware.half] * hardware.cores / 2
        masks = _MASKS[hardware.half] * hardware.cores / 2
    speed *= (224 / config.views.crop) ** 2 * _WORK["resnet50"] / _WORK[architecture]
    pixels = _pixels(config, images) / _COCO
    epochs = sum(config.pretrain.epochs_of_rounds(config.rounds))
    training = images.count * epochs / speed
    made = 0 if config.pretrain.fixed_masks else config.rounds - 1
    seeds = _SEED * images.count * pixels / hardware.cores
    start = _JOB * jobs * (1 if gpu else max(1.0, 2 / hardware.cores))
    return training + seeds + made * images.count * pixels / masks + start


def _pixels(config: Config, images: Images) -> float:
    """Pixels of an image as it is used."""
    short = min(images.height, images.width)
    side = config.data.short_side if config.data is not None else None
    scale = 1.0 if side is None else min(1.0, side / short)
    return images.height * images.width * scale**2


def approximately(seconds: float) -> str:
    """A duration, as roughly as it is known."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"
