"""``cyborgs masks export``: a round's masks as other programs load them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say, track
from cyborgs.masks.alignment import full_size
from cyborgs.masks.exported import file_name, require_distinct, whole_folder
from cyborgs.masks.formats import coco_annotations, write_npy, write_png
from cyborgs.masks.shards import Header, Shard, find_shards
from cyborgs.run.sources import Sources

Labels = NDArray[np.integer]
Item = tuple[int, str, Labels]  # position in the index, name, labels at image size


def run(sources: Sources, kind: str, out: Path) -> dict[str, int]:
    """Write the masks of a round at image size.

    Args:
        sources: of one round.
        kind: "png" (a folder of indexed PNGs; 16-bit grey where an image has a label above
            255), "npy" (a folder of int64 arrays, as the published program read them), or
            "coco" (one JSON file with run-length codes; image ids are positions + 1).
        out: the folder or file.  It appears when it is whole, and must not exist before.

    Returns:
        ``images``: how many were written; ``grey``: how many of the PNGs are 16-bit grey.

    Raises:
        InputError: several rounds, masks that cannot be read, two images whose files would have
            one name, a name that leads out of the folder, or something that lies at ``out``.
    """
    where = sources.require_one_round()
    if out.exists():
        raise InputError(f"--out {out} exists; remove it, or give another name")
    paths = find_shards(where)
    names = _names(paths)
    grey = 0
    if kind == "coco":
        _write_coco(paths, len(names), out)
    elif kind == "npy":
        _write_arrays(paths, names, out)
    else:
        grey = _write_pictures(paths, names, out)
    note = f"; {grey} of them have labels above 255 and are 16-bit grey" if grey else ""
    say(f"export: masks of {len(names)} images in {out}{note}")
    return {"images": len(names), "grey": grey}


def _write_pictures(paths: list[Path], names: list[str], out: Path) -> int:
    """Returns how many are not indexed."""
    with _files(paths, names, ".png", out) as files:
        return sum(not write_png(target, labels) for target, labels in files)


def _write_arrays(paths: list[Path], names: list[str], out: Path) -> None:
    with _files(paths, names, ".npy", out) as files:
        for target, labels in files:
            write_npy(target, labels)


@contextmanager
def _files(
    paths: list[Path], names: list[str], suffix: str, out: Path
) -> Iterator[Iterator[tuple[Path, Labels]]]:
    """The files to write in a folder, each with its labels."""
    require_distinct(names, suffix)
    with whole_folder(out) as folder:

        def each() -> Iterator[tuple[Path, Labels]]:
            for _, name, labels in _items(paths, len(names)):
                target = folder / file_name(name, suffix)
                target.parent.mkdir(parents=True, exist_ok=True)
                yield target, labels

        yield each()


def _write_coco(paths: list[Path], images: int, out: Path) -> None:
    """Images in one list, annotations in the other: two passes, nothing held."""
    with atomic_write(out) as temporary, open(temporary, "w", encoding="ascii") as stream:
        stream.write('{"info": {"description": "masks of CYBORGS"},\n')
        stream.write('"categories": [{"id": 1, "name": "mask", "supercategory": "mask"}],\n')
        stream.write('"images": [\n')
        stream.writelines(_joined(_image_entries(paths)))
        stream.write('],\n"annotations": [\n')
        stream.writelines(_joined(_annotations(paths, images)))
        stream.write("]}\n")


def _joined(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Entries of a JSON list, a line each."""
    separator = ""
    for entry in entries:
        yield separator + json.dumps(entry)
        separator = ",\n"
    yield "\n"


def _image_entries(paths: list[Path]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with Shard(path) as shard:
            for row, position in enumerate(shard.positions):
                yield {
                    "id": _image_id(int(position)),
                    "file_name": shard.names[row],
                    "height": int(shard.heights[row]),
                    "width": int(shard.widths[row]),
                }


def _annotations(paths: list[Path], images: int) -> Iterator[dict[str, Any]]:
    identity = 1
    for position, _, labels in _items(paths, images):
        for annotation in coco_annotations(labels, _image_id(position), identity):
            yield annotation
            identity += 1


def _image_id(position: int) -> int:
    # From 1: some programs take an image without an id for one with the id 0.
    return position + 1


def _names(paths: list[Path]) -> list[str]:
    """Names of the images of all shards; `InputError` where the shards do not go together."""
    owners: dict[str, Path] = {}
    first: Header | None = None
    for path in paths:
        with Shard(path) as shard:
            header = shard.header
            first = first or header
            if (header.round, header.index) != (first.round, first.index):
                raise InputError(
                    f"mask shards {paths[0]} and {path} are of different rounds or runs; name one"
                )
            for name in shard.names:
                if name in owners:
                    raise InputError(
                        f"image {name} has a mask in {owners[name]} and in {path}; keep one set "
                        "of shards"
                    )
                owners[name] = path
    return list(owners)


def _items(paths: list[Path], images: int) -> Iterator[Item]:
    def each() -> Iterator[Item]:
        for path in paths:
            with Shard(path) as shard:
                for row, p in enumerate(shard.positions):
                    height, width = int(shard.heights[row]), int(shard.widths[row])
                    labels = full_size(shard.read(int(p)), height, width, shard.header.stride)
                    yield int(p), shard.names[row], labels

    yield from track(each(), images, "export", "images")
