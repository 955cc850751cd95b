"""``cyborgs masks compare``, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import (  # type: ignore[import-untyped]
    adjusted_rand_score,
    normalized_mutual_info_score,
)

from cyborgs.images.index import read_index
from cyborgs.masks.alignment import full_size, grid_size
from cyborgs.masks.shards import Header, Masks, Shard, write_shard
from cyborgs.run.paths import Run
from cyborgs.run.sources import pairs
from cyborgs.stages.masks import compare


@pytest.fixture(scope="module")
def compared(results):
    (pair,) = pairs(str(results), None)
    return compare.run(*pair, top=13)


def test_consecutive_rounds_of_a_run(results, compared):
    index = read_index(results / "index.jsonl")
    seed, first = (Masks(str(Run(results).masks(n)), index) for n in range(2))
    assert (compared["first"], compared["second"], compared["images"]) == ("seed", "round 1", 13)
    by_position = {image["position"]: image for image in compared["most_changed"]}
    assert len(by_position) == 13
    for p in range(13):
        a, b = seed.read(p).ravel(), first.read(p).ravel()
        assert by_position[p]["ari"] == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
        nmi = normalized_mutual_info_score(a, b)
        assert by_position[p]["nmi"] == pytest.approx(nmi, abs=1e-9)
        assert by_position[p]["name"] == index[p].name
    mean = np.mean([image["ari"] for image in by_position.values()])
    assert compared["ari"] == pytest.approx(mean)


def test_the_images_that_changed_most_come_first(results, compared):
    aris = [image["ari"] for image in compared["most_changed"]]
    assert aris == sorted(aris)
    (pair,) = pairs(str(results), None)
    assert compare.run(*pair, top=3)["most_changed"] == compared["most_changed"][:3]


def test_a_round_with_itself(results):
    where = str(results / "masks/round-01")
    (pair,) = pairs(where, where)
    same = compare.run(*pair, top=2)
    assert (same["ari"], same["nmi"], same["vi"]) == pytest.approx((1, 1, 0))
    assert [image["position"] for image in same["most_changed"]] == [0, 1]


def test_only_images_in_both_count(results):
    fixed_k = str(Run(results).fixed_k(4, 1))
    (pair,) = pairs(fixed_k, str(results / "masks/round-01"))
    with Shard(Run(results).fixed_k(4, 1)) as shard:
        assert compare.run(*pair, top=1)["images"] == len(shard)


def test_masks_of_different_strides_are_compared_by_pixel(results, tmp_path):
    index = read_index(results / "index.jsonl")
    rng = np.random.default_rng(0)
    e = index[0]
    fine = rng.integers(0, 3, (grid_size(e.height, 4), grid_size(e.width, 4)))
    with write_shard(tmp_path / "fine.h5", Header(1, 4, 0, 1, index.digest, {})) as writer:
        writer.add(0, e, fine, group=0, clusters=3)
    other = str(results / "masks/round-01")
    (pair,) = pairs(str(tmp_path / "fine.h5"), other)
    (image,) = compare.run(*pair, top=5)["most_changed"]
    coarse = full_size(Masks(other, index).read(0), e.height, e.width, 8)
    expected = adjusted_rand_score(full_size(fine, e.height, e.width, 4).ravel(), coarse.ravel())
    assert image["ari"] == pytest.approx(expected, abs=1e-12)


def test_the_text_has_a_line_a_pair_and_the_images(compared):
    lines = compare.text([compared]).splitlines()
    assert lines[1].startswith("seed and round 1  13")
    assert "Changed most between seed and round 1:" in lines
    assert len(lines) == 2 + 3 + 13


def test_masks_of_other_images(results, tmp_path, refused):
    with write_shard(tmp_path / "a.h5", Header(1, 8, 0, 1, "another", {})) as writer:
        writer.add(
            0, read_index(results / "index.jsonl")[0], np.zeros((8, 12), int), group=0, clusters=1
        )
    (pair,) = pairs(str(tmp_path / "a.h5"), str(results / "masks/round-01"))
    with refused("were made for different indexes", "only masks of the same images"):
        compare.run(*pair, top=1)


def test_no_image_in_common(results, refused):
    shards = [str(results / f"masks/round-01/shard-000{i}-of-0002.h5") for i in range(2)]
    (pair,) = pairs(*shards)
    with refused("have no image in common"):
        compare.run(*pair, top=1)


def test_what_cannot_be_compared(results, refused):
    with refused("are of one round: name another to compare with"):
        pairs(str(results / "masks/round-01"), None)
    with refused("each must be one round"):
        pairs(str(results), str(results))
