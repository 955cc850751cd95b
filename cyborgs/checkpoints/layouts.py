"""What other programs call the weights of a ResNet, and finding it in their checkpoints.

No list of programs decides what is read.  A file is searched for every place where a ResNet lies,
by any of four ways to name its weights.  One network is taken; of two, where the names say that one
is the moving average of the other, both.  Programs are told apart for people alone, except the
published one, whose heads are taken.

Names were looked up in: the published program (`model/detcon.py` of CYBORGS), torchvision and timm,
MoCo (`moco/builder.py`, versions 1 to 3), BYOL-pytorch, both programs called detcon-pytorch, VISSL,
Hugging Face's transformers, and Detectron2.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cyborgs.checkpoints.detectron2 import detectron2_name
from cyborgs.checkpoints.reading import read_tensors
from cyborgs.config.schema import BLOCKS
from cyborgs.errors import InputError
from cyborgs.models.backbones import Backbone, backbone_of, describe_mismatch
from cyborgs.training.state import FORMAT, first_not_finite, load_state

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


def _sequence_name(name: str) -> str:
    """What a weight is called where a ResNet's parts are in a plain sequence.

    Its parts of torchvision: conv1, bn1, relu, maxpool, layer1 ... layer4.
    """
    name = re.sub(r"^conv1\.", "0.", name)
    name = re.sub(r"^bn1\.", "1.", name)
    return re.sub(r"^layer(\d+)\.", lambda found: f"{int(found[1]) + 3}.", name)


# In Hugging Face's transformers (`modeling_resnet.py`).
_LAYERS = {"conv": "convolution", "bn": "normalization"}


def _transformers_name(name: str) -> str:
    """What Hugging Face's transformers call a weight."""
    name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
    name = re.sub(
        r"^layer(\d+)\.(\d+)\.",
        lambda found: f"encoder.stages.{int(found[1]) - 1}.layers.{found[2]}.",
        name,
    )
    name = re.sub(
        r"\.(conv|bn)(\d)\.",
        lambda found: f".layer.{int(found[2]) - 1}.{_LAYERS[found[1]]}.",
        name,
    )
    name = name.replace("downsample.0.", "shortcut.convolution.")
    return name.replace("downsample.1.", "shortcut.normalization.")


@dataclass(frozen=True)
class _Naming:
    """A way to name the weights of a ResNet.

    Attributes:
        theirs: the name of a weight, from torchvision's; also of what a name begins with.
        own: what the first part of such a name can be, or that of another ResNet's.  Whatever else
            lies beside is no part of the network: classifiers, heads, necks.
        deep: weights of a beginning of three convolutions.
    """

    theirs: Callable[[str], str]
    own: re.Pattern[str]
    deep: tuple[str, ...]


_TORCHVISION = _Naming(
    str,
    re.compile(r"(conv|bn|norm|gn|layer|stem|downsample|parametrizations)\d*"),
    ("conv1.0.weight", "conv2.weight", "stem.0.weight"),
)
_DETECTRON2 = _Naming(detectron2_name, re.compile(r"stem|res\d+"), ("stem.conv2.weight",))
_SEQUENCE = _Naming(_sequence_name, re.compile(r"[0-7]"), ("0.0.weight",))
_TRANSFORMERS = _Naming(_transformers_name, re.compile(r"embedder|encoder"), ())
_NAMINGS = (_TORCHVISION, _DETECTRON2, _SEQUENCE, _TRANSFORMERS)


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

# Containers whose names say nothing.
_CONTAINERS = re.compile(r"^((model_)?state_dict|model|network|weights|params)/")

# Words of names by which a network is the moving average of another one, and by which it has one.
# MoCo and others that follow it add `_k` and `_q`, of keys and queries.
_AVERAGE = frozenset(
    ("average", "averaged", "avg", "ema", "key", "momentum", "shadow", "swa", "target", "teacher")
)
_LEARNER = frozenset(("learner", "online", "query", "student"))
# Names of parts that cannot be known by a word of theirs: VISSL's and MoCo v3's.
_PARTS = {"moco_encoder": "momentum_encoder", "base_encoder": "online_encoder"}

# Words that say nothing of which network it is.
_GENERAL = frozenset(("model", "state", "dict", "net", "network", "weights", "params"))


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


@dataclass(frozen=True)
class _Network:
    """A ResNet in a file.

    Attributes:
        place: what names of its weights begin with, containers included.
        naming: how they go on.
        weights: by torchvision's names, float32; empty where ``wrong``.
        architecture: torchvision's name of it; empty where ``wrong``.
        wrong: why it is none that this program trains.
    """

    place: str
    naming: _Naming
    architecture: str
    weights: dict[str, Tensor]
    wrong: str = ""

    @property
    def shown(self) -> str:
        """Its place, for people."""
        return _CONTAINERS.sub("", self.place) + "*"

    def same(self, other: "_Network") -> bool:
        """Whether it has the same weights."""
        if self.wrong or self.architecture != other.architecture:
            return False
        return all(torch.equal(v, other.weights[k]) for k, v in self.weights.items())


def _read(path: Path, label: str) -> Checkpoint:
    if _is_state(path):
        state = load_state(path)
        return Checkpoint(
            f"a state after round {state.round}", state.architecture, state.online, state.target
        )
    named = _unwrapped(read_tensors(path, label))
    networks = _networks(named)
    if not networks:
        raise InputError(f"{label}: {path} holds no ResNet; {_looks_like(named)}")
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


def _networks(named: Mapping[str, Tensor]) -> list[_Network]:
    """All ResNets of a file, and what looks like one."""
    found = []
    for naming in _NAMINGS:
        # Of two layers, so that a network that lacks some of its weights is found as well.
        places = [
            name.removesuffix(mark)
            for mark in (naming.theirs(f"layer{n}.0.conv1.weight") for n in range(1, 5))
            for name in named
            if name.endswith(mark) and name.removesuffix(mark)[-1:] in ("", ".", "/")
        ]
        for place in dict.fromkeys(places):
            if places.count(place) > 1:
                found.append(_network(named, place, naming))
    return found


def _network(named: Mapping[str, Tensor], place: str, naming: _Naming) -> _Network:
    inner = {name.removeprefix(place): v for name, v in named.items() if name.startswith(place)}

    def wrong(why: str) -> _Network:
        return _Network(place, naming, "", {}, why)

    if any(name in inner for name in naming.deep):
        return wrong(
            "holds a ResNet with three convolutions at its beginning, which is none of "
            f"{', '.join(BLOCKS)}"
        )
    blocks, width, inputs = _signature(inner, naming)
    architecture = _architecture(inner, naming)
    if architecture is None:
        return wrong(
            f"holds a residual network of {', '.join(map(str, blocks))} blocks, {width} channels "
            f"wide in groups of {inputs}, which is none of {', '.join(BLOCKS)}"
        )
    expected = _expected(architecture)
    theirs = {naming.theirs(name): name for name in expected}
    given = {
        theirs.get(name, name): value
        for name, value in inner.items()
        if name in theirs or naming.own.fullmatch(re.split(r"[./]", name)[0])
    }
    # BatchNorm's counters may be missing.
    counters = {k: torch.zeros_like(v, device="cpu") for k, v in expected.items() if not v.ndim}
    given = counters | given
    mismatch = describe_mismatch(expected, given) or _describe_types(expected, given)
    if mismatch:
        return wrong(f"looks like a {architecture}, but {mismatch}")
    weights = {k: given[k].to(v.dtype) for k, v in expected.items()}
    return _Network(place, naming, architecture, weights)


@cache
def _expected(architecture: str) -> dict[str, Tensor]:
    """Names, shapes and dtypes of a backbone's weights, without values."""
    with torch.device("meta"):
        return Backbone(architecture).state_dict()


# Whose values are those of a weight.  Integers and 8-bit floats are scaled by what lies elsewhere.
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _describe_types(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    for name, value in expected.items():
        if value.is_floating_point() and given[name].dtype not in _TYPES:
            return f"{name} is {str(given[name].dtype).removeprefix('torch.')}, not float32"
    return ""


def _choose(
    networks: Sequence[_Network], path: Path, label: str
) -> tuple[_Network, _Network | None]:
    """The network that learns, and its moving average where there is one."""
    averages = _distinct([n for n in networks if _role(n) == "average"])
    # Of a network that is there by several names, that comes first which says what it is.
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
        f"{label}: {path} holds {len(shown)} ResNets ({', '.join(shown[:3])}{more}), and nothing "
        "says which is meant; save the state dict of one alone"
    )


def _distinct(networks: Sequence[_Network]) -> list[list[_Network]]:
    """Networks, those of the same weights together."""
    groups: list[list[_Network]] = []
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
        # A part that has words of both is a sign of neither.
        role = "" if average == learner else "average" if average else "learner"
        if role:
            words = [w for w in words if w not in _AVERAGE | _LEARNER]
            words = words[:-1] if last in ("k", "q") else words
        found.append(([w for w in words if w not in _GENERAL], role))
    return found


def _role(network: _Network) -> str:
    """What a network is by its place; "" where that does not say."""
    roles = [role for _, role in _words(network.place) if role]
    return "average" if "average" in roles else roles[0] if roles else ""


def _belong(learner: _Network, average: _Network) -> bool:
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


def _program_of(named: Mapping[str, Tensor], learner: _Network) -> _Program | None:
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


def _layout(named: Mapping[str, Tensor], learner: _Network, average: _Network | None) -> str:
    """What wrote a file, for people: a family of programs, or what the network is called."""
    if learner.naming is _DETECTRON2:
        return "Detectron2"
    if learner.naming is _TRANSFORMERS:
        return "Hugging Face's transformers"
    inner = learner.place.rpartition("/")[2]
    beside = {
        name.removeprefix(learner.place).split(".")[0]
        for name in named
        if name.startswith(learner.place)
    }
    if not inner and learner.naming is _TORCHVISION:
        heads = sorted(n for n in beside if not _TORCHVISION.own.fullmatch(n))
        if set(heads) <= {"fc"}:
            return "torchvision or timm"
        return f"a program that has {heads[0]}* beside torchvision's names"
    told = f"a program that calls it {learner.shown}"
    return told if average is None else f"{told}, and its average {average.shown}"


def _head(named: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    """A head of the published program by this program's names, in float32."""
    return {
        k: v.float() if v.dtype in _TYPES else v
        for k, v in _renamed(named, old, new).items()
        # Other types hold no weights.
        if v.dtype in _TYPES or k.endswith("num_batches_tracked")
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


def _architecture(inner: Mapping[str, Tensor], naming: _Naming) -> str | None:
    blocks, width, inputs = _signature(inner, naming)
    bottleneck = naming.theirs("layer1.0.conv3.weight") in inner
    for name, counts in BLOCKS.items():
        wide = name.startswith("wide")
        same = bottleneck == (name not in ("resnet18", "resnet34"))
        if blocks == counts and same and width == inputs == (128 if wide else 64):
            return name
    return None


def _signature(inner: Mapping[str, Tensor], naming: _Naming) -> tuple[tuple[int, ...], int, int]:
    """Blocks of layer1 to layer4, and outputs and inputs of a 3 x 3 convolution of layer1."""
    blocks = []
    for number in range(1, 5):
        layer = naming.theirs(f"layer{number}.0.").removesuffix("0.")
        found = [
            re.match(r"(\d{1,4})\.", k.removeprefix(layer)) for k in inner if k.startswith(layer)
        ]
        blocks.append(1 + max((int(m[1]) for m in found if m), default=-1))
    middle = inner.get(naming.theirs("layer1.0.conv2.weight"))
    if middle is None or middle.ndim != 4:
        return tuple(blocks), 0, 0
    return tuple(blocks), middle.shape[0], middle.shape[1]


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
