"""``cyborgs masks export``: a round's masks as other programs load them."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from cyborgs.errors import InputError
from cyborgs.files import atomic_write
from cyborgs.masks.alignment import full_size
from cyborgs.masks.formats import coco_annotations, write_npy, write_png
from cyborgs.masks.shards import Shard, find_shards
from cyborgs.progress import say, track
from cyborgs.stages.masks.sources import Sources

Labels = NDArray[np.integer]
Item = tuple[int, str, Labels]  # position in the index, name, labels at image size

_SUFFIXES = {"png": ".png", "npy": ".npy"}


def run(sources: Sources, kind: str, out: Path) -> None:
    """Write the masks of a round at image size.

    Args:
        sources: of one round.
        kind: "png" (a folder of indexed PNGs), "npy" (a folder of int64 arrays, as the
            published program read them), or "coco" (one JSON file with run-length codes).
        out: the folder or file.  It appears when it is whole, and must not exist before.

    Raises:
        InputError: several rounds, masks that cannot be read, two images whose files would have
            one name, or something that lies at ``out``.
    """
    if len(sources.rounds) > 1:
        raise InputError(
            f"{len(sources.rounds)} rounds are given: name one, such as {sources.rounds[-1][1]}"
        )
    if out.exists():
        raise InputError(f"--out {out} exists; remove it, or give another name")
    paths = find_shards(sources.rounds[0][1])
    if kind == "coco":
        count = _write_coco(paths, out)
    else:
        writer = write_png if kind == "png" else write_npy
        count = _write_folder(paths, out, _SUFFIXES[kind], writer)
    say(f"export: masks of {count} images in {out}")


def file_name(name: str, suffix: str) -> str:
    """The file of an image's mask: the image's name with another suffix.

    Raises `InputError` for a name that leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"image {name!r}: its name leads out of the folder; index again")
    return path.with_suffix(suffix).as_posix()


def require_distinct(names: list[str], suffix: str) -> dict[str, str]:
    """Images by the file names of their masks; `InputError` where two have one."""
    files: dict[str, str] = {}
    for name in names:
        file = file_name(name, suffix)
        if file in files:
            raise InputError(
                f"images {files[file]} and {name} would share the mask file {file}; rename one"
            )
        files[file] = name
    return files


def _write_folder(
    paths: list[Path], out: Path, suffix: str, write: Callable[[Path, Labels], None]
) -> int:
    names = [name for path in paths for name in _names(path)]
    require_distinct(names, suffix)
    with _whole_folder(out) as folder:
        for _, name, labels in _items(paths, len(names)):
            target = folder / file_name(name, suffix)
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target, labels)
    return len(names)


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that gets its name at the end, or disappears."""
    folder = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_coco(paths: list[Path], out: Path) -> int:
    """Images in one list, annotations in the other: two passes, nothing held."""
    images = sum(len(_names(path)) for path in paths)
    with atomic_write(out) as temporary, open(temporary, "w", encoding="ascii") as stream:
        stream.write('{"categories": [{"id": 1, "name": "mask", "supercategory": "mask"}],\n')
        stream.write('"images": [\n')
        _write_list(stream.write, _image_entries(paths))
        stream.write('],\n"annotations": [\n')
        _write_list(stream.write, _annotations(paths, images))
        stream.write("]}\n")
    return images


def _write_list(write: Callable[[str], object], entries: Iterator[dict[str, object]]) -> None:
    separator = ""
    for entry in entries:
        write(separator + json.dumps(entry))
        separator = ",\n"
    write("\n")


def _image_entries(paths: list[Path]) -> Iterator[dict[str, object]]:
    for path in paths:
        with Shard(path) as shard:
            for row, position in enumerate(shard.positions):
                yield {
                    "id": _image_id(int(position)),
                    "file_name": shard.names[row],
                    "height": int(shard.heights[row]),
                    "width": int(shard.widths[row]),
                }


def _annotations(paths: list[Path], images: int) -> Iterator[dict[str, object]]:
    identity = 1
    for position, _, labels in _items(paths, images):
        for annotation in coco_annotations(labels, _image_id(position), identity):
            yield annotation
            identity += 1


def _image_id(position: int) -> int:
    # From 1: some programs take an image without an id for one with the id 0.
    return position + 1


def _names(path: Path) -> list[str]:
    with Shard(path) as shard:
        return shard.names


def _items(paths: list[Path], images: int) -> Iterator[Item]:
    def each() -> Iterator[Item]:
        for path in paths:
            with Shard(path) as shard:
                for row, p in enumerate(shard.positions):
                    height, width = int(shard.heights[row]), int(shard.widths[row])
                    labels = full_size(shard.read(int(p)), height, width, shard.header.stride)
                    yield int(p), shard.names[row], labels

    yield from track(each(), images, "export", "images")
