"""The format that docs/mask-format.md describes is the one that is written."""

import fcntl
import hashlib
import json
import multiprocessing
import re
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index
from cyborgs.masks.alignment import full_size
from cyborgs.masks.palette import colours
from cyborgs.masks.shards import Header, Shard, labels_digest, write_shard

PAGE = (Path(__file__).resolve().parents[2] / "docs/mask-format.md").read_text()
INDEX = Index([Entry("a/ü.jpg", 50, 41, 1, 0), Entry("b.jpg", 8, 8, 1, 0)], "0123abc")

needs_tools = pytest.mark.skipif(
    shutil.which("h5dump") is None or shutil.which("h5ls") is None,
    reason="HDF5's own tools are not installed (Debian: hdf5-tools)",
)


def labels_of(position):
    shape = ((7, 6), (1, 1))[position]
    return np.random.default_rng(position).integers(0, 200, shape).astype(np.uint8)


def write(path):
    record = {"stage": "test", "config": {}, "inputs": {}, "libraries": {}}
    with write_shard(path, Header(3, 8, 0, 1, INDEX.digest, record)) as writer:
        for position, entry in enumerate(INDEX.entries):
            writer.add(position, entry, labels_of(position), group=position - 1, clusters=5)
    return path


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    return write(tmp_path_factory.mktemp("format") / "shard.h5")


def test_every_data_set_and_attribute_is_on_the_page(shard):
    with h5py.File(shard) as file:
        for name in file.attrs:
            assert f"`{name}`" in PAGE, name
        found = []
        file.visititems(lambda name, item: found.append(item))
        for item in found:
            if isinstance(item, h5py.Dataset):
                name = "/masks/000000017" if item.name.startswith("/masks") else item.name
                (line,) = [row for row in PAGE.splitlines() if f"`{name}`" in row and "|" in row]
                kind = "bytes" if item.dtype.kind == "S" else str(item.dtype)
                assert kind in line, name
            for attribute in item.attrs:
                assert f"`{attribute}`" in PAGE, attribute


def test_the_example_of_the_page_reads_a_mask(shard):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    for position, entry in enumerate(INDEX.entries):
        scope = {"path": shard, "name": entry.name}
        exec(code, scope)
        expected = full_size(labels_of(position), entry.height, entry.width, 8)
        np.testing.assert_array_equal(scope["labels"], expected)


def test_digests_are_what_the_page_says(shard):
    with Shard(shard) as opened:
        for row, position in enumerate(opened.positions):
            labels = opened.read(int(position))
            content = f"({labels.shape[0]}, {labels.shape[1]})".encode()
            content += labels.astype("<u2").tobytes()
            digest = hashlib.blake2b(content, digest_size=8).digest()
            assert opened.digests[row] == int.from_bytes(digest, "little") == labels_digest(labels)


def test_masks_are_indexed_images_by_the_specification(shard):
    """HDF5 Image and Palette Specification 1.2: C strings, an array of references."""
    with h5py.File(shard) as file:
        mask = file["masks/000000000"]
        assert mask.chunks == mask.shape
        assert (mask.compression, mask.fletcher32) == ("gzip", True)
        expected = {
            "CLASS": b"IMAGE",
            "IMAGE_VERSION": b"1.2",
            "IMAGE_SUBCLASS": b"IMAGE_INDEXED",
            "DISPLAY_ORIGIN": b"UL",
        }
        check_strings(mask, expected)
        references = mask.attrs["PALETTE"]
        assert references.shape == (1,)
        palette = file[references[0]]
        assert palette.name == "/palette"
        np.testing.assert_array_equal(palette[:], colours())
        assert palette.dtype == np.uint8
        expected = {
            "CLASS": b"PALETTE",
            "PAL_VERSION": b"1.2",
            "PAL_TYPE": b"STANDARD8",
            "PAL_COLORMODEL": b"RGB",
        }
        check_strings(palette, expected)


def check_strings(item, expected):
    for name, value in expected.items():
        assert item.attrs[name] == value
        kind = item.attrs.get_id(name).get_type()
        assert isinstance(kind, h5py.h5t.TypeStringID)
        assert not kind.is_variable_str()
        assert kind.get_strpad() == h5py.h5t.STR_NULLTERM
        assert kind.get_size() == len(value) + 1


def test_written_twice_it_is_the_same_bytes(shard, tmp_path):
    assert write(tmp_path / "again.h5").read_bytes() == shard.read_bytes()


@needs_tools
def test_h5ls_lists_a_mask(shard):
    shown = subprocess.run(
        ["h5ls", "-v", f"{shard}/masks/000000000"], capture_output=True, text=True, check=True
    ).stdout
    assert "Dataset {7/7, 6/6}" in shown
    assert "Attribute: PALETTE {1}" in shown
    assert "Chunks:    {7, 6}" in shown
    names = subprocess.run(["h5ls", "-r", shard], capture_output=True, text=True, check=True).stdout
    assert "/images/clusters         Dataset {2}" in names
    assert "/palette                 Dataset {256, 3}" in names


@needs_tools
def test_h5dump_prints_labels_and_provenance(shard):
    shown = subprocess.run(
        ["h5dump", "-y", "-w", "0", "-d", "/masks/000000000", shard],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    data = shown.split("DATA {")[1].split("}")[0]
    printed = [int(number) for number in re.findall(r"\d+", data)]
    assert printed == labels_of(0).ravel().tolist()
    assert '"IMAGE_INDEXED"' in shown
    shown = subprocess.run(
        ["h5dump", "-a", "/provenance", shard], capture_output=True, text=True, check=True
    ).stdout
    text = shown.split("(0): ")[1].splitlines()[0].strip().strip('"')
    assert json.loads(text.replace('\\"', '"'))["stage"] == "test"


def read_all(path):
    with Shard(path) as shard:
        return [labels_digest(shard.read(int(p))) for p in shard.positions]


def test_many_processes_read_at_once(shard):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map(read_all, [shard] * 12)
    assert all(result == read_all(shard) for result in results)


def test_a_lock_does_not_keep_readers_out(tmp_path):
    """As on network file systems that refuse locks, or where somebody has the file open."""
    path = write(tmp_path / "shard.h5")
    with open(path, "rb+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            h5py.File(path, "r", locking=True)
        assert len(read_all(path)) == 2


def test_a_file_that_may_only_be_read(tmp_path):
    path = write(tmp_path / "shard.h5")
    path.chmod(0o444)
    assert len(read_all(path)) == 2
