"""``cyborgs masks info``: what a round's masks are, and what they take on disk."""

from typing import Any

from cyborgs.run.description import describe
from cyborgs.run.sources import Sources


def run(sources: Sources) -> list[dict[str, Any]]:
    """Describe the masks of each round: see `describe`."""
    return describe(sources)


def text(rounds: list[dict[str, Any]]) -> str:
    """The description for people."""
    return "\n\n".join(_text(r) for r in rounds)


def _text(r: dict[str, Any]) -> str:
    made = r["provenance"]
    size = r["bytes"]
    low, middle, high = r["clusters"]
    of_index = "" if r["index_images"] is None else f" of {r['index_images']} in the index"
    groups = f"{r['groups']} groups" if r["groups"] else "each image alone"
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
