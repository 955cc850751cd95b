"""``cyborgs masks compare``: what changed between two rounds."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cyborgs.common.errors import InputError
from cyborgs.common.progress import track
from cyborgs.common.tables import aligned
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Header, Shard, find_shards
from cyborgs.quality.agreement import Contingency

Round = tuple[str, str]  # a title, and where its masks are


def run(first: Round, second: Round, top: int) -> dict[str, Any]:
    """Compare the masks of two rounds, or of two runs over one index, image by image.

    Args:
        first, second: a title and a folder, shard or pattern, each.
        top: how many of the images that changed most are named.

    Returns:
        ``first``, ``second`` (the titles), ``images`` (that have masks in both), the means over
        images of ``ari`` (adjusted Rand index), ``nmi`` (normalised mutual information) and
        ``vi`` (variation of information, bits), and ``most_changed``: a list of ``position``,
        ``name``, ``ari``, ``nmi``, ``vi``, lowest adjusted Rand index first.

    Raises:
        InputError: masks that cannot be read, belong to different indexes, or have no image in
            common.
    """
    pairs = _in_common(first[1], second[1])
    count = sum(len(positions) for positions in pairs.values())
    metrics: list[tuple[float, float, float]] = []
    changed: list[tuple[float, int, str, float, float]] = []
    each = _measure(pairs)
    for position, name, table in track(each, count, f"{first[0]} and {second[0]}", "images"):
        ari = table.adjusted_rand_index()
        nmi = table.normalised_mutual_information()
        vi = table.variation_of_information()
        metrics.append((ari, nmi, vi))
        # Of equal ones the first in the index stays.
        heapq.heappush(changed, (-ari, -position, name, nmi, vi))
        if len(changed) > top:
            heapq.heappop(changed)
    means = np.mean(metrics, axis=0)
    return {
        "first": first[0],
        "second": second[0],
        "images": count,
        **dict(zip(("ari", "nmi", "vi"), map(float, means), strict=True)),
        "most_changed": [
            {"position": -p, "name": name, "ari": -a, "nmi": nmi, "vi": vi}
            for a, p, name, nmi, vi in sorted(changed, reverse=True)
        ],
    }


def _measure(
    pairs: dict[tuple[Path, Path], list[int]],
) -> Iterator[tuple[int, str, Contingency]]:
    for (one, other), positions in pairs.items():
        # Two files open at a time, however many shards there are.  Labels of one stride are
        # compared as they are stored, others pixel by pixel.
        with Shard(one) as a, Shard(other) as b:
            rows = {int(p): row for row, p in enumerate(a.positions)}
            for position in positions:
                row = rows[position]
                height, width = int(a.heights[row]), int(a.widths[row])
                first, second = a.read(position), b.read(position)
                if a.header.stride != b.header.stride:
                    first = full_size(first, height, width, a.header.stride)
                    second = full_size(second, height, width, b.header.stride)
                yield position, a.names[row], Contingency(first, second)


def _in_common(first: str, second: str) -> dict[tuple[Path, Path], list[int]]:
    """Positions with a mask in both, by the two shards that hold them."""
    ours, our_header = _owners(first)
    theirs, their_header = _owners(second)
    if our_header.index != their_header.index:
        raise InputError(
            f"masks {first} and {second} were made for different indexes "
            f"({our_header.index[:12]}… and {their_header.index[:12]}…): only masks of the same "
            "images can be compared"
        )
    pairs: dict[tuple[Path, Path], list[int]] = defaultdict(list)
    for position in sorted(ours.keys() & theirs.keys()):
        pairs[ours[position], theirs[position]].append(position)
    if not pairs:
        raise InputError(f"masks {first} and {second} have no image in common")
    return pairs


def _owners(where: str) -> tuple[dict[int, Path], Header]:
    owners: dict[int, Path] = {}
    for path in find_shards(where):
        with Shard(path) as shard:
            header = shard.header
            owners.update(dict.fromkeys(shard.positions.tolist(), path))
    return owners, header


def text(comparisons: list[dict[str, Any]]) -> str:
    """The metrics for people: a line a pair, then the images that changed most in the last."""
    header = ["masks", "images", "ARI", "NMI", "variation of information"]
    rows = [
        [
            f"{c['first']} and {c['second']}",
            str(c["images"]),
            f"{c['ari']:.4f}",
            f"{c['nmi']:.4f}",
            f"{c['vi']:.3f} bits",
        ]
        for c in comparisons
    ]
    last = comparisons[-1]
    changed = [
        [str(c["position"]), c["name"], f"{c['ari']:.4f}", f"{c['nmi']:.4f}", f"{c['vi']:.3f} bits"]
        for c in last["most_changed"]
    ]
    if not changed:
        return aligned([header, *rows])
    title = f"Changed most between {last['first']} and {last['second']}:"
    names = ["image", "name", "ARI", "NMI", "variation of information"]
    return "\n".join([aligned([header, *rows]), "", title, aligned([names, *changed])])
