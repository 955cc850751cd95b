"""Which ResNet of a checkpoint is meant, whoever wrote it, and who did.

No list of programs decides what is read.  A file is searched for every place where a ResNet lies,
by any of four ways to name its weights.  One network is taken; of two, where the names say that one
is the moving average of the other, both.  Programs are told apart for people alone, except the
published one, whose heads are taken.

Names were looked up in: the published program (`model/builder.py` of CYBORGS), torchvision and
timm, MoCo (`moco/builder.py`, versions 1 to 3), BYOL-pytorch, both programs called detcon-pytorch,
VISSL, Hugging Face's transformers, and Detectron2.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cyborgs.checkpoints.networks import (
    DETECTRON2,
    TORCHVISION,
    TRANSFORMERS,
    WEIGHT_TYPES,
    Network,
    find_networks,
)
from cyborgs.checkpoints.reading import read_tensors
from cyborgs.checkpoints.timm_files import read_timm_weights, stored_architecture
from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file
from cyborgs.models.backbones.backbone import backbone_of
from cyborgs.models.backbones.timm import PREFIX
from cyborgs.pretraining.state import FORMAT, first_not_finite, load_state

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


@dataclass(frozen=True)
class _Program:
    """What tells a program's checkpoints from those of all others.

    Attributes:
        name: for people.
        network: where the network that learns is.
        beside: what names begin with that all lie beside it.
        also: first parts of names that may lie beside it as well; None: any.
    """

    name: str
    network: str
    beside: tuple[str, ...] = ()
    also: tuple[str, ...] | None = None


_PUBLISHED = _Program(
    "the published CYBORGS program",
    _PUBLISHED_ONLINE["backbone."],
    (f"{_PUBLISHED_ONLINE['predictor.']}0.weight",),
)

# Without the wrappers below.
_PROGRAMS = (
    _PUBLISHED,
    _Program("BYOL-pytorch", "online_encoder.net.", ("online_predictor.0.weight",)),
    _Program("DetCon-PyTorch", "online_network.encoder.", ("online_network.projetion.",)),
    _Program(
        "DetCon-PyTorch (Lightning)", "network.encoder.", ("network.projector.0.", "predictor.0.")
    ),
    _Program("MoCo", "encoder_q.", ("encoder_q.fc.", "encoder_k.fc."), ("queue", "queue_ptr")),
    _Program(
        "MoCo v3", "base_encoder.", ("momentum_encoder.fc.", "base_encoder.fc.", "predictor."), ()
    ),
    _Program("SwAV", "", ("projection_head.", "prototypes.")),
    _Program("DINO", "student/backbone.", ("student/head.mlp.", "teacher/backbone.")),
    _Program("VISSL", "classy_state_dict/base_model/model/trunk/_feature_blocks."),
    _Program("PixPro", "encoder.", ("encoder_k.", "projector.linear1.")),
    _Program("VirTex", "visual.cnn.", ("textual.embedding.",)),
)

# What wrappers put into names: of distributed training (also of shards), compilation, and
# recomputation.
_WRAPPERS = re.compile(
    r"(?<![^./])(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)[./]"
)

# Words in names that mark a network as a moving average, or as the network that is averaged.
# MoCo and its successors append `_k` (key) and `_q` (query) instead.
_AVERAGE = frozenset(
    ("average", "averaged", "avg", "ema", "key", "momentum", "shadow", "swa", "target", "teacher")
)
_LEARNER = frozenset(("learner", "online", "query", "student"))
# Names that contain none of these words: VISSL's and MoCo v3's.
_PARTS = {"moco_encoder": "momentum_encoder", "base_encoder": "online_encoder"}

# Words that do not help to identify a network.
_GENERAL = frozenset(("model", "state", "dict", "net", "network", "weights", "params"))


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a file, by this program's names.

    Attributes:
        layout: what wrote it, for people.
        architecture: torchvision's name of the backbone.
        online: of `cyborgs.models.pair.Online`: ``backbone.*``, and ``projector.*`` and
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


def read_checkpoint(
    path: Path, label: str = "checkpoint", architecture: str | None = None
) -> Checkpoint:
    """Read a checkpoint of this program or of another one.

    Args:
        path: a training state, any file with a ResNet in it that `read_tensors` reads, or weights
            of timm's networks.
        label: what the file is to the user, for messages.
        architecture: which network of timm a file that does not say so itself is of.

    Raises:
        InputError: it cannot be read, or holds no ResNet that this program trains; the message
            says what it looks like, and what is missing, unexpected or of another shape.  Or it
            has values that are not finite.
    """
    given = _read(path, label, architecture)
    for weights in (given.online, given.target):
        name = first_not_finite(weights)
        if name is not None:
            raise InputError(
                f"{label}: {path} ({given.layout}): {name} has values that are not finite: its "
                "training has diverged; take an earlier checkpoint"
            )
    return given


def _read(path: Path, label: str, architecture: str | None) -> Checkpoint:
    require_file(path, f"{label}:")
    if _is_state(path):
        state = load_state(path)
        return Checkpoint(
            f"a state after round {state.round}", state.architecture, state.online, state.target
        )
    of_timm = stored_architecture(path)
    if of_timm is None and architecture is not None and architecture.startswith(PREFIX):
        of_timm = architecture
    if of_timm is not None:
        weights = read_timm_weights(path, of_timm, label)
        return Checkpoint(
            "weights by timm's names", of_timm, {f"backbone.{k}": v for k, v in weights.items()}
        )
    named = _unwrapped(read_tensors(path, label))
    networks = find_networks(named)
    if not networks:
        raise InputError(
            f"{label}: {path} holds no ResNet; {_looks_like(named)}. Weights of timm's networks "
            "need the architecture, such as timm/convnext_tiny"
        )
    learner, average = _choose(networks, path, label)
    for network in (learner, average):
        if network is not None and network.wrong:
            raise InputError(f"{label}: {path} {network.wrong}")
    program = _program_of(named, learner)
    online = {f"backbone.{k}": v for k, v in learner.weights.items()}
    target = {}
    if average is not None:
        if average.architecture != learner.architecture:
            raise InputError(
                f"{label}: {path} holds a {learner.architecture} ({learner.shown}) and a "
                f"{average.architecture} ({average.shown}); save the state dict of one alone"
            )
        target = {f"backbone.{k}": v for k, v in average.weights.items()}
    if program is _PUBLISHED:
        root = learner.place.removesuffix(program.network)
        for part in ("projector.", "predictor."):
            online |= _head(named, root + _PUBLISHED_ONLINE[part], part)
        if target:
            target |= _head(named, root + _PUBLISHED_TARGET["projector."], "projector.")
    name = _layout(named, learner, average) if program is None else program.name
    return Checkpoint(name, learner.architecture, online, target)


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
    for prefix in ("net.", _PUBLISHED_ONLINE["backbone."], _PUBLISHED_TARGET["backbone."]):
        named[f"{prefix}fc.weight"] = torch.zeros(1000, width)
        named[f"{prefix}fc.bias"] = torch.zeros(1000)
    return named


def _unwrapped(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by names without wrappers; the second of two that would be called the same, with."""
    plain = {name: _WRAPPERS.sub("", name) for name in named}
    made = {name: value for name, value in named.items() if plain[name] == name}
    for name, value in named.items():
        if plain[name] != name:
            made[name if plain[name] in made else plain[name]] = value
    return made


def _choose(networks: Sequence[Network], path: Path, label: str) -> tuple[Network, Network | None]:
    """The network that learns, and its moving average where there is one."""
    averages = _distinct([n for n in networks if _role(n) == "average"])
    # If a network occurs under several names, the name that shows its role comes first.
    others = _distinct([n for role in ("learner", "") for n in networks if _role(n) == role])
    if len(others) + len(averages) == 1:
        return (others + averages)[0][0], None
    if len(others) == len(averages) == 1:
        pairs = [(a, b) for a in others[0] for b in averages[0] if _belong(a, b)]
        if pairs:
            return pairs[0]
    shown = [group[0].shown for group in others + averages]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    raise InputError(
        f"{label}: {path} holds {len(shown)} ResNets ({', '.join(shown[:3])}{more}); their names "
        "do not show which one is meant; save the state dict of one alone"
    )


def _distinct(networks: Sequence[Network]) -> list[list[Network]]:
    """Networks, those of the same weights together."""
    groups: list[list[Network]] = []
    for network in networks:
        for group in groups:
            if network.same(group[0]):
                group.append(network)
                break
        else:
            groups.append([network])
    return groups


def _words(place: str) -> list[tuple[list[str], str]]:
    """Words of each part of a place, and the role that they give it: "average", "learner", ""."""
    found = []
    for part in re.split(r"[./]", place.lower()):
        words = re.findall(r"[a-z0-9]+", _PARTS.get(part, part))
        last = words[-1] if len(words) > 1 else ""
        average = last == "k" or not _AVERAGE.isdisjoint(words)
        learner = last == "q" or not _LEARNER.isdisjoint(words)
        # A name with words of both kinds says nothing.
        role = "" if average == learner else "average" if average else "learner"
        if role:
            words = [w for w in words if w not in _AVERAGE | _LEARNER]
            words = words[:-1] if last in ("k", "q") else words
        found.append(([w for w in words if w not in _GENERAL], role))
    return found


def _role(network: Network) -> str:
    """What a network is by its place; "" where that does not say."""
    roles = [role for _, role in _words(network.place) if role]
    return "average" if "average" in roles else roles[0] if roles else ""


def _belong(learner: Network, average: Network) -> bool:
    """Whether names differ in no more than that one is the average.

    Containers may have other names, and one of the two may have a name of its own.
    """
    if _role(learner) == "learner":
        return True
    ends = [
        next((words for words, _ in reversed(_words(n.place)) if words), [])
        for n in (learner, average)
    ]
    return ends[0] == ends[1] or [] in ends


def _program_of(named: Mapping[str, Tensor], learner: Network) -> _Program | None:
    """The program whose names these are, where no other has the same."""
    for program in _PROGRAMS:
        root = learner.place.removesuffix(program.network)
        if not learner.place.endswith(program.network) or root[-1:] not in ("", "/"):
            continue
        names = [name.removeprefix(root) for name in named if name.startswith(root)]
        firsts = {sign.partition(".")[0] for sign in (program.network, *program.beside)}
        foreign = {name.partition(".")[0] for name in names} - firsts - {*(program.also or ())}
        if all(any(name.startswith(sign) for name in names) for sign in program.beside) and (
            program.also is None or not foreign
        ):
            return program
    return None


def _layout(named: Mapping[str, Tensor], learner: Network, average: Network | None) -> str:
    """What wrote a file, for people: a family of programs, or what the network is called."""
    if learner.naming is DETECTRON2:
        return "Detectron2"
    if learner.naming is TRANSFORMERS:
        return "Hugging Face's transformers"
    inner = learner.place.rpartition("/")[2]
    beside = {
        name.removeprefix(learner.place).split(".")[0]
        for name in named
        if name.startswith(learner.place)
    }
    if not inner and learner.naming is TORCHVISION:
        heads = sorted(n for n in beside if not TORCHVISION.own.fullmatch(n))
        if set(heads) <= {"fc"}:
            return "torchvision or timm"
        return f"a program that has {heads[0]}* beside torchvision's names"
    told = f"a program that calls it {learner.shown}"
    return told if average is None else f"{told}, and its average {average.shown}"


def _head(named: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """A head of the published program by this program's names, in float32."""
    return {
        k: v.float() if v.dtype in WEIGHT_TYPES else v
        for k, v in _renamed(named, old, new).items()
        # Other types hold no weights.
        if v.dtype in WEIGHT_TYPES or k.endswith("num_batches_tracked")
    }


def _renamed(weights: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {new + k.removeprefix(old): v for k, v in weights.items() if k.startswith(old)}


def _is_state(path: Path) -> bool:
    """Whether a file is one of this program's states, whose own reader checks every bit."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        # Its format is the first value in its pickle, near the beginning.
        return FORMAT.encode() in stream.read(4096)


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


def read_weights(weights: Path, architecture: str, label: str = "model.weights") -> Checkpoint:
    """What `model.weights` names.

    Raises `InputError` where it cannot be read, or is of another architecture.
    """
    given = read_checkpoint(weights, label, architecture)
    if given.architecture != architecture:
        raise InputError(
            f"{label}: {weights} holds a {given.architecture} ({given.layout}), not a "
            f"{architecture}; set model.architecture to {given.architecture}"
        )
    return given
