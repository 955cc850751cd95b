"""The evaluations that train: what each one trains, on what, and how it is scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from cyborgs.common.errors import InputError
from cyborgs.evaluation.data.detection import Annotated
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.training.finetune import Recipe

# Batches of scoring after which processes wait for one another.
MEET = 16

# Of a trained network, a device, a precision and a number of loader processes; metrics in the first
# process.
Score = Callable[[Any, torch.device, str, int], dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What an evaluation trains and how it is scored.

    Attributes:
        inputs: hashes of its data, by role.
        network: what is trained, from a backbone; heads are drawn from torch's generator.
        groups: its parameters, as SGD takes them.
        recipe: how it is trained.
        steps: how many.
        batchnorm: steps after those that measure BatchNorm's statistics.
        examples: for training, by ``(epoch, position)``, from a seed.
        collate: makes a batch of examples.
        count: number of positions.
        inspected: annotated images that are looked at before training begins.
        score: metrics on the test images.
        tested: number of test images.
        classes: number of classes.
    """

    inputs: dict[str, str]
    network: Callable[[Backbone], nn.Module]
    groups: Callable[[nn.Module], list[dict[str, Any]]]
    recipe: Recipe
    steps: int
    batchnorm: int
    examples: Callable[[int], Dataset[Any]]
    collate: Callable[[list[Any]], Any]
    count: int
    inspected: tuple[Sequence[Annotated], ...]
    score: Score
    tested: int
    classes: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch; what is left over at its end is left out."""
        return self.count // self.recipe.batch_size


def memory_remedy(name: str) -> str:
    """What to do where a GPU's memory is full in an evaluation's training."""
    return (
        f"lower downstream.{name}.batch_size, or share the batch among more GPUs "
        "(compute.processes)"
    )


def require_batch(batch_size: int, images: int, name: str, folder: Path) -> None:
    """Raise `InputError` where a folder's images for training do not make a batch."""
    if images < batch_size:
        raise InputError(
            f"downstream.{name}.batch_size: {batch_size} images a step, but {folder} has only "
            f"{images} to train on"
        )
