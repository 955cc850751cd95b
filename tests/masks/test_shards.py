"""Shards: what goes in comes out, and nothing wrong comes out."""

import errno
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from cyborgs.common.errors import InputError
from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Header, Masks, Shard, find_shards, write_shard

SIZES = [(64, 96), (50, 41), (8, 8), (200, 9), (7, 300), (33, 32)]
ALL = range(len(SIZES))
INDEX = Index(
    [Entry(f"folder {i % 2}/ü{i}.jpg", h, w, 10, 0) for i, (h, w) in enumerate(SIZES)], "abc"
)


def labels_of(position, stride=8):
    entry = INDEX[position]
    rng = np.random.default_rng(position)
    most = 60000 if position == 3 else 200
    return rng.integers(0, most, (grid_size(entry.height, stride), grid_size(entry.width, stride)))


def write(path, positions=ALL, **changes):
    header = {
        "round": 1,
        "stride": 8,
        "shard": 0,
        "shards": 1,
        "index": "abc",
        "provenance": {"a": 1},
    }
    with write_shard(path, Header(**(header | changes))) as writer:
        for p in positions:
            writer.add(p, INDEX[p], labels_of(p), group=p // 2, clusters=5)
    return path


def digest_of(path, labels, index=INDEX):
    """Digest of masks given by position, written to a file of this name."""
    with write_shard(path, Header(1, 8, 0, 1, "abc", {})) as writer:
        for p, mask in labels.items():
            writer.add(p, index[p], mask, group=0, clusters=9)
    return Masks(str(path), index, complete=False).digest


def test_round_trip(tmp_path):
    with Shard(write(tmp_path / "s.h5", [4, 3, 0])) as shard:
        assert len(shard) == 3
        assert shard.header == Header(1, 8, 0, 1, "abc", {"a": 1})
        assert shard.positions.tolist() == [4, 3, 0]
        assert shard.names == [INDEX[p].name for p in (4, 3, 0)]
        assert list(zip(shard.heights, shard.widths, strict=True)) == [SIZES[p] for p in (4, 3, 0)]
        assert shard.groups.tolist() == [2, 1, 0]
        assert shard.clusters.tolist() == [5, 5, 5]
        for p, dtype in ((4, np.uint8), (3, np.uint16), (0, np.uint8)):
            assert shard.read(p).dtype == dtype
            np.testing.assert_array_equal(shard.read(p), labels_of(p))
        with pytest.raises(InputError, match=r"s\.h5 holds no image 1"):
            shard.read(1)


def test_positions_as_they_are_stored(tmp_path):
    write(tmp_path / "a.h5", [4, 0], shard=0)
    write(tmp_path / "b.h5", [3, 1, 2, 5], shard=1)
    masks = Masks(str(tmp_path), INDEX)
    assert masks.positions.tolist() == [0, 1, 2, 3, 4, 5]
    assert masks.as_stored.tolist() == [0, 4, 1, 2, 3, 5]


READ = """
import re, sys
from pathlib import Path
from cyborgs.masks.shards import Shard

def memory():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search("VmRSS: *\\t *([0-9]+)", status)[1])

shards = [Shard(path) for path in sorted(Path(sys.argv[1]).iterdir())]
def read(begin, end):
    for shard in shards:
        for position in shard.positions[begin:end]:
            shard.read(int(position))

read(0, 200)
before = memory()
read(200, 1000)
print((memory() - before) / (800 * len(shards)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from /proc")
def test_reading_takes_no_memory_that_grows(tmp_path):
    """HDF5 by itself remembers 5 kB of each mask; a node has dozens of loader processes."""
    labels = np.random.default_rng(0).integers(0, 9, (6, 8)).astype(np.uint8)
    for number in range(8):
        with write_shard(tmp_path / f"{number}.h5", Header(1, 8, number, 8, "abc", {})) as writer:
            for p in range(1000 * number, 1000 * number + 1000):
                writer.add(p, Entry(f"{p}.jpg", 48, 64, 1, 0), labels, group=0, clusters=9)
    line = [sys.executable, "-c", READ, tmp_path]
    assert float(subprocess.run(line, capture_output=True, text=True, check=True).stdout) < 500


def test_the_same_masks_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_any_hdf5_program_can_read_them_and_shows_them_in_colour(tmp_path):
    with h5py.File(write(tmp_path / "s.h5")) as file:
        mask = file["masks/000000001"]
        assert mask.chunks == mask.shape
        assert mask.compression == "gzip"
        assert mask.fletcher32
        assert mask.attrs["CLASS"] == b"IMAGE"
        assert mask.attrs["IMAGE_SUBCLASS"] == b"IMAGE_INDEXED"
        palette = file[mask.attrs["PALETTE"][0]]
        assert palette.shape == (256, 3)
        assert palette.attrs["CLASS"] == b"PALETTE"
        assert len(np.unique(palette[:], axis=0)) > 200


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((8, 11), int), "shape"),
        (np.full((8, 12), 65536), "outside"),
        (np.full((8, 12), -1), "outside"),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, labels, message):
    path = write(tmp_path / "s.h5", [1])
    before = path.read_bytes()

    def replace():
        with write_shard(path, Header(1, 8, 0, 1, "abc", {})) as writer:
            writer.add(1, INDEX[1], labels_of(1), group=0, clusters=2)
            writer.add(0, INDEX[0], labels, group=0, clusters=2)

    with pytest.raises(ValueError, match=message):
        replace()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_truncation_at_any_length_is_noticed(tmp_path):
    content = write(tmp_path / "s.h5").read_bytes()
    for size in [0, 1, 100, len(content) // 2, len(content) - 1]:
        cut = tmp_path / "cut.h5"
        cut.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"mask shard .*cut\.h5 is truncated") as caught:
            Shard(cut)
        assert "\n" not in str(caught.value)


def test_a_changed_byte_of_a_mask_never_gives_other_labels(tmp_path):
    path = write(tmp_path / "s.h5")
    with h5py.File(path) as file:
        chunk = file["masks/000000003"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    for offset in range(chunk.byte_offset, chunk.byte_offset + chunk.size, 7):
        damaged = bytearray(content)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        with Shard(path) as shard:
            with pytest.raises(InputError, match=r"s\.h5 is damaged at image 3"):
                shard.read(3)
            np.testing.assert_array_equal(shard.read(2), labels_of(2))


def test_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1]
    with pytest.raises(InputError, match="is HDF5, but not a mask shard"):
        Shard(tmp_path / "other.h5")
    with h5py.File(write(tmp_path / "new.h5"), "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(InputError, match="format version 2, this program reads version 1"):
        Shard(tmp_path / "new.h5")
    with h5py.File(write(tmp_path / "less.h5"), "r+") as file:
        del file["images/group"]
    with pytest.raises(InputError, match=r"less\.h5 is damaged"):
        Shard(tmp_path / "less.h5")
    with pytest.raises(InputError, match="does not exist"):
        Shard(tmp_path / "nothing.h5")


def test_masks_of_a_round_are_read_from_any_shards(tmp_path):
    write(tmp_path / "one" / "s.h5")
    write(tmp_path / "two" / "a.h5", [5, 0, 2], shards=2)
    write(tmp_path / "two" / "b.h5", [4, 1, 3], shard=1, shards=2)
    one, two = Masks(str(tmp_path / "one"), INDEX), Masks(str(tmp_path / "two"), INDEX)
    assert one.digest == two.digest
    for p in range(len(SIZES)):
        np.testing.assert_array_equal(two.read(p), labels_of(p))
    again = pickle.loads(pickle.dumps(two))  # with files open
    np.testing.assert_array_equal(again.read(1), labels_of(1))


def test_the_digest_notices_labels_round_and_stride(tmp_path):
    write(tmp_path / "a.h5")
    with write_shard(tmp_path / "b.h5", Header(1, 8, 0, 1, "abc", {"a": 1})) as writer:
        for p in range(len(SIZES)):
            labels = labels_of(p)
            labels[0, 0] += p == 2
            writer.add(p, INDEX[p], labels, group=p // 2, clusters=5)
    write(tmp_path / "c.h5", round=2)
    digests = {Masks(str(tmp_path / f"{n}.h5"), INDEX).digest for n in "abc"}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, None, r"3 of 6 images have none, folder 1/ü3\.jpg among them"),
        ({}, {"index": "other"}, "made for another index"),
        ({}, {"round": 2}, "of round 2, stride 8; .* of round 1"),
        ({}, {"provenance": {"a": 2}}, "different inputs or settings"),
        ({"index": "other"}, None, "belongs to another run or data set"),
    ],
)
def test_shards_that_do_not_belong_together(tmp_path, first, second, message):
    write(tmp_path / "a.h5", [0, 1, 2], **first)
    if second is not None:
        write(tmp_path / "b.h5", [3, 4, 5], **second)
    with pytest.raises(InputError, match=message):
        Masks(str(tmp_path), INDEX)


def test_an_image_with_two_masks_is_named(tmp_path):
    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5", [4])
    with pytest.raises(InputError, match=r"folder 0/ü4\.jpg has a mask in .*b\.h5 and in .*a\.h5"):
        Masks(str(tmp_path), INDEX)


def test_library_versions_may_differ_between_shards(tmp_path):
    write(tmp_path / "a.h5", [0, 1, 2], provenance={"libraries": {"torch": "1"}})
    write(tmp_path / "b.h5", [3, 4, 5], provenance={"libraries": {"torch": "2"}})
    assert len(Masks(str(tmp_path), INDEX).positions) == 6


def test_shards_are_found_by_folder_file_and_pattern(tmp_path):
    for name in (
        "shard-0-of-2.h5",
        "shard-1-of-2.h5",
        "shard-0-of-1.h5",
        ".shard.part.h5",
        "x.txt",
    ):
        (tmp_path / name).touch()
    assert len(find_shards(str(tmp_path))) == 3
    assert len(find_shards(str(tmp_path / "shard-*-of-2.h5"))) == 2
    assert len(find_shards(str(tmp_path / "shard-0-of-1.h5"))) == 1
    for nothing in ("none", "shard-*-of-9.h5"):
        with pytest.raises(InputError, match="no mask shards there"):
            find_shards(str(tmp_path / nothing))


def test_the_digest_notices_where_labels_lie(tmp_path):
    labels = {0: labels_of(0), 3: labels_of(3)}
    same = Index([Entry(f"{n}.jpg", 64, 96, 10, 0) for n in range(6)], "abc")
    turned = Index([Entry(f"{n}.jpg", 96, 64, 10, 0) for n in range(6)], "abc")
    digests = [
        digest_of(tmp_path / "a.h5", labels),
        digest_of(tmp_path / "b.h5", labels | {0: labels[0][:, ::-1]}),
        digest_of(tmp_path / "c.h5", {0: labels[0], 1: labels_of(0)}, same),
        digest_of(tmp_path / "d.h5", {0: labels[0], 2: labels_of(0)}, same),
        digest_of(tmp_path / "e.h5", {0: labels[0], 1: labels[0][::-1]}, same),
        digest_of(tmp_path / "f.h5", {0: labels[0][::-1], 1: labels[0]}, same),
        digest_of(
            tmp_path / "g.h5", {0: labels[0].reshape(12, 8), 1: np.zeros((12, 8), int)}, turned
        ),
        digest_of(tmp_path / "h.h5", {0: labels[0], 1: np.zeros((8, 12), int)}, same),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("most", "dtype"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16)]
)
def test_labels_take_as_many_bits_as_the_largest_needs(tmp_path, most, dtype):
    labels = np.zeros((8, 12), dtype=np.int64)
    labels[3, 5] = most
    digest_of(tmp_path / "s.h5", {0: labels})
    with Shard(tmp_path / "s.h5") as shard:
        assert shard.read(0).dtype == dtype
        np.testing.assert_array_equal(shard.read(0), labels)


def test_masks_that_are_open_can_be_read_after_a_fork(tmp_path):
    write(tmp_path / "a.h5", [0, 1, 2])
    write(tmp_path / "b.h5", [3, 4, 5])
    masks = Masks(str(tmp_path), INDEX)
    masks.read(0)
    reader = DataLoader([*ALL], batch_size=None, num_workers=2, collate_fn=masks.read)
    for _ in range(3):
        for p, labels in enumerate(reader):
            np.testing.assert_array_equal(labels, labels_of(p))
    masks.close()
    np.testing.assert_array_equal(masks.read(5), labels_of(5))


def test_a_shard_that_goes_away_is_named_when_it_is_read(tmp_path):
    path = write(tmp_path / "s.h5")
    masks = Masks(str(path), INDEX)
    path.unlink()
    with pytest.raises(InputError, match=r"mask shard .*s\.h5 does not exist"):
        masks.read(0)


def test_nothing_in_a_shard_depends_on_the_time(tmp_path):
    with h5py.File(write(tmp_path / "s.h5")) as file:
        found = []
        file.visititems(lambda name, item: found.append(item))
        sets = [item for item in found if isinstance(item, h5py.Dataset)]
        assert len(sets) > len(SIZES)
        assert not any(item.id.get_create_plist().get_obj_track_times() for item in sets)
        assert file["masks/000000001"].id.get_num_chunks() == 1


def test_damage_outside_the_masks_is_one_line_too(tmp_path):
    def damaged(name, change):
        path = write(tmp_path / f"{name}.h5")
        with h5py.File(path, "r+") as file:
            change(file)
        return str(path)

    def no_version(file):
        del file.attrs["version"]

    def other_position(file):
        file["images/position"][1] = 7

    def other_digest(file):
        file["images/digest"][2] = 7

    for name, change in [("version", no_version), ("position", other_position)]:
        with pytest.raises(InputError, match=rf"{name}\.h5 is damaged"):
            Masks(damaged(name, change), INDEX)
    masks = Masks(damaged("digest", other_digest), INDEX)
    with pytest.raises(InputError, match=r"damaged at image 2 \(labels do not match"):
        masks.read(2)


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    entry = Entry("a\udcff.jpg", 10, 10, 3, 0)
    index = Index([entry], "abc")
    with write_shard(tmp_path / "s.h5", Header(0, 8, 0, 1, "abc", {})) as writer:
        writer.add(0, entry, np.zeros((2, 2), int), group=-1, clusters=1)
    with Shard(tmp_path / "s.h5") as shard:
        assert shard.names == [entry.name]
    assert Masks(str(tmp_path / "s.h5"), index).read(0).shape == (2, 2)


NO_FLOCK = """
#include <errno.h>
#include <stdlib.h>
int flock(int file, int what) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="takes flock away by LD_PRELOAD"
)
@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524], ids=errno.errorcode.get
)
def test_shards_are_written_and_read_where_files_cannot_be_locked(tmp_path, number):
    """As on Lustre and some NFS."""
    (tmp_path / "flock.c").write_text(NO_FLOCK)
    library = tmp_path / "flock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "flock.c"], check=True)
    program = (
        "import sys, fcntl, numpy as np\n"
        "from pathlib import Path\n"
        "from cyborgs.images.decoding import Entry\n"
        "from cyborgs.masks.shards import Header, Shard, write_shard\n"
        "try:\n"
        "    fcntl.flock(sys.stdin, fcntl.LOCK_SH)\n"
        "except OSError:\n"
        "    print('no flock')\n"
        "header = Header(0, 8, 0, 1, '0' * 64, {})\n"
        "with write_shard(Path(sys.argv[1]), header) as writer:\n"
        "    entry, labels = Entry('a.jpg', 16, 24, 1, 1), np.ones((2, 3), np.int64)\n"
        "    writer.add(0, entry, labels, group=0, clusters=2)\n"
        "with Shard(Path(sys.argv[1])) as shard:\n"
        "    print(shard.read(0).tolist())\n"
    )
    environment = os.environ | {"LD_PRELOAD": str(library), "FLOCK_ERRNO": str(number)}
    environment.pop("HDF5_USE_FILE_LOCKING", None)
    shown = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "shard.h5"],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines() == ["no flock", "[[1, 1, 1], [1, 1, 1]]"]
