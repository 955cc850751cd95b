"""Stage `export`: the backbone of a state, as other programs load it."""

from pathlib import Path

import torch

from cyborgs.files import atomic_write, sha256
from cyborgs.progress import say
from cyborgs.stages.provenance import provenance
from cyborgs.training.state import load_state


def run(state_path: Path, out: Path) -> None:
    """Write the online backbone as a torchvision state dict, under the key ``state_dict``.

    It loads into ``torchvision.models.<architecture>()`` with only ``fc`` missing.  The keys
    ``architecture`` and ``provenance`` say what it is.

    Raises `InputError` where the state cannot be read.
    """
    state = load_state(state_path)
    content = {
        "state_dict": state.backbone(),
        "architecture": state.architecture,
        "provenance": provenance("export", {}, {"state": sha256(state_path)}),
    }
    with atomic_write(out) as temporary, open(temporary, "wb") as stream:
        torch.save(content, stream)
    say(f"export: {state.architecture} after round {state.round} in {out}")
