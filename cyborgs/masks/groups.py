"""Which images are clustered together, and which shard holds them."""

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.seeding import generator


def groups_of(images: int, size: int, seed: int) -> list[NDArray[np.int64]]:
    """Positions of the images of each group: a seeded permutation of the index, cut up.

    The last group may be smaller.  Positions rise within a group.
    """
    order = generator(seed, "groups").permutation(images)
    return [np.sort(order[begin : begin + size]) for begin in range(0, images, size)]


def groups_of_shard(groups: int, shard: int, shards: int) -> range:
    """Numbers of the groups in a shard: a contiguous part, parts differing by one at most.

    Raises `InputError` where the shard does not exist or would be empty.
    """
    if not 0 <= shard < shards:
        raise InputError(f"--shard: {shard} is not in 0 … {shards - 1}")
    if groups < shards:
        raise InputError(
            f"shards: {shards} shards of {groups} groups; set shards to {groups} at most"
        )
    return range(shard * groups // shards, (shard + 1) * groups // shards)
