"""``cyborgs masks stats``: what the masks of a round look like, in numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected

from cyborgs.common.progress import track
from cyborgs.common.tables import aligned
from cyborgs.masks.shards import Shard, find_shards
from cyborgs.run.sources import Sources

QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}


def run(sources: Sources) -> list[dict[str, Any]]:
    """Measure the masks of each round, at feature resolution.

    Returns a dictionary a round: ``title``, ``images``, and for each of

    - ``clusters``: distinct labels of an image,
    - ``area``: share of its image that a cluster covers,
    - ``pieces``: 4-connected components of a cluster in an image (1: not fragmented),
    - ``largest``: share of an image that its largest cluster covers,

    a dictionary of ``mean`` and the quantiles ``min``, ``q25``, ``median``, ``q75``, ``max``.
    Raises `InputError` where a shard cannot be read.
    """
    return [_measure(title, where) for title, where in sources.rounds]


def _measure(title: str, where: str) -> dict[str, Any]:
    clusters, areas, pieces, largest = [], [], [], []
    for labels in _all_labels(where, title):
        counts, parts = areas_and_pieces(labels)
        clusters.append(len(counts))
        areas.append(counts / labels.size)
        pieces.append(parts)
        largest.append(counts.max() / labels.size)
    return {
        "title": title,
        "images": len(clusters),
        "clusters": _spread(np.array(clusters)),
        "area": _spread(np.concatenate(areas)),
        "pieces": _spread(np.concatenate(pieces)),
        "largest": _spread(np.array(largest)),
    }


def areas_and_pieces(
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Locations and 4-connected components of each cluster, in the order of the labels.

    ``labels``: ``(rows, cols)``; returns two arrays of one entry a distinct label.
    """
    present, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    # No label is background: components are counted from 1 in scan order.
    parts = connected(codes.reshape(labels.shape), background=-1, connectivity=1)  # type: ignore[no-untyped-call]
    _, first = np.unique(parts, return_index=True)
    return counts, np.bincount(codes.ravel()[first], minlength=len(present))


def _all_labels(where: str, title: str) -> Iterator[NDArray[np.integer]]:
    paths = find_shards(where)
    for path in track(paths, len(paths), f"stats of {title}", "shards"):
        with Shard(path) as shard:
            for position in shard.positions:
                yield shard.read(int(position))


def _spread(values: NDArray[np.number]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        **{name: float(np.quantile(values, q)) for name, q in QUANTILES.items()},
    }


def text(rounds: list[dict[str, Any]]) -> str:
    """The metrics for people: a line a round."""
    header = [
        "masks", "images", "masks an image", "least … most", "area of a mask (median)",
        "pieces a mask", "largest mask",
    ]  # fmt: skip
    rows = [
        [
            r["title"],
            str(r["images"]),
            f"{r['clusters']['mean']:.2f}",
            f"{r['clusters']['min']:.0f} … {r['clusters']['max']:.0f}",
            f"{r['area']['median']:.1%} of the image",
            f"{r['pieces']['mean']:.2f}",
            f"{r['largest']['mean']:.1%} of the image",
        ]
        for r in rounds
    ]
    return aligned([header, *rows])
