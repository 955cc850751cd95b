"""The training state: everything that crosses from one round to the next, as one file.

It holds the weights of the online and target networks with their heads, the optimiser's
momentum_buffers, and the global step.  There is no random-number state to keep: every draw comes
from the seed and the item it is for (`cyborgs.common.seeding`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.models.backbones.backbone import backbone_of
from cyborgs.training.containers import read_container, write_container

FORMAT = "cyborgs-state"
VERSION = 2

_HEADER = ("model", "round", "step", "scaler", "provenance")
# Fields of tensors, and what they are called in a file.
_TENSORS = {"online": "online", "target": "target", "momentum_buffers": "velocities"}


@dataclass
class TrainingState:
    """A state in memory.

    Attributes:
        model: the `model` section it was made with (architecture, head sizes).
        round: 0 for the seed.
        step: optimiser steps taken, over all rounds.
        online, target: state dicts of `Online` and `Encoder`.
        momentum_buffers: what the optimiser keeps of each online parameter, as
            `cyborgs.training.stepper.Stepper.momentum` names it; empty before the first step.
        scaler: state of the loss scaling that float16 needs; empty for other precisions.
        provenance: what made it.
    """

    model: dict[str, Any]
    round: int
    step: int
    online: dict[str, Tensor]
    target: dict[str, Tensor]
    momentum_buffers: dict[str, Tensor]
    scaler: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def architecture(self) -> str:
        """The backbone's architecture."""
        return str(self.model["architecture"])

    def backbone(self, network: Literal["online", "target"] = "online") -> dict[str, Tensor]:
        """State dict of a network's backbone, by torchvision's names."""
        return backbone_of(self.online if network == "online" else self.target)


def save_state(path: Path, state: TrainingState) -> None:
    """Write a state; it appears whole or not at all, and the same state gives the same bytes.

    Raises `InputError` where it cannot be written; an older file of that name stays.
    """
    header = {name: getattr(state, name) for name in _HEADER}
    tensors = {stored: getattr(state, name) for name, stored in _TENSORS.items()}
    write_container(path, FORMAT, VERSION, header=header, tensors=tensors)


def load_state(path: Path) -> TrainingState:
    """Read a state onto the CPU, without running any code from the file.

    Raises `InputError` where the file is missing, damaged, foreign or of another version.
    """
    header, tensors = read_container(path, FORMAT, VERSION)
    return TrainingState(
        **header,
        online=tensors["online"],
        target=tensors["target"],
        momentum_buffers=tensors["velocities"],
    )


def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that has infinite values or some that are no number."""
    return next((name for name, value in weights.items() if not value.isfinite().all()), None)


def require_model(path: Path, state: TrainingState, model: dict[str, Any]) -> None:
    """Raise `InputError` where a state was made with another `model` section."""
    for key in {**state.model, **model}:
        wanted = model.get(key)
        # Keys that came later are in files only where they are set.
        if state.model.get(key) != wanted:
            raise InputError(
                f"state {path} has model.{key} {state.model.get(key)}, the configuration {wanted}; "
                "use the configuration of its run, or another state"
            )
