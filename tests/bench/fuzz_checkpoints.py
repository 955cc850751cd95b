"""Throw broken and odd checkpoints at their reader: none may crash, hang, or be read wrongly.

python -m tests.bench.fuzz_checkpoints [--files 10000] [--seed 1]

A crash ends this program by a signal, a file that takes over thirty seconds by an alarm, and
whatever else than a refusal in one line by its traceback.  A file that is read must give weights
that are in it, all of them finite.
"""

import argparse
import io
import pickle
import random
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch

from cyborgs.checkpoints.layouts import read_checkpoint
from cyborgs.common.errors import InputError
from tests.bench.fuzzing import throw
from tests.checkpoints.made import (
    BESIDE,
    CONTAINER_PAIRS,
    CONTAINERS,
    NAMINGS,
    PAIRS,
    PLACES,
    WRAPPERS,
    contained,
    numbers,
    prefixed,
    shapes,
    weights,
    wrapped,
)

LEARNER, AVERAGE = weights(1), weights(101)

# What may lie anywhere in a file.
ODD = (
    None, "text", 3, -1.5, b"\xff", [], {}, [1, [2, [3]]], {"a": {"b": {"c": 1}}}, {1: 2, None: 3},
    torch.zeros(0), torch.zeros(2, 2), torch.tensor(float("nan")), torch.zeros(3, dtype=torch.bool),
    torch.zeros(2, dtype=torch.complex64), np.float64(1), np.arange(4), np.array(["x"]),
    np.array([None, 1]), argparse.Namespace(a=1), Path("x"), Counter("aab"), {1, 2}, (1,),
    torch.float32, slice(1, 2), range(3), frozenset("a"), np.datetime64(1, "s"),
)  # fmt: skip


def packed(content, form):
    """The bytes of a file of a form: "zip", "legacy", "pickle", "safetensors"."""
    stream = io.BytesIO()
    if form in ("zip", "legacy"):
        torch.save(content, stream, _use_new_zipfile_serialization=form == "zip")
        return stream.getvalue()
    if form == "pickle":
        return pickle.dumps(
            {"model": {k: v.contiguous().numpy() for k, v in content.items()}, "epoch": 3}, 4
        )
    return safetensors.numpy.save({k: v.contiguous().numpy() for k, v in content.items()})


def broken(content, draw):
    """Bytes of which some are changed, left out, doubled, or of another kind."""
    content = bytearray(content)
    # Names and sizes are where the trouble is: at the beginning, and of archives at the end.
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        reach = len(content)
        begin, end = draw.choice([(0, reach), (0, min(reach, 4000)), (max(0, reach - 4000), reach)])
        at = draw.randrange(begin, max(begin + 1, end))
        length = draw.choice([1, 1, 2, 4, 64])
        kind = draw.randrange(6)
        if kind == 0:
            content[at : at + length] = draw.randbytes(length)
        elif kind == 1:
            content[at : at + length] = draw.choice([b"\xff", b"\0", b"\x7f", b"."]) * length
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = content[at : at + length]
        elif kind == 4:
            del content[draw.randrange(max(1, len(content))) :]
        else:
            bit = 1 << draw.randrange(8)
            content[at : at + 1] = bytes(byte ^ bit for byte in content[at : at + 1])
    return bytes(content)


def damage(named, draw):
    """A network of which a weight is gone, of another shape, kind or value, or one too many."""
    named = dict(named)
    name = draw.choice([k for k in named if not k.endswith("num_batches_tracked")])
    value = named[name]
    kind = draw.randrange(7)
    if kind == 0:
        del named[name]
    elif kind == 1:
        named[name] = torch.zeros(
            draw.choice([(), (0,), (1, *value.shape), (*value.shape[:-1], 5)])
        )
    elif kind == 2:
        named[name] = torch.zeros((), dtype=draw.choice([torch.int8, torch.bool])).expand(
            value.shape
        )
    elif kind == 3:
        number = draw.choice([float("nan"), float("inf"), 1e300])
        named[name] = torch.tensor(number, dtype=torch.float64).expand(value.shape)
    elif kind == 4:
        named[name] = draw.choice(ODD)
    elif kind == 5:
        named[name + draw.choice(["_orig", "_mask", ".original0"])] = named.pop(name)
    else:
        # Within the same layer.
        named[name.rpartition(".")[0] + draw.choice([".se.weight", ".0.weight"])] = value
    return named


def structured(draw):
    """A checkpoint, and the networks that must come out of it: two, one or none."""
    naming = NAMINGS[draw.choice(sorted(NAMINGS))]
    whole = [True, True]
    given = [naming(LEARNER), naming(AVERAGE)]
    for number in range(2):
        if draw.random() < 0.3:
            given[number], whole[number] = damage(given[number], draw), False
    beside = {name: torch.zeros(3, 2) for name in draw.sample(BESIDE, draw.choice([0, 0, 1, 3]))}
    wrap = draw.choice(["", "", *WRAPPERS])
    kind = draw.randrange(4)
    expected = []
    if kind == 0:
        content = contained(
            draw.choice(CONTAINERS), wrapped(wrap, draw.choice(PLACES), given[0]) | beside
        )
        expected = [LEARNER] if whole[0] else []
    elif kind == 1:
        first, second = draw.choice(PAIRS)
        named = wrapped(wrap, first, given[0]) | wrapped(wrap, second, given[1])
        content = contained(draw.choice(CONTAINERS), named | beside)
        expected = [LEARNER, AVERAGE] if all(whole) else []
    elif kind == 2:
        names = draw.choice(CONTAINER_PAIRS)
        place = draw.choice(["", "backbone.", "encoder.0."])
        content = {
            name: wrapped(wrap, place, named) | beside
            for name, named in zip(names, given, strict=True)
        }
        expected = [LEARNER, AVERAGE] if all(whole) else []
    else:
        places = draw.sample(["image_encoder.", "depth_encoder.", "a.", "b."], 2)
        named = prefixed(places[0], given[0]) | prefixed(places[1], given[1])
        content = contained(draw.choice(CONTAINERS), named | beside)
    for _ in range(draw.choice([0, 0, 1, 3])):
        content[draw.choice(["epoch", "args", "meta", "hyper", "optimizer", 7])] = draw.choice(ODD)
    return content, expected


def checkpoints(count, seed):
    """Files, and which networks may come out of each: None where its bytes are broken."""
    draw = random.Random(seed)
    # Not all of each form: of the last two, tensors are at their full size.
    small = {k: v for k, v in LEARNER.items() if v.ndim}
    whole = {
        "zip": packed({"state_dict": LEARNER, "state_dict_ema": AVERAGE, "epoch": 3}, "zip"),
        "legacy": packed({"state_dict": LEARNER, "state_dict_ema": AVERAGE}, "legacy"),
        "pickle": packed(small, "pickle"),
        "safetensors": packed(small, "safetensors"),
    }
    for _ in range(count):
        choice = draw.random()
        if choice < 0.5:
            content, expected = structured(draw)
            yield packed(content, draw.choice(["zip", "zip", "legacy"])), expected
        else:
            form = "zip" if choice < 0.7 else "legacy" if choice < 0.9 else "pickle"
            form = "safetensors" if choice > 0.95 else form
            yield broken(whole[form], draw), None


def check(path, expected):
    """Read a file; returns what came of it, and fails where that is wrong."""
    try:
        found = read_checkpoint(path)
    except InputError as error:
        message = str(error)
        assert 0 < len(message) < 1000, message
        assert "\n" not in message, message
        assert not expected, message
        return "refused"
    networks = [found.backbone()] + ([found.backbone("target")] if found.target else [])
    for network in networks:
        assert {k: tuple(v.shape) for k, v in network.items()} == shapes()
        assert all(value.isfinite().all() for value in network.values())
    if expected is not None:
        assert expected, f"{found.layout}: what was to be refused"
        assert [numbers(n) for n in networks] == [numbers(n) for n in expected]
        return "read"
    raw = path.read_bytes()
    if raw.startswith(b"PK"):
        # Its checksums leave nothing else than what was there before it was broken.
        assert [numbers(n) for n in networks] == [numbers(LEARNER), numbers(AVERAGE)]
        return "read though broken"
    weights_read = [(k, v) for network in networks for k, v in network.items() if v.ndim]
    if is_legacy(raw):
        # torch alone reads these.  What it has read must be in their bytes, not from elsewhere in
        # memory; of tensors that repeat one number, these are that number.
        for name, value in weights_read:
            held = value.unique() if any(value.stride()) else value[(0,) * value.ndim].reshape(1)
            assert all(number.numpy().tobytes() in raw for number in held), name
        return "read though broken"
    held = told_by_others(raw)
    if held is None:
        return "read, and by nothing else"
    for name, value in weights_read:
        assert any(v.shape == value.shape and torch.equal(v, value) for v in held if v.ndim), name
    return "read though broken"


def is_legacy(raw):
    """Whether it begins as torch's files of before 2020 do."""
    return b"l\xfc\x9cF\xf9" in raw[:15]


def told_by_others(raw):
    """All tensors of a file as safetensors or pickle read them; None where they do not."""
    try:
        # Made here, and broken by chance: nobody put code into it.  In Python, as that in C takes
        # any amount of memory.
        content = safetensors.numpy.load(raw) if raw[8:9] == b"{" else pickle._loads(raw)
    except Exception:
        return None
    found, left = [], [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, torch.Tensor | np.ndarray) and value.dtype != object:
            found.append(torch.as_tensor(value).float())
    return found


def shown_outcome(file, folder):
    """The outcome; keeps a file that something was wrong with."""
    path = folder / "x"
    path.write_bytes(file[0])
    try:
        return check(path, file[1])
    except BaseException:
        kept = Path(tempfile.gettempdir(), "fuzz.pth")
        kept.write_bytes(file[0])
        print(f"kept as {kept}", flush=True)
        raise


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        # On a machine that does other things as well.
        throw(
            __doc__.splitlines()[0],
            checkpoints,
            lambda file: shown_outcome(file, Path(name)),
            count=10_000,
            patience=30,
        )
