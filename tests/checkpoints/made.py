"""Checkpoints as other programs write them, made small: every tensor is one number, repeated."""

import re
from functools import cache

import torch
import torchvision


@cache
def shapes(architecture="resnet18"):
    """Shapes of a backbone's weights by torchvision's names."""
    with torch.device("meta"):
        network = torchvision.models.get_model(architecture, weights=None)
    return {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if not name.startswith("fc.")
    }


def weights(first=1, architecture="resnet18", dtype=torch.float32):
    """A backbone whose tensors are all of one number each: ``first``, ``first + 1`` …

    Whole numbers up to 256 are the same in all dtypes of weights.
    """
    made = {}
    for number, (name, shape) in enumerate(shapes(architecture).items(), start=first):
        kind = torch.int64 if name.endswith("num_batches_tracked") else dtype
        made[name] = torch.full((), number % 256, dtype=kind).expand(shape)
    return made


def numbers(found):
    """The number of each tensor of a backbone; fails where a tensor holds several."""
    for name, value in found.items():
        assert tuple(value.shape) == shapes()[name], name
        assert value.dtype == (torch.float32 if value.ndim else torch.int64), name
        # Where all strides are zero there is but one number, and millions need not be looked at.
        assert not any(value.stride()) or value.min() == value.max(), name
    return {name: value[(0,) * value.ndim].item() for name, value in found.items()}


def prefixed(prefix, named):
    return {prefix + name: value for name, value in named.items()}


def in_sequence(named):
    """By the names of `nn.Sequential(*network.children())`."""
    numbers = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    made = {}
    for name, value in named.items():
        first, rest = name.split(".", 1)
        made[f"{numbers[first]}.{rest}"] = value
    return made


def of_detectron2(named):
    """By the names of `tools/convert-torchvision-to-d2.py`, its own replacements in their order."""
    made = {}
    for name, value in named.items():
        k = name
        if "layer" not in k:
            k = "stem." + k
        for t in (1, 2, 3, 4):
            k = k.replace(f"layer{t}", f"res{t + 1}")
        for t in (1, 2, 3):
            k = k.replace(f"bn{t}", f"conv{t}.norm")
        k = k.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        made[k] = value
    return made


def of_transformers(named):
    """By the names of the modules in `modeling_resnet.py`."""
    made = {}
    kinds = {"conv": "convolution", "bn": "normalization"}
    for name, value in named.items():
        parts = name.split(".")
        if len(parts) == 2:
            kind = re.fullmatch(r"(conv|bn)1", parts[0])[1]
            theirs = ["embedder", "embedder", kinds[kind], parts[1]]
        else:
            stage = int(parts[0].removeprefix("layer")) - 1
            theirs = ["encoder", "stages", str(stage), "layers", parts[1]]
            if parts[2] == "downsample":
                theirs += ["shortcut", ["convolution", "normalization"][int(parts[3])], parts[4]]
            else:
                kind, number = re.fullmatch(r"(conv|bn)(\d)", parts[2]).groups()
                theirs += ["layer", str(int(number) - 1), kinds[kind], parts[3]]
        made[".".join(theirs)] = value
    return made


NAMINGS = {
    "torchvision": dict,
    "sequence": in_sequence,
    "Detectron2": of_detectron2,
    "transformers": of_transformers,
}

# Where one network is.
PLACES = (
    "", "backbone.", "encoder.", "module.encoder.", "visual.cnn.", "backbone.body.", "net.",
    "model.backbone.", "convnet.", "f.", "backbone.bottom_up.", "_feature_blocks.", "0.",
    "encoder.0.", "model.encoder_q.", "teacher.", "target_encoder.net.", "ema_model.",
)  # fmt: skip

# Where the network that learns is, and its moving average.
PAIRS = (
    ("encoder_q.", "encoder_k."), ("encoder_q.0.", "encoder_k.0."), ("encoder.", "encoder_k."),
    ("base_encoder.", "momentum_encoder."), ("encoder.", "momentum_encoder."),
    ("backbone.", "momentum_backbone."), ("backbone.", "backbone_momentum."),
    ("student_backbone.", "teacher_backbone."),
    ("student_backbone.model.", "teacher_backbone.model."),
    ("online_encoder.net.", "target_encoder.net."), ("online_net.0.", "target_net.0."),
    ("online_network.encoder.", "target_network.encoder."), ("online_model.", "ema_model."),
    ("query_encoder.", "key_encoder."), ("model.", "ema_model."), ("net.", "net_ema."),
    ("student.encoder.", "teacher.encoder."), ("backbone.", "teacher.backbone."),
)  # fmt: skip

# Containers of one network, outermost first, and of such pairs.
CONTAINERS = (
    (), ("state_dict",), ("model",), ("model_state_dict",), ("network",), ("module",), ("weights",),
    ("classy_state_dict", "base_model", "model", "trunk"), ("checkpoint", "model"), ("net",),
)  # fmt: skip
CONTAINER_PAIRS = (
    ("state_dict", "state_dict_ema"), ("model", "model_ema"), ("student", "teacher"),
    ("state_dict", "model_ema"), ("online_network_state_dict", "target_network_state_dict"),
    ("model", "ema"), ("model_state_dict", "ema_state_dict"), ("model", "averaged_model"),
)  # fmt: skip

WRAPPERS = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.")

# What lies beside a backbone.
BESIDE = (
    "fc.weight", "head.mlp.0.weight", "projection_head.0.weight", "prototypes.weight",
    "rpn.head.weight", "projector.0.weight", "predictor.layer1.weight", "classifier.weight",
    "linear.weight", "queue", "textual.embedding.words.weight", "neck.fc0.weight",
    "decode_head.conv_seg.weight", "logit_scale", "roi_heads.box_head.fc6.weight",
    "aux_classifier.0.weight", "mlp.0.weight", "attnpool.k_proj.weight",
)  # fmt: skip


def wrapped(wrapper, place, named):
    """With a wrapper's name in front of a place's last part, or of the names where it has none."""
    first, _, last = place.removesuffix(".").rpartition(".")
    first = first + "." if first else ""
    return prefixed(f"{first}{wrapper}{last}." if last else wrapper, named)


def contained(containers, named):
    for name in reversed(containers):
        named = {name: named}
    return named
