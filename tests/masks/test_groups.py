"""Groups and shards: every image once, whatever the number of shards."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cyborgs.masks.groups import groups_of, groups_of_shard


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 40), st.integers(0, 2**40))
@example(16, 16, 0)
@example(17, 16, 0)
@example(1, 16, 0)
def test_every_image_is_in_one_group(images, size, seed):
    groups = groups_of(images, size, seed)
    assert sorted(np.concatenate(groups).tolist()) == list(range(images))
    assert [len(group) for group in groups[:-1]] == [size] * (len(groups) - 1)
    assert 1 <= len(groups[-1]) <= size
    assert all((np.diff(group) > 0).all() for group in groups)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 300))
def test_every_group_is_in_one_shard_and_shards_are_even(data, groups):
    shards = data.draw(st.integers(1, groups))
    parts = [groups_of_shard(groups, shard, shards) for shard in range(shards)]
    assert [group for part in parts for group in part] == list(range(groups))
    lengths = {len(part) for part in parts}
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


def test_groups_depend_on_the_seed_and_are_mixed():
    one, again, other = groups_of(320, 16, 1), groups_of(320, 16, 1), groups_of(320, 16, 2)
    np.testing.assert_array_equal(np.stack(one), np.stack(again))
    assert not np.array_equal(np.stack(one), np.stack(other))
    # Images that are neighbours in the index seldom fall together.
    neighbours = sum((np.diff(group) == 1).sum() for group in one)
    assert neighbours < 320 / 4


@pytest.mark.parametrize("shard", [-1, 4, 100])
def test_a_shard_that_does_not_exist_is_refused(shard, refused):
    with refused(f"--shard: {shard} is not in 0 … 3"):
        groups_of_shard(10, shard, 4)


def test_shards_without_groups_are_refused(refused):
    assert len(groups_of_shard(4, 3, 4)) == 1
    with refused("shards: 5 shards of 4 groups; set shards to 4 at most"):
        groups_of_shard(4, 0, 5)
