"""Detectron2's names for the weights of a ResNet, and the settings that go with ours.

Its `tools/convert-torchvision-to-d2.py` documents the names; a file is a pickle of NumPy arrays.
"""

import pickle
import re
from collections.abc import Mapping
from typing import Any

import yaml
from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.models.backbones import family_of

# Residual networks that Detectron2 builds from settings alone, and their depths there.
DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50, "resnet101": 101}


def detectron2_name(name: str) -> str:
    """What Detectron2 calls a weight that torchvision calls ``name``.

    ``layer1`` is ``res2``; the norm after a convolution belongs to it; ``downsample`` is
    ``shortcut``.
    """
    name = re.sub(r"^(conv1|bn1)\.", r"stem.\1.", name)
    name = re.sub(r"^layer(\d)\.", lambda found: f"res{int(found[1]) + 1}.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    name = name.replace("downsample.0.", "shortcut.").replace("downsample.1.", "shortcut.norm.")
    return name


def detectron2_file(architecture: str, weights: Mapping[str, Tensor]) -> bytes:
    """A backbone as Detectron2 reads it (`.pkl`).

    Args:
        architecture: torchvision's name.
        weights: by torchvision's names, without ``fc``.

    Raises:
        InputError: Detectron2 has no such network.
    """
    if architecture not in DEPTHS:
        raise InputError(
            f"--format detectron2: {architecture} is none of the networks that Detectron2 builds "
            f"({', '.join(DEPTHS)}); choose another format"
        )
    model = {
        detectron2_name(name): value.numpy()
        for name, value in weights.items()
        # BatchNorm's step counter, which Detectron2 does not store.
        if not name.endswith("num_batches_tracked")
    }
    content: dict[str, Any] = {
        "model": model,
        "__author__": "cyborgs",
        # Names are without the prefix of the model that they go into.
        "matching_heuristics": True,
    }
    return pickle.dumps(content, protocol=4)


def detectron2_settings(architecture: str, weights: str) -> str:
    """The settings (YAML) that such a backbone needs, with the file that has its weights.

    It was trained on RGB divided by its deviation, and has its strides in the 3 x 3 convolutions,
    other than the weights that Detectron2's own configurations begin with.
    """
    mean, deviation = family_of(architecture).statistics(architecture)
    resnets: dict[str, Any] = {"DEPTH": DEPTHS[architecture], "STRIDE_IN_1X1": False}
    if DEPTHS[architecture] < 50:
        resnets["RES2_OUT_CHANNELS"] = 64
    settings = {
        "MODEL": {
            "WEIGHTS": weights,
            "PIXEL_MEAN": list(mean),
            "PIXEL_STD": list(deviation),
            "RESNETS": resnets,
        },
        "INPUT": {"FORMAT": "RGB"},
    }
    return yaml.safe_dump(settings, sort_keys=False)
