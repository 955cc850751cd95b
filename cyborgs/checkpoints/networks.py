"""ResNets among tensors by name: where they lie, by any of four ways to name their weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cyborgs.checkpoints.detectron2 import detectron2_name
from cyborgs.models.backbones.backbone import Backbone, describe_mismatch
from cyborgs.models.backbones.resnet import BASIC, BLOCKS

# Containers whose names say nothing.
_CONTAINERS = re.compile(r"^((model_)?state_dict|model|network|weights|params)/")


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
class Naming:
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


TORCHVISION = Naming(
    str,
    re.compile(r"(conv|bn|norm|gn|layer|stem|downsample|parametrizations)\d*"),
    ("conv1.0.weight", "conv2.weight", "stem.0.weight"),
)
DETECTRON2 = Naming(detectron2_name, re.compile(r"stem|res\d+"), ("stem.conv2.weight",))
_SEQUENCE = Naming(_sequence_name, re.compile(r"[0-7]"), ("0.0.weight",))
TRANSFORMERS = Naming(_transformers_name, re.compile(r"embedder|encoder"), ())
_NAMINGS = (TORCHVISION, DETECTRON2, _SEQUENCE, TRANSFORMERS)


@dataclass(frozen=True)
class Network:
    """A ResNet in a file.

    Attributes:
        place: what names of its weights begin with, containers included.
        naming: how they go on.
        weights: by torchvision's names, float32; empty where ``wrong``.
        architecture: torchvision's name of it; empty where ``wrong``.
        wrong: why it is none that this program trains.
    """

    place: str
    naming: Naming
    architecture: str
    weights: dict[str, Tensor]
    wrong: str = ""

    @property
    def shown(self) -> str:
        """Its place, for people."""
        return _CONTAINERS.sub("", self.place) + "*"

    def same(self, other: "Network") -> bool:
        """Whether it has the same weights."""
        if self.wrong or self.architecture != other.architecture:
            return False
        return all(torch.equal(v, other.weights[k]) for k, v in self.weights.items())


def find_networks(named: Mapping[str, Tensor]) -> list[Network]:
    """All ResNets of a file, and what looks like one."""
    found = []
    for naming in _NAMINGS:
        # Two layers are searched, so that a network without some of its weights is found too.
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


def _network(named: Mapping[str, Tensor], place: str, naming: Naming) -> Network:
    inner = {name.removeprefix(place): v for name, v in named.items() if name.startswith(place)}

    def wrong(why: str) -> Network:
        return Network(place, naming, "", {}, why)

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
    return Network(place, naming, architecture, weights)


@cache
def _expected(architecture: str) -> dict[str, Tensor]:
    """Names, shapes and dtypes of a backbone's weights, without values."""
    with torch.device("meta"):
        return Backbone(architecture).state_dict()


# Types that hold a weight's actual values.  Integers and 8-bit floats need a scale stored
# elsewhere.
WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _describe_types(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    for name, value in expected.items():
        if value.is_floating_point() and given[name].dtype not in WEIGHT_TYPES:
            return f"{name} is {str(given[name].dtype).removeprefix('torch.')}, not float32"
    return ""


def _architecture(inner: Mapping[str, Tensor], naming: Naming) -> str | None:
    blocks, width, inputs = _signature(inner, naming)
    bottleneck = naming.theirs("layer1.0.conv3.weight") in inner
    for name, counts in BLOCKS.items():
        wide = name.startswith("wide")
        same = bottleneck == (name not in BASIC)
        if blocks == counts and same and width == inputs == (128 if wide else 64):
            return name
    return None


def _signature(inner: Mapping[str, Tensor], naming: Naming) -> tuple[tuple[int, ...], int, int]:
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
