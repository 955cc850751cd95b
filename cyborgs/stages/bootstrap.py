"""Stage `bootstrap`: features of a state, clustered into masks; one shard of a round."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from cyborgs.bootstrap.features import FeatureExtractor
from cyborgs.bootstrap.kmeans import cluster, pin_threads
from cyborgs.config import Compute, Config, check_block
from cyborgs.data.decoding import decode
from cyborgs.data.index import Index, read_index
from cyborgs.distributed import choose_device
from cyborgs.errors import InputError
from cyborgs.files import sha256
from cyborgs.masks.groups import groups_of, groups_of_shard
from cyborgs.masks.shards import Header, write_shard
from cyborgs.memory import give_back, keep_freed_memory
from cyborgs.models.backbones import Backbone, block_stride
from cyborgs.progress import say, track
from cyborgs.seeding import derive, generator
from cyborgs.stages.provenance import provenance
from cyborgs.training.state import load_state

T = TypeVar("T")

# Memory is kept between groups, as clearing pages takes long, but images of ever other sizes leave
# gaps in it that would add up.
_GROUPS_UNTIL_GIVEN_BACK = 8


def run(
    config: Config,
    number: int,
    images: Path,
    index_path: Path,
    state_path: Path,
    out: Path,
    shard: int,
    compute: Compute,
    limit: int | None = None,
) -> None:
    """Write a shard of the masks of round ``number``.

    K, the seed of k-means and the members of a group are functions of (seed, round, group), so
    the labels of an image do not depend on the number of shards.

    Args:
        config: uses `seed`, `shards` and `bootstrap`.
        number: of the round; 0 makes seed masks from the initial weights.
        images: folder of the images.
        index_path: their index.
        state_path: state of the same round.
        out: the shard to write.
        shard: which, from 0.
        compute: device and threads.
        limit: cluster only the first groups that hold this many images.

    Raises:
        InputError: input that is missing, damaged or does not fit, by name.
    """
    pin_threads(compute.threads)
    device = choose_device(compute.device)
    if device.type == "cpu":
        keep_freed_memory()
    index = read_index(index_path)
    state = load_state(state_path)
    if state.round != number:
        raise InputError(f"state {state_path} is of round {state.round}, not {number}")
    settings = config.bootstrap
    check_block(state.architecture, settings.block)
    groups = groups_of(len(index), settings.group, config.seed)
    if limit is not None:
        groups = groups[: -(-limit // settings.group)]
    mine = groups_of_shard(len(groups), shard, config.shards)
    record = provenance(
        "bootstrap",
        {"seed": config.seed, "bootstrap": settings.model_dump()},
        {"index": index.digest, "state": sha256(state_path)},
    )
    header = Header(
        number, block_stride(settings.block), shard, config.shards, index.digest, record
    )
    backbone = Backbone(state.architecture)
    backbone.load_state_dict(state.backbone())
    features = FeatureExtractor(
        backbone, settings.block, device, getattr(torch, settings.precision)
    )
    decoded = _ahead(lambda group: [_pixels(images, index, int(p)) for p in groups[group]], mine)
    with write_shard(out, header) as writer:
        for group, pixels in track(decoded, len(mine), "bootstrap", "groups"):
            k, labels = _cluster_group([features(p) for p in pixels], config, number, group)
            for position, part in zip(groups[group], labels, strict=True):
                writer.add(int(position), index[int(position)], part, group, k)
            if (group + 1) % _GROUPS_UNTIL_GIVEN_BACK == 0:
                give_back()
    say(f"bootstrap: round {number}, {sum(len(groups[g]) for g in mine)} images in {out}")


def _pixels(images: Path, index: Index, position: int) -> np.ndarray:
    entry = index[position]
    return decode(images / entry.name, entry.name, entry.bytes, entry.height, entry.width)


def _ahead(make: Callable[[int], T], numbers: Iterable[int]) -> Iterator[tuple[int, T]]:
    """Each number and what is made of it, the next one being made while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        made: deque[tuple[int, Future[T]]] = deque()
        for number in numbers:
            made.append((number, pool.submit(make, number)))
            if len(made) == 2:
                first, future = made.popleft()
                yield first, future.result()
        for last, future in made:
            yield last, future.result()


def _cluster_group(
    maps: list[torch.Tensor], config: Config, number: int, group: int
) -> tuple[int, list[np.ndarray]]:
    """K and the labels of each image of a group, from features ``(rows, cols, channels)``."""
    shapes = [tuple(m.shape[:2]) for m in maps]
    sizes = [rows * cols for rows, cols in shapes]
    low, high = config.bootstrap.clusters
    drawn = int(generator(config.seed, "clusters", number, group).integers(low, high + 1))
    k = min(drawn, min(sizes))
    labels = cluster(
        torch.cat([m.flatten(0, 1) for m in maps]),
        k,
        seed=derive(config.seed, "k-means", number, group),
        settings=config.bootstrap,
    )
    parts = np.split(labels, np.cumsum(sizes)[:-1])
    return k, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
