"""Stage `export`: the backbone of a state, as other programs load it."""

import io
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from cyborgs.checkpoints.detectron2 import detectron2_file, detectron2_settings
from cyborgs.checkpoints.layouts import published_names
from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write, sha256
from cyborgs.common.progress import say
from cyborgs.models.backbones import family_of
from cyborgs.models.backbones.resnet import BLOCKS
from cyborgs.pretraining.state import load_state
from cyborgs.run.provenance import provenance

Format = Literal["torchvision", "timm", "safetensors", "detectron2", "published"]
Network = Literal["online", "target"]


# Formats whose readers go by the name of a file.
_SUFFIXES = {"safetensors": ".safetensors", "detectron2": ".pkl"}


def run(
    state_path: Path, out: Path, form: Format = "torchvision", network: Network = "online"
) -> None:
    """Write a backbone of a state.

    Args:
        state_path: the state.
        out: the file to write.
        form: "torchvision" or "timm", which are one: a state dict under the key ``state_dict``,
            which loads into ``torchvision.models.<architecture>()`` with only ``fc`` missing, and
            into timm's network of the same name with ``num_classes=0``; its keys ``architecture``
            and ``provenance`` say what it is.  A backbone of timm loads into
            ``timm.create_model(NAME, num_classes=0)`` in either.  "safetensors", the same weights,
            and their architecture among its metadata.  "detectron2", a `.pkl`, and beside it a
            `.yaml` of the settings that it needs.  "published", both networks and their heads by
            the names of the published program, under ``state_dict``.
        network: the one that learns, or its moving average.

    Raises:
        InputError: the state cannot be read, Detectron2 has no such network, or the file's name
            is another format's.
    """
    wanted = _SUFFIXES.get(form)
    if out.suffix != wanted and (wanted or out.suffix in _SUFFIXES.values()):
        wanted = wanted or ".pth"
        raise InputError(f"--out: {out} does not fit --format {form}; end the name with {wanted}")
    settings_file = out.with_suffix(".yaml")
    if form == "detectron2" and settings_file.exists() and not out.exists():
        raise InputError(
            f"--out: {settings_file}, where Detectron2's settings go, exists and is of something "
            "else; choose another name, or remove it"
        )
    state = load_state(state_path)
    if form in ("detectron2", "published") and state.architecture not in BLOCKS:
        raise InputError(
            f"--format {form}: {state.architecture} is not a ResNet; take torchvision, timm or "
            "safetensors"
        )
    family = family_of(state.architecture)
    weights = family.public_names(state.backbone(network))
    if form == "published" and network != "online":
        raise InputError("--network: the published program's file holds both; leave it out")
    if form in ("torchvision", "timm", "published"):
        settings = {} if network == "online" else {"network": network}
        if form == "published":
            weights = published_names(state.online, state.target)
        content = {
            "state_dict": weights,
            "architecture": state.architecture,
            "provenance": provenance(
                "export", settings, {"state": sha256(state_path)}, libraries=family.libraries
            ),
        }
        # In memory first: torch has errors of its own for a full disk.
        written = io.BytesIO()
        torch.save(content, written)
        with atomic_write(out) as temporary:
            temporary.write_bytes(written.getbuffer())
    elif form == "safetensors":
        plain = {name: value.contiguous() for name, value in weights.items()}
        with atomic_write(out) as temporary:
            save_file(plain, temporary, {"architecture": state.architecture})
    else:
        pickled = detectron2_file(state.architecture, weights)
        yaml = detectron2_settings(state.architecture, out.name)
        # Both or none.
        with atomic_write(settings_file) as beside, atomic_write(out) as temporary:
            beside.write_text(yaml)
            temporary.write_bytes(pickled)
    say(f"export: {network} {state.architecture} after round {state.round} in {out}")
