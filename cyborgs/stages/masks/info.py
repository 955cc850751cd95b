"""``cyborgs masks info``: what a round's masks are, and what they take on disk."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cyborgs.images.index import read_index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.shards import Shard, find_shards
from cyborgs.stages.masks.sources import Sources

# The published program saves a label as int64, one `.npy` an image; its header is 128 bytes.
_NPY_LABEL = 8
_NPY_HEADER = 128


def run(sources: Sources) -> list[dict[str, Any]]:
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


def text(rounds: list[dict[str, Any]]) -> str:
    """The description for people."""
    return "\n\n".join(_text(r) for r in rounds)


def _text(r: dict[str, Any]) -> str:
    made = r["provenance"]
    size = r["bytes"]
    low, middle, high = r["clusters"]
    of_index = "" if r["index_images"] is None else f" of {r['index_images']} in the index"
    groups = f"{r['groups']} groups" if r["groups"] else "each by itself"
    lines = {
        "made by": f"{made['stage']} {made['stage_version']}"
        + "".join(f", {role} {digest[:12]}…" for role, digest in made["inputs"].items()),
        "settings": _settings(made["config"]),
        "libraries": ", ".join(f"{name} {version}" for name, version in made["libraries"].items()),
        **({"hardware": _settings(made["hardware"])} if "hardware" in made else {}),
        "images": f"{r['images']}{of_index}, {groups}; {r['shards']} of {r['shards_made']} shards",
        "K": f"{low} … {high}, median {middle:g}",
        "grid": f"a label every {r['stride']} pixels",
        "on disk": f"{_size(size['disk'])}, {size['disk'] / r['images']:.0f} bytes an image",
        "raw": f"{_size(size['raw'])} as labels of 8 or 16 bits, uncompressed "
        f"({size['raw'] / size['disk']:.1f} times as much)",
        "as .npy": f"{_size(size['npy'])} as int64 at image size "
        f"({size['npy'] / size['disk']:.0f} times as much)",
    }
    if r["skipped"]:
        lines["skipped"] = f"{len(r['skipped'])} that cannot be decoded, such as {r['skipped'][0]}"
    return "\n".join([r["title"], *(f"  {name:<10}{value}" for name, value in lines.items())])


def _settings(config: dict[str, Any], prefix: str = "") -> str:
    parts = []
    for key, value in config.items():
        if isinstance(value, dict):
            parts.append(_settings(value, f"{prefix}{key}."))
        else:
            parts.append(f"{prefix}{key} {value}")
    return ", ".join(parts)


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.2f} {unit}"
    return f"{size} bytes"
