"""Shards that were made for the same pictures at another size."""

import numpy as np
import pytest

from cyborgs.images.decoding import Entry
from cyborgs.images.index import read_index, write_index
from cyborgs.masks.alignment import full_size, grid_size
from cyborgs.masks.given import GivenMasks
from cyborgs.masks.shards import Header, Masks, write_shard

NAMES = ["a/x.jpg", "a/y.png", "z.jpg"]
SIZES = [(48, 64), (61, 40), (20, 20)]
COPIES = ["a/x.jpg", "a/y.png.jpg", "z.jpg"]
SMALL = [(30, 40), (46, 30), (20, 20)]


def make_index(path, names, sizes):
    write_index(path, [Entry(n, h, w, 9, 0) for n, (h, w) in zip(names, sizes, strict=True)])
    return read_index(path)


@pytest.fixture
def masks(tmp_path):
    """Masks of the originals in two shards, at a stride of 4."""
    index = make_index(tmp_path / "index.jsonl", NAMES, SIZES)
    rng = np.random.default_rng(0)
    for shard, positions in enumerate(([2, 0], [1])):
        header = Header(0, 4, shard, 2, index.digest, {})
        with write_shard(tmp_path / f"masks/{shard}.h5", header) as writer:
            for p in positions:
                shape = tuple(grid_size(side, 4) for side in SIZES[p])
                writer.add(p, index[p], rng.integers(0, 300, shape), group=-1, clusters=300)
    return Masks(str(tmp_path / "masks"), index)


def given(folder, names=COPIES, sizes=SMALL):
    index = make_index(folder / "run.jsonl", names, sizes)
    return GivenMasks(str(folder / "masks"), index), index


def test_those_of_the_runs_own_index_are_read_as_they_are(tmp_path, masks):
    found, index = given(tmp_path, NAMES, SIZES)
    assert (found.resampled, found.stride, found.digest) == (False, 4, masks.digest)
    for p in range(3):
        np.testing.assert_array_equal(found.read(p, index[p]), masks.read(p))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1], [2, 0]])
def test_those_of_the_originals_are_found_by_name_and_resampled(tmp_path, masks, order):
    found, index = given(tmp_path, [COPIES[p] for p in order], [SMALL[p] for p in order])
    assert (found.resampled, found.stride, found.digest) == (True, 4, masks.digest)
    for position, p in enumerate(order):
        whole = full_size(masks.read(p), *SIZES[p], 4)
        # In whole numbers: (2 y + 1) / 2 * H / h.
        rows = [(2 * y + 1) * SIZES[p][0] // (2 * SMALL[p][0]) for y in range(0, SMALL[p][0], 4)]
        cols = [(2 * x + 1) * SIZES[p][1] // (2 * SMALL[p][1]) for x in range(0, SMALL[p][1], 4)]
        expected = whole[np.ix_(rows, cols)]
        np.testing.assert_array_equal(found.read(position, index[position]), expected)


class TestBadInput:
    def test_another_aspect_ratio(self, tmp_path, masks, refused):
        with refused(
            "that of image a/y.png is of 61 x 40 pixels", "image a/y.png.jpg of this run 44 x 30",
            "cannot be one picture at two sizes",
        ):  # fmt: skip
            given(tmp_path, COPIES, [(30, 40), (44, 30), (20, 20)])

    def test_a_missing_image(self, tmp_path, masks, refused):
        with refused("1 of 3 images have none, b.jpg among them"):
            given(tmp_path, ["a/x.jpg", "b.jpg", "z.jpg"])

    def test_foreign_names(self, tmp_path, masks, refused):
        with refused("0.h5 was made for another index"):
            given(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])

    def test_another_data_set_of_the_same_names_and_sizes(self, tmp_path, masks, refused):
        write_index(
            tmp_path / "run.jsonl",
            [Entry(n, h, w, 10, 1) for n, (h, w) in zip(NAMES, SIZES, strict=True)],
        )
        with refused("0.h5 was made for another index"):
            GivenMasks(str(tmp_path / "masks"), read_index(tmp_path / "run.jsonl"))

    def test_shards_of_two_indexes(self, tmp_path, masks, refused):
        with write_shard(tmp_path / "masks/2.h5", Header(0, 4, 0, 1, "other", {})) as writer:
            writer.add(0, Entry("q.jpg", 4, 4, 1, 0), np.zeros((1, 1), int), group=-1, clusters=1)
        with refused("2.h5 was made for another index"):
            given(tmp_path)

    def test_a_damaged_shard(self, tmp_path, masks, refused):
        path = tmp_path / "masks/1.h5"
        path.write_bytes(path.read_bytes()[:-500])
        with refused("1.h5 is truncated"):
            given(tmp_path)

    def test_an_image_twice(self, tmp_path, masks, refused):
        (tmp_path / "masks/2.h5").write_bytes((tmp_path / "masks/1.h5").read_bytes())
        with refused("image a/y.png has a mask in", "1.h5", "2.h5"):
            given(tmp_path)
