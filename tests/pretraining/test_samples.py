"""Samples and steps: the same whoever makes them."""

import numpy as np
import pytest
import torch

from cyborgs.common.errors import InputError
from cyborgs.config import Views
from cyborgs.images.index import Index, scan
from cyborgs.images.listing import names_of
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Header, Masks, write_shard
from cyborgs.pretraining.samples import TwoViews
from cyborgs.pretraining.views import scramble
from cyborgs.training.batches import Steps, arrived, load_batches

IMAGES = 11


@pytest.fixture(scope="module")
def parts(tmp_path_factory, write_image):
    """Folder, index and masks of eleven small pictures of different sizes."""
    folder = tmp_path_factory.mktemp("dataset")
    for i in range(IMAGES):
        write_image(folder / "images" / f"{i:02d}.png", (40 + 3 * i, 90 - 4 * i))
    index = Index(list(scan(folder / "images", names_of(folder / "images"), 1)), "digest")
    with write_shard(folder / "masks.h5", Header(0, 8, 0, 1, "digest", {})) as writer:
        for p, entry in enumerate(index.entries):
            shape = grid_size(entry.height, 8), grid_size(entry.width, 8)
            writer.add(
                p, entry, np.random.default_rng(p).integers(0, 9, shape), group=-1, clusters=9
            )
    return folder / "images", index, Masks(str(folder / "masks.h5"), index)


def dataset(parts, seed=1, scrambled=False):
    folder, index, masks = parts
    return TwoViews(
        folder, index, masks, Views(crop=64), cell=32, samples=5, seed=seed, scrambled=scrambled
    )


def equal(a, b):
    return all(np.array_equal(a[k], b[k]) for k in ("images", "cells", "ids"))


def test_a_sample_has_small_types(parts):
    sample = dataset(parts)[(0, 3)]
    assert (sample["images"].shape, sample["images"].dtype) == ((2, 64, 64, 3), np.uint8)
    assert (sample["cells"].shape, sample["cells"].dtype) == ((2, 2, 2), np.int32)
    assert (sample["ids"].shape, sample["ids"].dtype) == ((2, 2, 5), np.int32)
    for view in range(2):
        assert np.isin(sample["ids"][view], sample["cells"][view]).all()


def test_a_sample_depends_on_seed_epoch_and_image_alone(parts):
    one, other = dataset(parts), dataset(parts)
    other[(5, 2)]  # what was drawn before must not matter
    assert equal(one[(0, 3)], other[(0, 3)])
    assert not equal(one[(0, 3)], one[(1, 3)])
    assert not equal(one[(0, 3)], one[(0, 4)])
    assert not equal(one[(0, 3)], dataset(parts, seed=2)[(0, 3)])


@pytest.mark.parametrize(("workers", "scrambled"), [(1, False), (2, False), (2, True)])
def test_workers_change_nothing(parts, workers, scrambled):
    steps = Steps(IMAGES, np.arange(IMAGES), batch_size=4, first=0, last=5, seed=1, rank=0, ranks=1)
    data = dataset(parts, scrambled=scrambled)
    alone = list(arrived(load_batches(data, steps, workers=0, pin=False)))
    shared = list(arrived(load_batches(data, steps, workers=workers, pin=False)))
    assert len(alone) == len(shared) == 5
    for a, b in zip(alone, shared, strict=True):
        assert all(torch.equal(a[k], b[k]) for k in ("images", "cells", "ids"))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, write_image):
    """Three square pictures in which no label occurs twice, as plain and as scrambled samples."""
    folder = tmp_path_factory.mktemp("labelled")
    for i in range(3):
        write_image(folder / "images" / f"{i}.png", (256, 256))
    index = Index(list(scan(folder / "images", names_of(folder / "images"), 1)), "digest")
    with write_shard(folder / "masks.h5", Header(0, 8, 0, 1, "digest", {})) as writer:
        for p, entry in enumerate(index.entries):
            writer.add(p, entry, np.arange(32 * 32).reshape(32, 32), group=-1, clusters=32 * 32)
    masks = Masks(str(folder / "masks.h5"), index)
    views = Views(crop=224, area=[0.9, 1.0], ratio=[1.0, 1.0])

    def make(scrambled, seed=1):
        return TwoViews(
            folder / "images",
            index,
            masks,
            views,
            cell=32,
            samples=4,
            seed=seed,
            scrambled=scrambled,
        )

    return make


def permutation(plain, scrambled):
    """Where each cell's label came from, where no label occurs twice."""
    came_from = {label: at for at, label in enumerate(plain.ravel().tolist())}
    assert len(came_from) == plain.size
    return [came_from[label] for label in scrambled.ravel().tolist()]


def test_scrambling_is_one_permutation_of_both_views(labelled):
    plain, scrambled = labelled(False)[(4, 1)], labelled(True)[(4, 1)]
    first, second = (permutation(plain["cells"][v], scrambled["cells"][v]) for v in range(2))
    assert first == second
    assert sorted(first) == list(range(49))
    assert first != list(range(49))
    assert not np.array_equal(*plain["cells"])
    assert np.array_equal(plain["images"], scrambled["images"])
    assert np.array_equal(plain["ids"], scrambled["ids"])


def test_scrambling_differs_by_seed_epoch_and_image_alone(labelled):
    def drawn(seed, key):
        data = labelled(True, seed)
        data[(9, 0)]  # what was drawn before must not matter
        plain, scrambled = labelled(False, seed)[key], data[key]
        return tuple(permutation(plain["cells"][0], scrambled["cells"][0]))

    keys = [(1, (4, 1)), (1, (5, 1)), (1, (4, 2)), (2, (4, 1))]
    assert len({drawn(*key) for key in keys}) == 4
    assert drawn(1, (4, 1)) == drawn(1, (4, 1))


def test_scrambling_keeps_number_and_sizes_of_masks(parts):
    for position in range(IMAGES):
        plain, scrambled = (
            dataset(parts)[(0, position)],
            dataset(parts, scrambled=True)[(0, position)],
        )
        assert (scrambled["cells"].shape, scrambled["cells"].dtype) == ((2, 2, 2), np.int32)
        for one, other in zip(plain["cells"], scrambled["cells"], strict=True):
            assert sorted(one.ravel()) == sorted(other.ravel())


def test_each_label_comes_to_each_location_equally_often():
    cells = np.arange(4, dtype=np.int32).reshape(1, 2, 2)
    rng = np.random.default_rng(0)
    seen = np.zeros((4, 4))
    for _ in range(2000):
        seen[np.arange(4), scramble(rng, cells).ravel()] += 1
    assert np.abs(seen / 2000 - 1 / 4).max() < 0.04


def test_an_epoch_draws_every_image_at_most_once_in_an_order_of_its_own():
    given = {"batch_size": 2, "first": 0, "last": 15, "rank": 0, "ranks": 1}
    steps = list(Steps(IMAGES, np.arange(IMAGES), seed=1, **given))
    orders = []
    for epoch in range(3):
        drawn = [key for step in steps[5 * epoch : 5 * epoch + 5] for key in step]
        assert {e for e, _ in drawn} == {epoch}
        positions = [p for _, p in drawn]
        assert len(set(positions)) == 10
        orders.append(tuple(positions))
    assert len(set(orders)) == 3
    assert list(Steps(IMAGES, np.arange(IMAGES), seed=2, **given)) != steps


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_ranks_share_out_the_steps_of_one_process(ranks):
    given = {"batch_size": 6, "first": 2, "last": 20, "seed": 1}
    whole = list(Steps(40, np.arange(40), rank=0, ranks=1, **given))
    parts = [
        list(Steps(40, np.arange(40), rank=rank, ranks=ranks, **given)) for rank in range(ranks)
    ]
    assert [[key for part in step for key in part] for step in zip(*parts, strict=True)] == whole


def test_going_on_in_mid_epoch_draws_what_is_left():
    given = {"batch_size": 3, "last": 12, "seed": 1, "rank": 0, "ranks": 1}
    whole = list(Steps(IMAGES, np.arange(IMAGES), first=0, **given))
    for first in range(12):
        rest = Steps(IMAGES, np.arange(IMAGES), first=first, **given)
        assert list(rest) == whole[first:]
        assert len(rest) == 12 - first


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_changed_is_one_line_from_any_process(tmp_path, write_image, workers):
    for i in range(4):
        write_image(tmp_path / "images" / f"{i}.png", (32, 32))
    index = Index(list(scan(tmp_path / "images", names_of(tmp_path / "images"), 1)), "digest")
    with write_shard(tmp_path / "masks.h5", Header(0, 8, 0, 1, "digest", {})) as writer:
        for p, entry in enumerate(index.entries):
            writer.add(p, entry, np.zeros((4, 4), int), group=-1, clusters=1)
    (tmp_path / "images/2.png").write_bytes(b"short")
    data = TwoViews(
        tmp_path / "images",
        index,
        Masks(str(tmp_path / "masks.h5"), index),
        Views(crop=32),
        cell=32,
        samples=2,
        seed=0,
    )
    steps = Steps(4, np.arange(4), batch_size=4, first=0, last=1, seed=0, rank=0, ranks=1)
    with pytest.raises(InputError, match=r"^image 2\.png: [^\n]* has 5 bytes[^\n]*$"):
        list(load_batches(data, steps, workers=workers, pin=False))
