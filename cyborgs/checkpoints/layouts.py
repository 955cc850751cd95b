"""What other programs call the weights of a ResNet, and finding it in their checkpoints.

Names are looked up in: the published program (`model/detcon.py` of CYBORGS), torchvision and timm,
MoCo (`moco/builder.py`, versions 1 to 3), both programs called detcon-pytorch, and Detectron2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cyborgs.checkpoints.reading import read_tensors
from cyborgs.config.schema import BLOCKS
from cyborgs.errors import InputError
from cyborgs.models.backbones import Backbone, backbone_of, describe_mismatch
from cyborgs.training.state import FORMAT, first_not_finite, load_state


@dataclass(frozen=True)
class _Program:
    """Where a program keeps the network that learns, and its moving average if it has one."""

    name: str
    online: str
    target: str = ""


# Parts of the networks, and what the published program calls them.
_PUBLISHED_ONLINE = {
    "backbone.": "online_encoder.net.",
    "projector.": "online_encoder.projector.net.",
    "predictor.": "online_predictor.net.",
}
_PUBLISHED_TARGET = {
    "backbone.": "target_encoder.net.",
    "projector.": "target_encoder.projector.net.",
}
_PUBLISHED = _Program(
    "the published CYBORGS program", _PUBLISHED_ONLINE["backbone."], _PUBLISHED_TARGET["backbone."]
)

# Names are without the `module.` that distributed training puts in front of them.
_PROGRAMS = (
    _PUBLISHED,
    _Program("DetCon-PyTorch", "online_network.encoder.", "target_network.encoder."),
    _Program("DetCon-PyTorch (Lightning)", "network.encoder."),
    _Program("MoCo", "encoder_q.", "encoder_k."),
    _Program("MoCo v3", "base_encoder.", "momentum_encoder."),
    _Program("Detectron2", "backbone.bottom_up."),
    _Program("Detectron2", "backbone."),
    _Program("torchvision or timm", ""),
)

# Outside of a backbone, but beside one: classifiers, and heads of contrastive training.
_BESIDE = ("fc.", "linear.", "head.", "classifier.")


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a file, by this program's names.

    Attributes:
        layout: what wrote it, for people.
        architecture: torchvision's name of the backbone.
        online: of `cyborgs.models.detcon.Online`: ``backbone.*``, and ``projector.*`` and
            ``predictor.*`` where the file has such.
        target: of `Encoder`, likewise; empty where the file has one network.
    """

    layout: str
    architecture: str
    online: dict[str, Tensor]
    target: dict[str, Tensor] = field(default_factory=dict)

    def backbone(self, network: Literal["online", "target"] = "online") -> dict[str, Tensor]:
        """State dict of a network's backbone, by torchvision's names."""
        return backbone_of(self.online if network == "online" else self.target)


def read_checkpoint(path: Path, label: str = "checkpoint") -> Checkpoint:
    """Read a checkpoint of this program or of another one.

    Args:
        path: a training state, or any file with a ResNet in it that `read_tensors` reads.
        label: what the file is to the user, for messages.

    Raises:
        InputError: it cannot be read, or holds no ResNet that this program trains; the message
            says what it looks like, and what is missing, unexpected or of another shape.  Or it
            has values that are not finite.
    """
    given = _read(path, label)
    for weights in (given.online, given.target):
        name = first_not_finite(weights)
        if name is not None:
            raise InputError(
                f"{label}: {path} ({given.layout}): {name} has values that are not finite: its "
                "training has diverged; take an earlier checkpoint"
            )
    return given


def _read(path: Path, label: str) -> Checkpoint:
    if _is_state(path):
        state = load_state(path)
        return Checkpoint(
            f"a state after round {state.round}", state.architecture, state.online, state.target
        )
    named = {
        k.removeprefix("module.").removeprefix("_orig_mod."): v
        for k, v in read_tensors(path, label).items()
    }
    program = _recognise(named)
    if program is None:
        raise InputError(f"{label}: {path} holds no ResNet; {_looks_like(named)}")
    weights = _backbone(named, program.online)
    architecture = _architecture(weights)
    if architecture is None:
        raise InputError(
            f"{label}: {path} holds a residual network of {_shape(weights)}, which is none of "
            f"{', '.join(BLOCKS)}"
        )
    online = _fit(weights, architecture, path, label)
    target = {}
    if program.target and _starts(named, program.target):
        target = _fit(_backbone(named, program.target), architecture, path, label)
    if program is _PUBLISHED:
        for part in ("projector.", "predictor."):
            online |= _renamed(named, _PUBLISHED_ONLINE[part], part)
        if target:
            target |= _renamed(named, _PUBLISHED_TARGET["projector."], "projector.")
    name = "Detectron2" if f"{program.online}stem.conv1.weight" in named else program.name
    return Checkpoint(name, architecture, online, target)


def published_names(
    online: Mapping[str, Tensor], target: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A pair of networks by the names of the published program.

    ``net.*`` and ``online_encoder.net.*`` are one network there.  Its classifier ``fc``, which it
    has and never uses, is zero.
    """
    named = _renamed(online, "backbone.", "net.")
    for weights, parts in ((online, _PUBLISHED_ONLINE), (target, _PUBLISHED_TARGET)):
        for ours, theirs in parts.items():
            named |= _renamed(weights, ours, theirs)
    width = online["backbone.layer4.0.downsample.0.weight"].shape[0]
    for prefix in ("net.", _PUBLISHED.online, _PUBLISHED.target):
        named[f"{prefix}fc.weight"] = torch.zeros(1000, width)
        named[f"{prefix}fc.bias"] = torch.zeros(1000)
    return named


def _renamed(weights: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {new + k.removeprefix(old): v for k, v in weights.items() if k.startswith(old)}


def _is_state(path: Path) -> bool:
    """Whether a file is one of this program's states, whose own reader checks every bit."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        # Its format is the first value in its pickle, near the beginning.
        return FORMAT.encode() in stream.read(4096)


def _starts(named: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether a residual network begins under a prefix, by any of the three ways to name one."""
    return (
        {f"{prefix}conv1.weight", f"{prefix}layer4.0.conv1.weight"} <= named.keys()
        or {f"{prefix}stem.conv1.weight", f"{prefix}res5.0.conv1.weight"} <= named.keys()
        or {f"{prefix}0.weight", f"{prefix}7.0.conv1.weight"} <= named.keys()
    )


def _recognise(named: Mapping[str, Tensor]) -> _Program | None:
    for program in _PROGRAMS:
        if _starts(named, program.online):
            return program
    # Some other program's, with one network in it.
    ends = "layer4.0.conv1.weight"
    found = [k.removesuffix(ends) for k in named if k.endswith(ends)]
    found = [prefix for prefix in found if _starts(named, prefix)]
    if len(found) == 1:
        return _Program(f"a program that calls it {found[0]}*", found[0])
    return None


def torchvision_name(name: str) -> str:
    """What torchvision calls a weight, from Detectron2's name or that in a plain sequence."""
    name = re.sub(r"^res(\d)\.", lambda found: f"layer{int(found[1]) - 1}.", name)
    name = re.sub(r"^stem\.", "", name)
    name = re.sub(r"\bconv(\d)\.norm\.", r"bn\1.", name)
    name = name.replace("shortcut.norm.", "downsample.1.").replace("shortcut.", "downsample.0.")
    name = re.sub(r"^0\.", "conv1.", name)
    name = re.sub(r"^1\.", "bn1.", name)
    return re.sub(r"^([4-7])\.", lambda found: f"layer{int(found[1]) - 3}.", name)


def _backbone(named: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What lies under a prefix, by torchvision's names, without what stands beside a backbone."""
    inner = {
        torchvision_name(k.removeprefix(prefix)): v
        for k, v in named.items()
        if k.startswith(prefix)
    }
    return {k: v for k, v in inner.items() if not k.startswith(_BESIDE)}


def _architecture(weights: Mapping[str, Tensor]) -> str | None:
    blocks, width, inputs = _signature(weights)
    bottleneck = "layer1.0.conv3.weight" in weights
    for name, counts in BLOCKS.items():
        wide = name.startswith("wide")
        same = bottleneck == (name not in ("resnet18", "resnet34"))
        if blocks == counts and same and width == inputs == (128 if wide else 64):
            return name
    return None


def _signature(weights: Mapping[str, Tensor]) -> tuple[tuple[int, ...], int, int]:
    """Blocks of layer1 to layer4, and outputs and inputs of a 3 x 3 convolution of layer1."""
    blocks = []
    for number in range(1, 5):
        found = [re.match(rf"layer{number}\.(\d+)\.", name) for name in weights]
        blocks.append(1 + max((int(m[1]) for m in found if m), default=-1))
    middle = weights.get("layer1.0.conv2.weight")
    if middle is None or middle.ndim != 4:
        return tuple(blocks), 0, 0
    return tuple(blocks), middle.shape[0], middle.shape[1]


def _shape(weights: Mapping[str, Tensor]) -> str:
    blocks, width, inputs = _signature(weights)
    return f"{', '.join(map(str, blocks))} blocks, {width} channels wide in groups of {inputs}"


def _fit(
    weights: dict[str, Tensor], architecture: str, path: Path, label: str
) -> dict[str, Tensor]:
    """Weights of a backbone in float32, once they fit; BatchNorm's counters may be missing."""
    expected = Backbone(architecture).state_dict()
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    weights = counters | weights
    mismatch = describe_mismatch(expected, weights)
    if mismatch:
        raise InputError(f"{label}: {path} looks like a {architecture}, but {mismatch}")
    return {f"backbone.{k}": weights[k].to(v.dtype) for k, v in expected.items()}


def _looks_like(named: Mapping[str, Tensor]) -> str:
    """What a file without a ResNet may be."""
    names = " ".join(named)
    for sign, kind in (
        ("patch_embed.", "it looks like a vision transformer"),
        ("conv1.0.weight", "it looks like a ResNet with three convolutions at its beginning"),
        ("_branch2a_w", "it looks like a ResNet by Caffe2's names, made for BGR images"),
        ("features.", "it looks like a VGG, a DenseNet or a MobileNet of torchvision"),
        ("stages.", "it looks like a ConvNeXt or a RegNet"),
        ("projector.", "it looks like heads alone"),
        ("fc.weight", "it looks like a classifier alone"),
    ):
        if sign in names:
            return f"{kind} ({next(iter(named))} …)"
    return f"its {len(named)} tensors are called {', '.join(list(named)[:3])} …"
