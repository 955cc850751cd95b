"""No code of a file runs, nothing of this process is changed by one, damage is told in a line."""

import collections
import copyreg
import datetime
import enum
import fractions
import io
import os
import pathlib
import pickle
import tracemalloc
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cyborgs.checkpoints import reading
from cyborgs.checkpoints.reading import read_tensors
from cyborgs.common.errors import InputError

RAN = []


def run(*arguments):
    RAN.append(arguments)


class Calls:
    """Has a function called with arguments when it is unpickled."""

    def __init__(self, function, *arguments, state=None):
        self.called = function, arguments, state

    def __reduce__(self):
        return self.called


class Restored:
    def __init__(self):
        self.x = 1

    def __setstate__(self, state):
        RAN.append(state)


class Table(dict):
    def __setitem__(self, key, value):
        RAN.append(key)
        super().__setitem__(key, value)


class Many(list):
    def append(self, value):
        RAN.append(value)

    extend = append


DANGEROUS = {
    "a function": Calls(run, 1),
    "the system": Calls(os.system, "touch ran"),
    "eval": Calls(eval, "1"),
    "an attribute": Calls(getattr, Restored, "__setstate__"),
    "a class": Calls(Restored),
    "its state": Restored(),
    "a dictionary": Table(a=1),
    "a list": Many([1, 2]),
    "torch": Calls(torch.load, "x"),
    "of copyreg": Calls(copyreg._reconstructor, Restored, object, None),
    "numpy": Calls(np.load, "x", "r", True),
}


@pytest.mark.parametrize("case", DANGEROUS)
@pytest.mark.parametrize("form", ["zip", "legacy", 2, 3, 4, 5])
def test_nothing_is_run(case, form, tmp_path, monkeypatch):
    """The tensors beside it are read all the same."""
    monkeypatch.chdir(tmp_path)
    content = {"aside": DANGEROUS[case], "a": torch.ones(2), "b": torch.zeros(3)}
    if isinstance(form, int):
        (tmp_path / "x").write_bytes(pickle.dumps(content, form))
    else:
        torch.save(content, tmp_path / "x", _use_new_zipfile_serialization=form == "zip")
    RAN.clear()
    if case == "the system" and not isinstance(form, int):
        # torch stops at the name, whatever it stands for.
        with pytest.raises(InputError, match=r"running code that is in it \(posix\.system\)"):
            read_tensors(tmp_path / "x")
        return
    found = read_tensors(tmp_path / "x")
    assert [found["a"].tolist(), found["b"].tolist()] == [[1, 1], [0, 0, 0]]
    assert RAN == []
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    # The file is as dangerous as this test says, for who reads it with pickle.
    if form == 4 and case == "its state":
        pickle.loads((tmp_path / "x").read_bytes())
        assert RAN


def in_archive(program):
    """A file of torch's with a pickle in place of its own."""
    stream = io.BytesIO()
    torch.save({"a": torch.ones(1)}, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(made := io.BytesIO(), "w") as new:
        for name in old.namelist():
            new.writestr(name, program if name.endswith("data.pkl") else old.read(name))
    return made.getvalue()


OWN = f"c{__name__}\nNew\n".encode()

# All ways by which a pickle can have something called or changed, without the pickle's end.
PROGRAMS = {
    "REDUCE": b"cposix\nmkdir\nX\x03\x00\x00\x00ran\x85R",
    "INST": b"(X\x03\x00\x00\x00ranios\nmkdir\n",
    "OBJ": b"(cos\nmkdir\nX\x03\x00\x00\x00rano",
    "NEWOBJ": OWN + b")\x81",
    "NEWOBJ_EX": OWN + b")}\x92",
    "EXT1": b"\x82\xf0X\x03\x00\x00\x00ran\x85R",
    "EXT4": b"\x84\xf0\x00\x00\x00X\x03\x00\x00\x00ran\x85R",
    "STACK_GLOBAL": b"\x8c\x02os\x8c\x05mkdir\x93\x8c\x03ran\x85R",
    "BUILD": OWN + b")R}X\x01\x00\x00\x00aK\x01sb",
}


class New:
    def __new__(cls, *arguments):
        RAN.append(arguments)
        return super().__new__(cls)


@pytest.mark.parametrize("way", PROGRAMS)
@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_nothing_is_run_whichever_way(way, archive, known, tmp_path, monkeypatch):
    """Also where this process knows the code of an extension."""
    monkeypatch.chdir(tmp_path)
    RAN.clear()
    program = b"\x80\x02" + PROGRAMS[way] + b"."
    if known and way.startswith("EXT"):
        monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.mkdir)
    (tmp_path / "x").write_bytes(in_archive(program) if archive else program)
    with pytest.raises(InputError) as caught:
        read_tensors(tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert RAN == []
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    # The program does what this test says, for who reads it with pickle.
    if known or not way.startswith("EXT"):
        monkeypatch.setitem(copyreg._extension_cache, 0xF0, os.mkdir)
        pickle._loads(program)
        assert RAN or (tmp_path / "ran").exists()


# What a pickle can name, and what of it could be changed.
NAMED = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    "torch.storage._load_from_bytes": reading._storage,
    "numpy.core.multiarray._reconstruct": reading._Array,
    "numpy.core.numeric._frombuffer": reading._frombuffer,
    "numpy.dtype": reading._dtype,
    "builtins.bytes": reading._no_bytes,
    "builtins.exec": reading.Placeholder,
    "some.thing": reading.Placeholder,
}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("archive", [False, True])
def test_nothing_is_changed(name, called, archive, tmp_path):
    """BUILD sets attributes: in its second form by setattr, on classes and functions as well."""
    before = dict(vars(NAMED[name]))
    for state in ({"__call__": 1, "x": 2}, (None, {"x": 1, "__init__": 2, "__defaults__": (3,)})):
        module, _, last = name.rpartition(".")
        program = b"\x80\x02c" + f"{module}\n{last}\n".encode() + (b")R" if called else b"")
        program += pickle.dumps(state, 2)[2:-1] + b"b."
        (tmp_path / "x").write_bytes(in_archive(program) if archive else program)
        with pytest.raises(InputError):
            read_tensors(tmp_path / "x")
        assert dict(vars(NAMED[name])) == before
        assert getattr(NAMED[name], "__defaults__", None) != (3,)


@pytest.mark.parametrize("archive", [False, True])
def test_a_dtype_that_all_have_is_not_changed(archive, tmp_path):
    """NumPy gives the same one to all who ask, and restores it in its place."""
    state = (3, ">", None, None, None, -1, -1, 0)
    program = pickle.dumps(Calls(np.dtype, "f4", False, False, state=state), 2)
    (tmp_path / "x").write_bytes(in_archive(program) if archive else program)
    with pytest.raises(InputError, match="no tensors"):
        read_tensors(tmp_path / "x")
    assert np.dtype("f4").byteorder == "="


class Kind(enum.Enum):
    ONE = 1


class Slots:
    __slots__ = ("x",)

    def __init__(self):
        self.x = 1


class Derived(np.ndarray):
    pass


class Recent(collections.OrderedDict):
    pass


# What programs put beside weights; all of it without any of their code.
VALUES = {
    "NumPy's": [np.float32(1), np.arange(3), np.array([None]), np.array("x"), np.bool_(True)],
    "empty arrays": [np.zeros(0), np.zeros((2, 0))],
    "arrays of other classes": [
        np.zeros(2).view(Derived),
        np.ma.array([1]),
        np.rec.array([(1, 2.0)]),
    ],
    "dates": [datetime.datetime(2020, 1, 1), np.datetime64(1, "s"), np.timedelta64(1, "s")],
    "paths": [pathlib.Path("x"), pathlib.PureWindowsPath("x")],
    "dictionaries": [Recent(a=1), collections.defaultdict(list, a=[1]), collections.Counter("ab")],
    "lists": [collections.deque([1, 2], 3), Many([1]), {1, 2}, frozenset((1, 2)), range(3)],
    "objects": [
        types.SimpleNamespace(a=1),
        Slots(),
        Kind.ONE,
        fractions.Fraction(1, 2),
        Restored(),
    ],
    "functions": [run, len, Restored, np.float32, torch.relu],
    "torch's": [torch.float32, torch.Size([1]), torch.device("cpu"), torch.strided],
    "tensors": [torch.ones(2, dtype=torch.bool), torch.ones(2).to_sparse(), 1j * torch.ones(2)],
    "as keys": {Kind.ONE: 1, pathlib.Path("x"): 2, np.float64(1): 3, (1, Kind.ONE): 4},
}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("form", ["zip", "legacy", 2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_plain_values_beside_weights_are_no_hindrance(values, form, tmp_path):
    content = {"aside": VALUES[values], "a": torch.ones(2), "b": torch.zeros(3)}
    if isinstance(form, int):
        (tmp_path / "x").write_bytes(pickle.dumps(content, form))
    else:
        torch.save(content, tmp_path / "x", _use_new_zipfile_serialization=form == "zip")
    found = read_tensors(tmp_path / "x")
    assert {k: v.tolist() for k, v in found.items()} == {"a": [1, 1], "b": [0, 0, 0]}


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_in_a_dictionary_of_another_class(legacy, tmp_path):
    made = {"model": Recent(a=torch.ones(2), b=np.arange(3, dtype=">f4"))}
    torch.save(made, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    found = read_tensors(tmp_path / "x")
    assert {k: v.tolist() for k, v in found.items()} == {"model/a": [1, 1], "model/b": [0, 1, 2]}


def test_a_network_beside_weights_is_no_hindrance(tmp_path):
    torch.save({"n": torch.nn.Linear(2, 2), "a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x")
    assert read_tensors(tmp_path / "x").keys() == {"a", "b"}


@pytest.mark.parametrize("legacy", [False, True])
def test_a_whole_network_is_refused(legacy, tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(network, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=r"running code that is in it \(torch\.nn\.modules"):
        read_tensors(tmp_path / "x")


def test_another_protocol_of_torch_is_named(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "x", pickle_protocol=4)
    with pytest.raises(InputError, match="pickle_protocol other than 2"):
        read_tensors(tmp_path / "x")


def crafted(size, stride, offset=0, count=4):
    """A file of torch's whose tensor is described so, with four numbers in it."""
    stream = io.BytesIO()
    torch.save({"a": torch.arange(4.0), "b": torch.arange(4.0)}, stream)
    whole = {}
    with zipfile.ZipFile(stream) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in whole if name.endswith("data.pkl"))
    values = [b"K" + bytes([offset]), b"K" + bytes([size]), b"K" + bytes([stride])]
    old = b"K\x00K\x04\x85"
    assert whole[name].count(old) == 2
    new = values[0] + values[1] + b"\x85"
    whole[name] = whole[name].replace(old, new)
    whole[name] = whole[name].replace(b"K\x04tq", b"K" + bytes([count]) + b"tq")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in whole.items():
            archive.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "described", [{"size": 5}, {"size": 4, "offset": 1}, {"size": 4, "count": 3}, {"size": 200}]
)
def test_a_tensor_keeps_within_its_bytes(described, tmp_path):
    """torch would make the storage larger, and leave in it what happens to be in memory."""
    (tmp_path / "x").write_bytes(crafted(stride=1, **{"size": 4}))
    assert read_tensors(tmp_path / "x")["a"].tolist() == [0, 1, 2, 3]
    (tmp_path / "x").write_bytes(crafted(stride=1, **described))
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(tmp_path / "x")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("described", [b"K\x01K\x04\x85", b"K\x00K\x05\x85"])
def test_a_tensor_keeps_within_its_bytes_without_checksums(legacy, described, tmp_path):
    made = {"a": torch.arange(4.0), "b": torch.ones(1)}
    content = pickle.dumps(made, 2)
    if legacy:
        torch.save(made, stream := io.BytesIO(), _use_new_zipfile_serialization=False)
        content = stream.getvalue()
    assert content.count(b"K\x00K\x04\x85") == 1
    (tmp_path / "x").write_bytes(content.replace(b"K\x00K\x04\x85", described))
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(tmp_path / "x")


def test_a_changed_byte_of_a_tensor_is_found(tmp_path):
    torch.save({"a": torch.full((1000,), 3.0), "b": torch.zeros(1)}, tmp_path / "x")
    content = bytearray((tmp_path / "x").read_bytes())
    at = content.index(torch.full((9,), 3.0).numpy().tobytes())
    content[at + 17] ^= 1
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        read_tensors(tmp_path / "x")


def test_a_tensor_that_is_marked_as_a_folder_is_refused(tmp_path):
    """Checksums are right, and torch would take what happens to be in memory."""
    stream = io.BytesIO()
    torch.save({"a": torch.ones(4), "b": torch.zeros(1)}, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(tmp_path / "x", "w") as new:
        for record in old.infolist():
            record.external_attr |= 0x10 * record.filename.endswith("data/0")
            new.writestr(record, old.read(record.filename))
    with pytest.raises(InputError, match="marked as a folder"):
        read_tensors(tmp_path / "x")


def test_containers_that_hold_each_other_end(tmp_path):
    circle = {"a": torch.ones(1), "b": torch.ones(1)}
    circle["c"] = circle
    torch.save(circle, tmp_path / "x")
    with pytest.raises(InputError, match="contain each other"):
        read_tensors(tmp_path / "x")


def test_memory_follows_the_size_of_a_file(tmp_path):
    """Not what a file says: here the label of a value, and the length of its bytes."""
    label = pickle.dumps({"a": 1}, 2).replace(b"q\x00", b"r\xff\xff\xff\x0f")
    length = b"\x80\x05\x96" + (1 << 36).to_bytes(8, "little") + b"abc."
    tracemalloc.start()
    for content in (label, length, in_archive(label)):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(InputError):
            read_tensors(tmp_path / "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


OTHERS = {
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "is HDF5"),
    "gzip": (b"\x1f\x8b" + bytes(50), "is compressed by gzip; unpack it"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "a page": (b"<!DOCTYPE html><html></html>", "is a web page"),
    "text": (b"hello, this is no checkpoint at all", "does not begin like a torch file"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_files_of_another_kind_are_named(kind, tmp_path):
    content, told = OTHERS[kind]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="is not a checkpoint") as caught:
        read_tensors(tmp_path / "x")
    assert told in str(caught.value)


def test_a_zip_archive_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("a/photo.jpg", b"x")
    with pytest.raises(InputError, match=r"without torch's data\.pkl"):
        read_tensors(tmp_path / "x")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_program_of_torchscript_is_called_so(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x"))
    with pytest.raises(InputError, match=r"TorchScript program; .*torch\.jit\.load\(FILE\)"):
        read_tensors(tmp_path / "x")


def test_bytes_that_are_a_part_of_others(tmp_path):
    """As torch wrote them before 2018: a storage that begins within another one."""
    torch.save({"a": torch.arange(6.0), "b": torch.ones(1)}, tmp_path / "x",
               _use_new_zipfile_serialization=False)  # fmt: skip
    content = (tmp_path / "x").read_bytes()
    # Count and no view, then offset, size and stride of the tensor.
    old = b"K\x06Nt"
    assert content.count(old) == 1
    view = b"K\x06X\x01\x00\x00\x00vK\x02K\x04\x87t"
    changed = content.replace(old, view)
    (tmp_path / "x").write_bytes(changed)
    with pytest.raises(InputError, match="is damaged"):
        read_tensors(tmp_path / "x")
    (tmp_path / "x").write_bytes(changed.replace(b"K\x00K\x06\x85", b"K\x01K\x03\x85"))
    assert read_tensors(tmp_path / "x")["a"].tolist() == [3, 4, 5]


def test_tensors_that_share_bytes(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    made = {
        "t": base.t(),
        "row": base[1],
        "every": base[:, ::2],
        "one": base[2, 3],
        "none": base[:0],
    }
    for legacy in (False, True):
        torch.save(made, tmp_path / "x", _use_new_zipfile_serialization=not legacy)
        found = read_tensors(tmp_path / "x")
        assert found.keys() == made.keys()
        assert all(torch.equal(found[name], value) for name, value in made.items())


@pytest.mark.parametrize(
    "dtype", [torch.float8_e4m3fn, torch.uint16, torch.bfloat16, torch.int8, torch.float64]
)
def test_types(dtype, tmp_path):
    made = {"a": torch.arange(5).to(dtype), "b": torch.nn.Parameter(torch.ones(2))}
    torch.save(made, tmp_path / "x")
    found = read_tensors(tmp_path / "x")
    assert found["a"].dtype == dtype
    assert torch.equal(found["a"].double(), made["a"].double())
    assert found["b"].tolist() == [1, 1]


def test_safetensors_whose_header_is_as_long_as_a_pickle_begins(tmp_path):
    """One header in 32 has a length whose lowest byte is 128."""
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
    firsts = set()
    for more in range(256):
        save_file(weights, tmp_path / "w.safetensors", {"note": "x" * more})
        firsts.add((tmp_path / "w.safetensors").read_bytes()[0])
        found = read_tensors(tmp_path / "w.safetensors")
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], value) for name, value in weights.items())
    assert 128 in firsts
