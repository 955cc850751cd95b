"""Tensors of a checkpoint file, whoever wrote it; no code of a file is ever run.

torch.load with `weights_only` reads torch's files, and a small unpickler the plain pickles.  Of
whatever else than weights a file names there is a `Placeholder`, which does nothing.
"""

import codecs
import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy._core.numeric import _frombuffer  # type: ignore[attr-defined]
from safetensors.torch import load as load_safetensors
from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file
from cyborgs.training.containers import require_whole

# How torch's files of before 2020 begin: a pickle of their magic number.
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

# The upper half of the length of safetensors' header, and its first character.  The lower half can
# begin as a pickle does.
_SAFETENSORS = b"\0\0\0\0{"

# Containers whose tensors have a network's names but are not weights (averages of gradients).
_ASIDE = re.compile(r"optim|sched|scaler|grad", re.IGNORECASE)

# Limits on nesting and on the number of containers: a file can refer to one container many times.
_DEEPEST, _MOST = 20, 1_000_000

_READ = "a torch file, safetensors or Detectron2's .pkl"

# First bytes of files that people pass instead of checkpoints, and what such files are.
_OTHERS = {
    b"\x89HDF": "HDF5",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS; fetch the file by `git lfs pull`",
    b"<": "a web page or XML",
}


def read_tensors(path: Path, label: str = "checkpoint") -> dict[str, Tensor]:
    """All tensors of a checkpoint that may be of a network, by name.

    Reads torch's files (also those of before 2020), safetensors, and pickles of tensors or of NumPy
    arrays (Detectron2's ``.pkl``).

    Args:
        path: the file.
        label: what the file is to the user, for messages.

    Returns:
        Tensors on the CPU, of any shape and dtype.  Names begin with those of the containers that a
        tensor is in: ``state_dict/layer1.0.conv1.weight``.

    Raises:
        InputError: the file is missing, damaged, of another kind, needs code to be run, or holds
            no tensors with names.
    """
    require_file(path, f"{label}:")
    with open(path, "rb") as stream:
        start = stream.read(32)
    unknown: Collection[str] = ()
    try:
        if start.startswith((b"PK", _LEGACY)):
            program = _of_legacy(path) if start.startswith(_LEGACY) else _of_archive(path, label)
            unknown = _unknown(program)
            with torch.serialization.safe_globals(_known(unknown)):
                content = torch.load(path, map_location="cpu", weights_only=True)
        elif start[:1] == b"\x80" and start[4:9] != _SAFETENSORS:
            unpickler = _Unpickler(path.read_bytes())
            content, unknown = unpickler.load(), unpickler.unknown
        elif len(start) > 8 and start[8:9] == b"{":
            content = load_safetensors(path.read_bytes())
        else:
            kind = next((told for sign, told in _OTHERS.items() if start.startswith(sign)), "")
            what = f"is {kind}" if kind else "does not begin like " + _READ
            raise InputError(f"{label}: {path} is not a checkpoint: it {what}")
        tensors = _tensors(content)
    except InputError:
        raise
    except Exception as error:  # a broken file raises nearly anything
        # torch raises one too where it accepts no placeholder: for `os`, and for whole legacy
        # networks.
        if not (unknown and isinstance(error, pickle.UnpicklingError)):
            # torch's message begins with a long preamble.
            told = str(error).rpartition("WeightsUnpickler error:")[2]
            reason = " ".join(f"{type(error).__name__}: {told}".split())[:120]
            raise InputError(f"{label}: {path} is damaged or of another kind ({reason})") from None
        tensors = {}
    if len(tensors) < 2:
        if unknown:
            wanted = ", ".join(sorted(unknown)[:3])[:160]
            raise InputError(
                f"{label}: {path} can only be read by running code that is in it "
                f"({wanted}), which this program never does; save its state dict alone, in the "
                "program that wrote it"
            )
        held = ", ".join(map(str, content)) if isinstance(content, dict) else "one value"
        held = " ".join(held.split())[:120]
        raise InputError(f"{label}: {path} holds no tensors with names ({held})")
    return tensors


def _of_archive(path: Path, label: str) -> bytes:
    """The pickle in one of torch's files of today.

    Raises `InputError` or exceptions of other types where it is of another kind or damaged.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1:
            raise ValueError("a zip archive without torch's data.pkl")
        if pickles[0].replace("data.pkl", "constants.pkl") in names:
            raise InputError(
                f"{label}: {path} is a TorchScript program; save its weights alone: "
                "torch.save(torch.jit.load(FILE).state_dict(), …)"
            )
        # torch never compresses, and compressed data can expand to any size.
        if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
            raise ValueError("its contents are compressed")
        require_whole(archive)
        return archive.read(pickles[0])


def _of_legacy(path: Path) -> bytes:
    """The same of a file of before 2020: its fourth pickle, after what says how it was written."""
    with open(path, "rb") as stream:
        ends = []
        for _ in range(4):
            deque(pickletools.genops(stream), maxlen=0)
            ends.append(stream.tell())
        stream.seek(ends[2])
        return stream.read(ends[3] - ends[2])


def _unknown(program: bytes) -> list[str]:
    """Names in a pickle of torch's that stand for a placeholder.

    Raises exceptions of many types where it is damaged.
    """
    if program[:2] != b"\x80\x02":
        raise ValueError("saved with a pickle_protocol other than 2, torch's own")
    # torch lists unknown names only for archives, so the pickle is wrapped in one.
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/version", "3")
    made.seek(0)
    names = torch.serialization.get_unsafe_globals_in_checkpoint(made)
    return [name for name in names if name not in _NUMPY]


class _TakenForDict(type):
    """torch compares a class with `dict`, and sets items of no other one."""

    def __eq__(cls, other: object) -> bool:
        return cls is other or other is dict

    __hash__ = type.__hash__


class Placeholder(dict[Any, Any], metaclass=_TakenForDict):
    """Stands in for an unknown name in a file: it keeps items, and does nothing else.

    So it can stand for functions, and for classes, also those derived from dict, list or set.
    """

    # torch appends only to lists.
    __class__ = list  # type: ignore[assignment]

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def append(self, *_: Any) -> None:
        """Forget what a pickle appends; it may also extend and add."""

    extend = add = append

    # A placeholder may be a dictionary key.
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other


class _Array(np.ndarray[Any, Any]):
    """An array to be restored, of no size and of one class, whatever a file says of it."""

    def __new__(cls, *_: Any) -> "_Array":
        return super().__new__(cls, 0)

    def __setstate__(self, state: Any) -> None:
        # If the dtype is a placeholder, not even its size is known.
        if isinstance(state[2], np.dtype):
            super().__setstate__(state)


def _dtype(code: Any, *_: Any) -> Any:
    """A dtype to be restored: a copy, never the instance that the whole process shares."""
    return np.dtype(code, copy=True) if isinstance(code, str) else Placeholder()


def _storage(raw: bytes) -> Any:
    """A tensor's bytes where Python's pickle wrote it; torch's own function would run code."""
    return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)


def _rebuilt(storage: Any, *described: Any) -> Tensor:
    """A tensor of such bytes; torch makes them more where it reaches beyond them."""
    size = storage._untyped_storage.nbytes()
    made: Tensor = torch._utils._rebuild_tensor_v2(storage, *described)  # type: ignore[no-untyped-call]
    if made.untyped_storage().nbytes() != size:
        raise ValueError("a tensor reaches beyond its bytes")
    return made


def _no_bytes(*_: Any) -> bytes:
    """Protocol 2's form of empty bytes."""
    return b""


# Constructors of NumPy's values, whose names differ between NumPy 1 and 2, and Python 2 and 3.
_NUMPY = {
    "builtins.bytes": _no_bytes,
    "__builtin__.bytes": _no_bytes,
    "numpy.dtype": _dtype,
    "numpy.ndarray": Placeholder,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.core.multiarray.scalar": Placeholder,
    "numpy._core.multiarray.scalar": Placeholder,
}


def _known(unknown: Collection[str]) -> list[Callable[..., Any] | tuple[Any, str]]:
    """What torch uses for names that it does not know."""
    # torch restores instances only of registered classes.  These names have no dot, so no file can
    # call them.
    kinds = [(getattr(np.dtypes, name), name) for name in np.dtypes.__all__]
    numpy = [(made, name) for name, made in _NUMPY.items()]
    return [*((Placeholder, name) for name in unknown), *numpy, *kinds]


class _Unpickler(pickle._Unpickler):
    """Unpickles arrays, tensors and plain values.

    It is the pure-Python unpickler.  The one in C allocates as much memory as the largest memo
    index in a pickle asks for: one changed byte can make that tens of gigabytes.

    Attributes:
        unknown: names in the pickle that stand for a placeholder.
    """

    _KNOWN: ClassVar[dict[str, Any]] = _NUMPY | {
        "numpy.core.numeric._frombuffer": _frombuffer,
        "numpy._core.numeric._frombuffer": _frombuffer,
        "collections.OrderedDict": dict,
        # Protocol 2's form of bytes that are not empty.
        "_codecs.encode": codecs.encode,
        "torch._utils._rebuild_tensor_v2": _rebuilt,
        "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
        "torch.storage._load_from_bytes": _storage,
    }
    # Set by the base class during `load`.
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, raw: bytes) -> None:
        # Python 2 pickles text as bytes.
        super().__init__(io.BytesIO(raw), encoding="latin1")
        self.unknown: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        wanted = f"{module}.{name}"
        if wanted in self._KNOWN:
            return self._KNOWN[wanted]
        self.unknown.add(wanted)
        return Placeholder

    def get_extension(self, code: int) -> None:
        # The inherited method may return an object without calling `find_class`.
        raise pickle.UnpicklingError(f"a name by its number, {code}")

    def _load_build(self) -> None:
        # The inherited method would set attributes of any object, including torch's functions.
        state = self.stack.pop()
        if isinstance(self.stack[-1], _Array | np.dtype):
            self.stack[-1].__setstate__(state)  # type: ignore[union-attr]

    def _load_bytearray(self) -> None:
        # The inherited method allocates the stated number of bytes before it reads them.
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray


def _tensors(content: Any) -> dict[str, Tensor]:
    made: dict[int, Tensor] = {}
    named = {}
    for name, found in _found(content):
        if name in named:
            raise ValueError(f"two tensors are called {name}")
        if id(found) not in made:
            made[id(found)] = _tensor(found)
        named[name] = made[id(found)]
    return named


def _tensor(found: Tensor | np.ndarray[Any, Any]) -> Tensor:
    if isinstance(found, Tensor):
        return found.detach()
    # torch accepts only native byte order, and warns about read-only arrays.
    return torch.from_numpy(np.array(found, found.dtype.newbyteorder("="), order="C"))


def _numeric(value: Any) -> bool:
    """Whether it is an array or a tensor of plain numbers."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fiu" and value.dtype.itemsize <= 8
    # Subclasses of Tensor, and tensors without values, do not count.
    plain = type(value) in (Tensor, torch.nn.Parameter) and value.device.type == "cpu"
    plain = plain and value.layout == torch.strided and not value.is_nested
    return plain and not (value.is_quantized or value.is_complex() or value.dtype == torch.bool)


def _found(content: Any) -> Iterator[tuple[str, Tensor | np.ndarray[Any, Any]]]:
    """Tensors and their names, outermost first; what is in a container comes in its order."""
    left: deque[tuple[str, int, Any]] = deque([("", 0, content)])
    looked = 0
    while left:
        within, depth, container = left.popleft()
        looked += 1
        if depth > _DEEPEST or looked > _MOST:
            raise ValueError("it has too many containers, or containers that contain each other")
        for key, value in _items(container):
            if _numeric(value):
                yield f"{within}{key}", value
            elif isinstance(value, dict | list | tuple) and not _ASIDE.search(key):
                left.append((f"{within}{key}/" if key else within, depth + 1, value))


def _items(container: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(container, dict):
        for key, value in container.items():
            if isinstance(key, str | int):
                yield str(key), value
    elif isinstance(container, list | tuple):
        for number, value in enumerate(container):
            # Only of containers: tensors in a list have no names.  One alone needs no number.
            if isinstance(value, dict | list | tuple):
                yield ("" if len(container) == 1 else str(number)), value
