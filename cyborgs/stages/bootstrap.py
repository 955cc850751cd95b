"""Stage `bootstrap`: features of a state, clustered into masks; one shard of a round."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cyborgs.bootstrap.features import FeatureExtractor, memory_needed
from cyborgs.bootstrap.kmeans import NotFiniteError, cluster, draw_clusters, pin_threads
from cyborgs.bootstrap.normalised_cut import cut
from cyborgs.common.ahead import in_order
from cyborgs.common.errors import BadImageError, InputError
from cyborgs.common.files import keep, sha256
from cyborgs.common.progress import say, track
from cyborgs.common.seeding import derive
from cyborgs.config import Bootstrap, Compute, Config
from cyborgs.images.decoding import Entry, decode
from cyborgs.images.index import Index, read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.groups import groups_of, groups_of_shard
from cyborgs.masks.shards import Header, Shard, write_shard
from cyborgs.models.backbones import family_of, place_of
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.family import Place
from cyborgs.pretraining.state import load_state
from cyborgs.run.provenance import provenance, without_place
from cyborgs.runtime.hardware import MASKS, choose_device, choose_precision, provenance_of
from cyborgs.runtime.memory import available_memory, give_back, keep_freed_memory

T = TypeVar("T")

Pixels = NDArray[np.uint8]

# A group's number, and the pixels of its images by their positions in the index.
Work: TypeAlias = tuple[int, dict[int, Pixels]]

# K of a group, and the labels of each of its images.
Labelled: TypeAlias = tuple[int, list[NDArray[np.int64]]]

# Groups that a GPU works on at a time, each in a thread and a stream of its own: one waits for the
# device, or for Python, while the other computes.
_LANES = 2

# Memory is kept between groups, because clearing pages is slow.  It is given back now and then,
# because images of changing sizes fragment it.
_GROUPS_UNTIL_GIVEN_BACK = 8


def run(
    config: Config,
    *,
    number: int,
    images: Path,
    index_path: Path,
    state_path: Path,
    out: Path,
    shard: int,
    compute: Compute,
    limit: int | None = None,
    on_bad_image: str = "error",
) -> None:
    """Write a shard of the masks of round ``number``.

    K, the seed of k-means and the members of a group are functions of (seed, round, group), so
    the labels of an image do not depend on the number of shards.  A shard that is there, whole and
    made from these inputs by these settings, is kept.

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
        on_bad_image: "error", or "skip" to list an image that cannot be decoded in the shard and
            cluster its group without it.

    Raises:
        InputError: input that is missing, damaged or does not fit, by name.
    """
    settings = config.bootstrap
    pin_threads(compute.threads, settings.exact)
    device = choose_device(compute.device)
    if device.type == "cpu":
        keep_freed_memory()
    precision = choose_precision(settings.precision, "bootstrap.precision", device, among=MASKS)
    index = read_index(index_path)
    state = load_state(state_path)
    if state.round != number:
        raise InputError(f"state {state_path} is of round {state.round}, not {number}")
    place = place_of(state.architecture, settings.block)
    groups = groups_of(len(index), settings.group, config.seed)
    if limit is not None:
        groups = groups[: -(-limit // settings.group)]
    mine = groups_of_shard(len(groups), shard, config.shards)
    record = provenance(
        "bootstrap",
        {"seed": config.seed, "bootstrap": settings.recorded()},
        {"index": index.digest, "state": sha256(state_path)},
        libraries=family_of(state.architecture).libraries,
        hardware=provenance_of(device, precision),
    )
    header = Header(number, place.stride, shard, config.shards, index.digest, record)
    skip = on_bad_image == "skip"
    # A job that outlived its workflow may have made it.
    if _is_made(out, header, {int(p) for g in mine for p in groups[g]}, skip):
        keep(out)
        return
    backbone = Backbone(state.architecture)
    backbone.load_state_dict(state.backbone())
    kind = getattr(torch, precision)
    members = [[index[int(p)] for p in groups[g]] for g in mine]
    _require_memory(
        members,
        architecture=state.architecture,
        place=place,
        settings=settings,
        precision=kind,
        device=device,
    )
    features = FeatureExtractor(backbone, settings.block, device, kind)
    decoded = _ahead(
        lambda position: _pixels(images, index, position, skip),
        [groups[group].tolist() for group in mine],
        compute.threads,
    )

    def label(work: Work) -> Labelled:
        group, pixels = work
        try:
            return _cluster_group(features(list(pixels.values())), config, number, group)
        except NotFiniteError:
            raise InputError(
                f"state {state_path}: features of image {index[min(pixels)].name} or the "
                f"{len(pixels) - 1} clustered with it are not finite; the training that made "
                "it diverged: make it again with a lower pretrain.base_learning_rate"
            ) from None
        except (MemoryError, torch.OutOfMemoryError) as error:
            largest = max(pixels, key=lambda position: pixels[position].size)
            raise InputError(
                f"image {index[largest].name} or the {len(pixels) - 1} clustered with it: no "
                "memory is left; give the job more, or shrink the image"
            ) from error

    with write_shard(out, header) as writer:

        def readable() -> Iterator[Work]:
            """Groups with the pixels of their images, those that cannot be decoded left out."""
            for group, found in zip(mine, decoded, strict=True):
                pixels = {}
                for position, image in found.items():
                    if isinstance(image, BadImageError):
                        writer.skip(position, index[position], str(image))
                        say(f"bootstrap: left out: {image}")
                    else:
                        pixels[position] = image
                yield group, pixels

        lanes = _lanes(device, settings)
        lowered: list[tuple[int, int]] = []
        labelled = _labelled(label, readable(), device, lanes)
        for group, pixels, (k, labels) in track(labelled, len(mine), "bootstrap", "groups"):
            for position, part in zip(pixels, labels, strict=True):
                writer.add(position, index[position], part, group=group, clusters=k)
            if pixels and k < (drawn := draw_clusters(settings, config.seed, number, group)):
                lowered.append((drawn, k))
            if (group + 1) % _GROUPS_UNTIL_GIVEN_BACK == 0:
                give_back()
    if lowered:
        drawn, k = max(lowered, key=lambda pair: pair[0] - pair[1])
        say(
            f"bootstrap: K was lowered in {len(lowered)} of {len(mine)} groups, whose smallest "
            f"image has fewer locations (from {drawn} to {k}, at most); see bootstrap.clusters"
        )
    say(f"bootstrap: round {number}, {len(writer)} images in {out}")


def _is_made(out: Path, header: Header, positions: set[int], skip: bool) -> bool:
    """Whether a shard is there, whole, of these images, and made by these settings from a state."""
    if not out.exists():
        return False
    with suppress(InputError), Shard(out) as shard:
        found = replace(shard.header, provenance=without_place(shard.header.provenance))
        if found != replace(header, provenance=without_place(header.provenance)):
            return False
        left_out = shard.skipped.keys() if skip else set()
        if {*shard.positions.tolist(), *left_out} != positions:
            return False
        for position in shard.positions.tolist():
            shard.read(position)
        return True
    return False


def _labelled(
    label: Callable[[Work], Labelled], groups: Iterable[Work], device: torch.device, lanes: int
) -> Iterator[tuple[int, Iterable[int], Labelled]]:
    """Of each group its number, its images, and what ``label`` makes of them."""

    def one(work: Work) -> tuple[int, Iterable[int], Labelled]:
        group, pixels = work
        # Every image of a group may have been left out.
        return group, pixels.keys(), label(work) if pixels else (0, [])

    if lanes == 1:
        # In this thread: its memory is kept, and its number of threads pinned.
        yield from map(one, groups)
        return
    lane = _Lane(device)
    # Weights are there before another stream reads them.
    torch.cuda.synchronize(device)

    def in_lane(work: Work) -> tuple[int, Iterable[int], Labelled]:
        with torch.cuda.stream(lane.stream):
            return one(work)

    yield from in_order(in_lane, groups, lanes, ahead=lanes)


def _lanes(device: torch.device, settings: Bootstrap) -> int:
    # FAISS has memory of its own on a GPU, and threads that are pinned in one thread.
    return 1 if device.type == "cpu" or settings.exact else _LANES


class _Lane(threading.local):
    """A stream of the GPU for each thread."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _require_memory(
    groups: list[list[Entry]],
    *,
    architecture: str,
    place: Place,
    settings: Bootstrap,
    precision: torch.dtype,
    device: torch.device,
) -> None:
    """Raise `InputError` where a group of images needs more memory than there is."""
    lanes = _lanes(device, settings)

    def needed(group: list[Entry]) -> int:
        points = sum(
            grid_size(e.height, place.stride) * grid_size(e.width, place.stride) for e in group
        )
        # Features are there image by image, together, and once more around the origin (or for
        # FAISS); beside them are scores and members of all clusters.
        numbers = points * (3 * place.channels + 2 * settings.clusters[1])
        together = numbers * (4 if settings.exact else precision.itemsize)
        if settings.method == "normalised-cut":
            # Edges between all locations of an image: once in float32, and twice in float64.
            most = max(
                grid_size(e.height, place.stride) * grid_size(e.width, place.stride) for e in group
            )
            together += 20 * most**2
        largest = max(
            memory_needed(
                architecture,
                place.name,
                height=e.height,
                width=e.width,
                precision=precision,
                device=device,
            )
            for e in group
        )
        return lanes * (together + largest)

    worst = max(groups, key=needed)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    need = needed(worst)
    if free is not None and need > free:
        largest = max(worst, key=lambda e: e.height * e.width)
        raise InputError(
            f"image {largest.name}: {largest.height} x {largest.width} pixels and the "
            f"{len(worst) - 1} clustered with it need about {need / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; give the job more, or shrink the image"
        )


def _pixels(images: Path, index: Index, position: int, skip: bool) -> Pixels | BadImageError:
    entry = index[position]
    try:
        return decode(images, entry)
    except BadImageError as error:
        if skip:
            return error
        raise


def _ahead(
    make: Callable[[int], T], groups: Iterable[list[int]], threads: int
) -> Iterator[dict[int, T]]:
    """Of each group, what is made of its members; the next one is made while this one is used."""
    with ThreadPoolExecutor(threads) as pool:
        made: deque[dict[int, Future[T]]] = deque()
        for members in groups:
            made.append({member: pool.submit(make, member) for member in members})
            if len(made) == 2:
                yield {member: future.result() for member, future in made.popleft().items()}
        for last in made:
            yield {member: future.result() for member, future in last.items()}


def _cluster_group(maps: list[torch.Tensor], config: Config, number: int, group: int) -> Labelled:
    """K and the labels of each image of a group, from features ``(rows, cols, channels)``."""
    shapes = [tuple(m.shape[:2]) for m in maps]
    sizes = [rows * cols for rows, cols in shapes]
    k = min(draw_clusters(config.bootstrap, config.seed, number, group), min(sizes))
    if config.bootstrap.method == "normalised-cut":
        return k, [cut(m, k, config.bootstrap.threshold) for m in maps]
    labels = cluster(
        torch.cat([m.flatten(0, 1) for m in maps]),
        k,
        seed=derive(config.seed, "k-means", number, group),
        settings=config.bootstrap,
    )
    parts = np.split(labels, np.cumsum(sizes)[:-1])
    return k, [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
