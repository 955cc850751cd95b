"""The training state: everything that crosses from one round to the next, as one file.

It holds the weights of the online and target networks with their heads, the optimiser's
velocities, and the global step.  There is no random-number state to keep: every draw comes
from the seed and the item it is for (`cyborgs.seeding`).
"""

import json
import pickle
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cyborgs.errors import InputError
from cyborgs.files import atomic_write, require_file
from cyborgs.models.backbones import backbone_of

FORMAT = "cyborgs-state"
VERSION = 2

_HEADER = ("model", "round", "step", "scaler", "provenance")
_TENSORS = ("online", "target", "velocities")


@dataclass
class TrainingState:
    """A state in memory.

    Attributes:
        model: the `model` section it was made with (architecture, head sizes).
        round: 0 for the seed.
        step: optimiser steps taken, over all rounds.
        online, target: state dicts of `Online` and `Encoder`.
        velocities: momentum of each online parameter by name; empty before the first step.
        scaler: state of the loss scaling that float16 needs; empty for other precisions.
        provenance: what made it.
    """

    model: dict[str, Any]
    round: int
    step: int
    online: dict[str, Tensor]
    target: dict[str, Tensor]
    velocities: dict[str, Tensor]
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
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        # As one text: pickle writes an object that occurs twice as a reference, so equal
        # dictionaries could give different bytes.
        "header": json.dumps({name: getattr(state, name) for name in _HEADER}, sort_keys=True),
    }
    for name in _TENSORS:
        content[name] = {
            sys.intern(k): v.detach().cpu().contiguous().clone()
            for k, v in getattr(state, name).items()
        }
    try:
        with atomic_write(path) as temporary, open(temporary, "wb") as stream:
            # Through a stream: torch.save would put the file's own name into the file.
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:
        # torch turns a full disk into a RuntimeError of its own.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = " ".join((getattr(cause, "strerror", None) or str(cause)).split())[:120]
        raise InputError(f"state {path} cannot be written ({reason}); make room") from None


def load_state(path: Path) -> TrainingState:
    """Read a state onto the CPU, without running any code from the file.

    Raises `InputError` where the file is missing, damaged, foreign or of another version.
    """
    require_file(path, "state")
    try:
        # torch.load does not look at the checksums that the file carries.
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise InputError(
            f"state {path} is damaged or no checkpoint of this program "
            f"({' '.join(str(error).split())[:120]})"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"state {path} is a checkpoint of another program")
    if content["version"] != VERSION:
        raise InputError(
            f"state {path} has format version {content['version']}, this program reads "
            f"version {VERSION}"
        )
    tensors = {name: content[name] for name in _TENSORS}
    return TrainingState(**json.loads(content["header"]), **tensors)


def require_model(path: Path, state: TrainingState, model: dict[str, Any]) -> None:
    """Raise `InputError` where a state was made with another `model` section."""
    for key, wanted in model.items():
        if state.model[key] != wanted:
            raise InputError(
                f"state {path} has model.{key} {state.model[key]}, the configuration {wanted}; "
                "use the configuration of its run, or another state"
            )
