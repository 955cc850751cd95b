"""Weights of timm's networks, from files of timm and of programs whose layouts timm converts.

timm has a converter beside each of its networks (`checkpoint_filter_fn`), for what their authors
published: DINO, DINOv2 and v3, MAE, DeiT, CLIP and others.  It is used where names differ.
"""

import contextlib
import io
import json
import struct
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cyborgs.checkpoints.reading import read_tensors
from cyborgs.common.errors import InputError
from cyborgs.models.backbones.backbone import Backbone, describe_mismatch
from cyborgs.models.backbones.timm import PREFIX

# What a classifier or another program's heads are called; no part of a backbone.
_HEADS = ("head", "fc", "classifier", "last_linear", "decoder", "mask_token", "dino_head")


def read_timm_weights(path: Path, architecture: str, label: str) -> dict[str, Tensor]:
    """Weights of a backbone of timm, by this program's names, float32.

    Args:
        path: any file that `read_tensors` reads: of timm, of `cyborgs export`, or as the authors of
            the network published it.
        architecture: such as ``timm/vit_small_patch14_dinov2``.
        label: what the file is to the user, for messages.

    Raises:
        InputError: the file cannot be read, or its weights are not those of the architecture; the
            message says what is missing, unexpected or of another shape.
    """
    with torch.random.fork_rng(devices=[]):
        backbone = Backbone(architecture)
    model = backbone.get_submodule("model")
    expected = model.state_dict()
    named = read_tensors(path, label)
    given = _inner(named, expected)
    if describe_mismatch(expected, _without_heads(given, expected)):
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        if convert is not None:
            _require_biases(given, expected, f"{label}: {path} does not fit {architecture}")
            # Another layout raises nearly anything; what is wrong with it is said below.
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                given = convert(dict(given), model)
    found = _without_heads(given, expected)
    # BatchNorm's counters may be missing.
    found = {k: torch.zeros_like(v) for k, v in expected.items() if not v.ndim} | found
    mismatch = describe_mismatch(expected, found)
    if mismatch and any("embeddings.patch_embeddings." in name for name in named):
        mismatch = (
            "it has the names of Hugging Face's transformers; take the file that the authors or "
            "timm publish"
        )
    if mismatch:
        raise InputError(f"{label}: {path} does not fit {architecture}: {mismatch}")
    return {f"model.{name}": found[name].to(value.dtype) for name, value in expected.items()}


def stored_architecture(path: Path) -> str | None:
    """The timm architecture that `cyborgs export` noted in a file; None where there is none."""
    with open(path, "rb") as stream:
        start = stream.read(8)
        if not start.startswith(b"PK") and len(start) == 8:
            size = struct.unpack("<Q", start)[0]
            head = stream.read(min(size, 2**24))
            with contextlib.suppress(ValueError, AttributeError):
                return _of_timm(json.loads(head).get("__metadata__", {}).get("architecture"))
            return None
    with contextlib.suppress(Exception):  # a file of another kind raises nearly anything
        content = torch.load(path, map_location="meta", weights_only=True)
        return _of_timm(content.get("architecture"))
    return None


def _of_timm(name: object) -> str | None:
    return name if isinstance(name, str) and name.startswith(PREFIX) else None


def _require_biases(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor], unfit: str
) -> None:
    """Refuse biases in DINOv3's layout that timm's converter would leave out without a word.

    Those of keys, unless the file masks them, as DINOv3 does; and those of queries and values where
    the network has none: timm has such networks for files in which they are zero.
    """
    if "storage_tokens" not in given:
        return
    has_biases = any(name.endswith(".attn.q_bias") for name in expected)
    for name, bias in given.items():
        # Other shapes do not fit anyway, which is said later.
        if name.endswith(".attn.qkv.bias") and bias.ndim == 1 and len(bias) and not len(bias) % 3:
            mask = given.get(f"{name}_mask")
            if mask is not None and mask.shape == bias.shape:
                bias = bias.where(mask != 0, 0)
            queries, keys, values = bias.reshape(3, -1)
            if keys.any():
                raise InputError(
                    f"{unfit}: {name} has biases of keys, and timm's networks have not"
                )
            if not has_biases and (queries.any() or values.any()):
                raise InputError(
                    f"{unfit}: {name} is not zero; take the architecture with _qkvb in its name"
                )


def _inner(named: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors behind the prefix under which most of the expected names lie.

    Of two that hold as many (a student and its teacher), the teacher's: it is the one that the
    programs evaluate.
    """
    ends = set(expected)
    counts: Counter[str] = Counter()
    for name in named:
        for at in (0, *(i + 1 for i, letter in enumerate(name) if letter in "./")):
            if name[at:] in ends:
                counts[name[:at]] += 1
    if not counts:
        # Another layout: what its containers hold, as timm's converters expect it.
        return {name.rsplit("/", 1)[-1]: value for name, value in named.items()}
    best = max(counts, key=lambda prefix: (counts[prefix], "teacher" in prefix, "ema" in prefix))
    return {n.removeprefix(best): v for n, v in named.items() if n.startswith(best)}


def _without_heads(
    given: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in given.items()
        if name in expected or not name.startswith(_HEADS)
    }
