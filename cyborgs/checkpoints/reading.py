"""Tensors of a checkpoint file, whoever wrote it; no code of a file is ever run."""

import io
import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from cyborgs.errors import InputError
from cyborgs.files import require_file

# Where programs put their weights in a checkpoint, those that are asked first in front.
_CONTAINERS = ("state_dict", "model", "model_state_dict", "network", "module", "weights")

# How torch's files of before 2020 begin: a pickle of their magic number.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def read_tensors(path: Path, label: str = "checkpoint") -> dict[str, Tensor]:
    """The tensors of a checkpoint by name.

    Reads torch's files (also those of before 2020), safetensors, and pickles of NumPy arrays
    (Detectron2's ``.pkl``).

    Args:
        path: the file.
        label: what the file is to the user, for messages.

    Raises:
        InputError: the file is missing, damaged, of another kind, needs code to be run, or holds
            no tensors with names.
    """
    require_file(path, f"{label}:")
    with open(path, "rb") as stream:
        start = stream.read(len(_LEGACY))
    if start.startswith(b"PK") or start == _LEGACY:
        content = _read_torch(path, label)
    elif start[:1] == b"\x80":
        content = _read_arrays(path, label)
    elif len(start) > 8 and start[8:9] == b"{":
        content = _read_safetensors(path, label)
    else:
        raise InputError(
            f"{label}: {path} is no checkpoint: it begins like none of torch's files, safetensors "
            "and Detectron2's .pkl"
        )
    tensors = _find_tensors(content)
    if not tensors:
        held = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content)
        raise InputError(f"{label}: {path} holds no tensors with names ({str(held)[:120]})")
    return tensors


def _read_torch(path: Path, label: str) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _unsafe(path)
        if wanted:
            raise InputError(
                f"{label}: {path} can only be read by running code that is in it "
                f"({', '.join(wanted[:3])}), which is not done; save its state dict alone, in the "
                "program that wrote it"
            ) from None
        raise _damaged(path, label, error) from None
    except Exception as error:  # torch.load raises many types
        raise _damaged(path, label, error) from None


def _unsafe(path: Path) -> list[str]:
    """What a file of torch's asks for, beyond tensors and plain values."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # a damaged file, in as many ways as above
        return []


def _read_safetensors(path: Path, label: str) -> Any:
    try:
        return load_safetensors(path.read_bytes())
    except (SafetensorError, ValueError) as error:
        raise _damaged(path, label, error) from None


class _Arrays(pickle.Unpickler):
    """Unpickles NumPy arrays, numbers, texts and containers; refuses everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 2 calls its inner package `_core`.
        wanted = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        allowed = {
            "numpy.core.multiarray._reconstruct": np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            "numpy.core.multiarray.scalar": np._core.multiarray.scalar,  # type: ignore[attr-defined]
            "numpy.ndarray": np.ndarray,
            "numpy.dtype": np.dtype,
            "collections.OrderedDict": OrderedDict,
            "_codecs.encode": _latin,
        }
        if wanted not in allowed:
            raise _ForbiddenError(f"{module}.{name}")
        return allowed[wanted]


class _ForbiddenError(Exception):
    pass


def _latin(text: str, encoding: str) -> bytes:
    """How a pickle of protocol 2 holds the bytes of an array."""
    if encoding != "latin1":
        raise _ForbiddenError(f"_codecs.encode to {encoding}")
    return text.encode(encoding)


def _read_arrays(path: Path, label: str) -> Any:
    try:
        return _Arrays(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _ForbiddenError as error:
        raise InputError(
            f"{label}: {path} can only be read by running code that is in it ({error}), which is "
            "not done; give weights alone"
        ) from None
    except Exception as error:  # a broken pickle raises nearly anything
        raise _damaged(path, label, error) from None


def _damaged(path: Path, label: str, error: Exception) -> InputError:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
    return InputError(f"{label}: {path} is damaged or of another kind ({reason})")


def _find_tensors(content: Any) -> dict[str, Tensor]:
    """The state dict in what a file holds: the first container, outermost first, that is one."""
    for mapping in _mappings(content):
        found = {
            k: torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v
            for k, v in mapping.items()
            if isinstance(k, str) and _is_numeric(v)
        }
        if len(found) > 1:
            return found
    return {}


def _is_numeric(value: Any) -> bool:
    # Arrays of text or of objects are no tensors.
    return isinstance(value, Tensor) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    )


def _mappings(content: Any) -> Iterator[Mapping[Any, Any]]:
    if not isinstance(content, Mapping):
        return
    for name in _CONTAINERS:
        yield from _mappings(content.get(name))
    yield content
