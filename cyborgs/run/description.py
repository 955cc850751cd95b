"""What the masks of a run are, and what they take on disk."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cyborgs.images.index import read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Shard, find_shards
from cyborgs.run.sources import Sources

# The published program saves a label as int64, one `.npy` an image; its header is 128 bytes.
_NPY_LABEL = 8


_NPY_HEADER = 128


def describe(sources: Sources) -> list[dict[str, Any]]:
    """Describe the masks of each round.

    Returns a dictionary a round: ``title``, ``round``, ``shards`` (files found), ``shards_made``
    (files that belong to the round), ``images``, ``skipped`` (of each image
    that could not be decoded, why), ``index_images`` (None where the index is not known),
    ``stride`` (pixels), ``groups``, ``clusters`` (least, median and most K), ``bytes``
    (``disk``; ``raw``, the labels uncompressed; ``npy``, as int64 `.npy` at image size), and
    ``provenance``.  Raises `InputError` where a shard cannot be read.
    """
    images = None if sources.index is None else len(read_index(sources.index))
    return [_describe(title, find_shards(where), images) for title, where in sources.rounds]


def _describe(title: str, paths: list[Path], index_images: int | None) -> dict[str, Any]:
    size = Counter[str]()
    images = 0
    skipped: list[str] = []
    clusters: list[int] = []
    groups: set[int] = set()
    for path in paths:
        with Shard(path) as shard:
            header = shard.header
            heights, widths = shard.heights.astype(np.int64), shard.widths.astype(np.int64)
            pixels = heights * widths
            locations = grid_size(heights, header.stride) * grid_size(widths, header.stride)
            size["disk"] += path.stat().st_size
            # uint16 where an image has more labels than 8 bits number.
            size["raw"] += int((locations * np.where(shard.clusters > 256, 2, 1)).sum())
            size["npy"] += int((pixels * _NPY_LABEL + _NPY_HEADER).sum())
            images += len(shard)
            skipped += shard.skipped.values()
            clusters += shard.clusters.tolist()
            groups.update(shard.groups[shard.groups >= 0].tolist())
    return {
        "title": title,
        "round": header.round,
        "shards": len(paths),
        "shards_made": header.shards,
        "images": images,
        "skipped": skipped,
        "index_images": index_images,
        "stride": header.stride,
        "groups": len(groups),
        "clusters": [min(clusters), float(np.median(clusters)), max(clusters)],
        "bytes": dict(size),
        "provenance": header.provenance,
    }
