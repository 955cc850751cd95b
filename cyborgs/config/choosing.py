"""Settings for images and hardware: what `cyborgs run` chooses where nothing is set.

docs/choosing.md has the same as a table, and the reasons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.models.backbones import family_of, stages_named
from cyborgs.models.backbones.timm import PREFIX

# Negatives of an image are the other images of its batch; below this, hardly any are left.
LEAST_BATCH = 4

# An epoch has at least so many steps.
_STEPS = 2

# Above this short side, in pixels, images are shrunk to COCO's, for which seed masks are set.
_LARGE, _SHRUNK = 720, 480

# Bytes of a ResNet-50 at 224 pixels in bfloat16: of an image, as measured on an H100
# (docs/choosing.md), with a tenth to spare.
_BYTES = 60e6


@dataclass(frozen=True)
class Images:
    """The images of a run.

    Attributes:
        count: how many.
        height: median, in pixels.
        width: median, in pixels.
    """

    count: int
    height: int
    width: int


@dataclass(frozen=True)
class Hardware:
    """What computes a run.

    Attributes:
        cores: of the CPU, that this process may use.
        memory: bytes free on the GPU; None: computed on the CPU.
        half: whether it has instructions for bfloat16 (float16 on older GPUs).
        name: for people.
    """

    cores: int
    memory: int | None = None
    half: bool = True
    name: str = ""


@dataclass(frozen=True)
class Chosen:
    """Settings that were chosen.

    Attributes:
        settings: sections and keys, as a configuration has them.
        reasons: why, by the path of a key (``pretrain.batch_size``).
        lowered: what was lowered for few or small images or little memory, likewise: a line each.
    """

    settings: dict[str, Any]
    reasons: dict[str, str]
    lowered: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Amount:
    """What goes with a number of images: a column of the table in docs/choosing.md."""

    name: str
    batch: int
    rounds: int
    epochs: int
    clusters: int
    base_learning_rate: float
    decay: float
    shards: int


_HUNDREDS = _Amount("hundreds of images", 32, 3, 20, 32, 4.0, 0.99, 2)
_THOUSANDS = _Amount("thousands of images", 128, 3, 40, 64, 2.0, 0.99, 8)
_MANY = _Amount("many images", 512, 4, 50, 256, 0.2, 0.996, 32)


def choose(images: Images, hardware: Hardware, given: Mapping[str, Any] | None = None) -> Chosen:
    """Choose the settings of a run, but for its name, its images and its seed.

    Args:
        images: what to train on.
        hardware: what computes.
        given: values that are set, by path; others follow from `rounds`, `pretrain.epochs` and
            `model.architecture`.

    Raises:
        InputError: too few images for the smallest batch, or an unknown architecture.
    """
    given = given or {}
    least = LEAST_BATCH * _STEPS
    if images.count < least:
        raise InputError(
            f"data.images: {images.count} images are too few; at least {least} are needed, for "
            f"{_STEPS} steps an epoch at a batch of {LEAST_BATCH}, the smallest that is chosen"
        )
    gpu = hardware.memory is not None
    amount = _amount(images.count)
    lowered: dict[str, str] = {}
    architecture = str(given.get("model.architecture", "resnet50" if gpu else "resnet18"))
    crop = _crop(images, 224 if gpu else 128, architecture, lowered)
    batch = _batch(images.count, hardware, amount, lowered)
    rounds = given.get("rounds", amount.rounds)
    # On CPUs, no more than what shows an effect.
    chosen_epochs = amount.epochs if gpu else _HUNDREDS.epochs
    epochs = given.get("pretrain.epochs", chosen_epochs)
    each, total = _epochs(epochs, rounds)
    horizon = total + each
    groups = -(-images.count // 16)
    transformer = architecture.startswith(PREFIX)
    many, device = f"for {amount.name}", "on a GPU" if gpu else "on a CPU"
    pretrain: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch,
        "base_learning_rate": 1e-4 if transformer else amount.base_learning_rate,
        "schedule": {
            "kind": "cosine",
            "warmup_epochs": min(max(1, total // 10), horizon - 1),
            "horizon_epochs": horizon,
        },
        "ema": {"decay": amount.decay},
    }
    if transformer:
        pretrain["adamw"] = {}
    settings = {
        "rounds": rounds,
        "shards": min(amount.shards, groups),
        "model": {
            "architecture": architecture,
            "hidden": 4096 if gpu else 1024,
            "projection": 256 if gpu else 128,
        },
        "views": {"crop": crop},
        "pretrain": pretrain,
        "bootstrap": {
            "block": family_of(architecture).clustered(architecture),
            "clusters": [2, amount.clusters if gpu else _HUNDREDS.clusters],
        },
        "compute": {
            "threads": min(hardware.cores, 8),
            "workers": min(max(1, hardware.cores - 1), 8) if gpu else 1,
        },
    }
    short = min(images.height, images.width)
    reasons = {
        "rounds": many,
        "shards": "mask files per round, each made by one job",
        "model.architecture": device,
        "views.crop": f"pixels, {device}",
        "pretrain.epochs": f"of each round, {many if gpu else device}; more is better",
        "pretrain.batch_size": many,
        "pretrain.base_learning_rate": "of AdamW" if transformer else f"of LARS, {many}",
        "pretrain.schedule.horizon_epochs": "one round more than `rounds`, for another round",
        "bootstrap.block": "whose features make the masks",
        "bootstrap.clusters": f"range of K, {many if gpu else device}",
        "compute.threads": f"of {hardware.cores} cores",
    }
    reasons |= {key: line for key, line in lowered.items() if key in reasons}
    if short > _LARGE:
        settings["data"] = {"short_side": _SHRUNK}
        reasons["data.short_side"] = (
            f"pixels, as in COCO; the median of these images is {short}, and their seed masks "
            "would take long"
        )
    return Chosen(settings, reasons, lowered)


def _amount(count: int) -> _Amount:
    if count < 1000:
        return _HUNDREDS
    return _THOUSANDS if count < 30_000 else _MANY


def _crop(images: Images, wanted: int, architecture: str, lowered: dict[str, str]) -> int:
    """The wanted crop, or what fits small images, in whole cells."""
    cell = stages_named(architecture, None, "model.pooled")[-1].stride
    short = min(images.height, images.width)
    crop = max(cell, min(wanted, short) // cell * cell)
    if short < wanted:
        lowered["views.crop"] = f"{crop} pixels, not {wanted}, because images have {short} (median)"
    return crop


def _batch(count: int, hardware: Hardware, amount: _Amount, lowered: dict[str, str]) -> int:
    """The batch for so many images, or less: what few images or little memory allow."""
    wanted = amount.batch if hardware.memory is not None else _HUNDREDS.batch
    if hardware.memory is not None:
        fits = _power_of_two(hardware.memory / _BYTES)
        if fits < wanted:
            wanted = max(LEAST_BATCH, fits)
            lowered["pretrain.batch_size"] = (
                f"{wanted}, not {amount.batch}: a larger batch does not fit the GPU"
            )
    most = _power_of_two(count / _STEPS)
    if most < wanted:
        lowered["pretrain.batch_size"] = (
            f"{most}, not {wanted}, so that {count} images make {count // most} steps per epoch "
            f"(the smallest batch is {LEAST_BATCH})"
        )
    return min(wanted, most)


def _power_of_two(most: float) -> int:
    return 1 << max(0, int(most).bit_length() - 1)


def _epochs(epochs: Any, rounds: Any) -> tuple[int, int]:
    """Epochs of the last round, and of all; what is no number is refused by the schema later."""
    if isinstance(epochs, list) and epochs and all(isinstance(one, int) for one in epochs):
        return epochs[-1], sum(epochs)
    if isinstance(epochs, int) and isinstance(rounds, int) and min(epochs, rounds) > 0:
        return epochs, epochs * rounds
    return 1, 1
