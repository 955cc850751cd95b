"""The index: an ordered list of the images of a run.

A text file of JSON lines: a header, then a line an image.  An image's position in it is its
number everywhere else (mask shards, sampling, seeds); its name is its path below the images
folder, with ``/`` between folders, so equal base names in different folders do not collide.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cyborgs.data.decoding import SUFFIXES, BrokenImageError, inspect
from cyborgs.errors import InputError
from cyborgs.files import require_file, sha256

FORMAT = "cyborgs-index"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """An image: its name, size in pixels, and length in bytes."""

    name: str
    height: int
    width: int
    bytes: int


@dataclass(frozen=True)
class Index:
    """An index file that was read.  ``digest`` is the SHA-256 of its bytes."""

    entries: list[Entry]
    digest: str

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: int) -> Entry:
        return self.entries[position]


def list_images(folder: Path) -> Iterator[str]:
    """Names of the image files below a folder, by their suffix, in no particular order.

    Symbolic links to files count; linked folders are not entered.  Raises `InputError` where
    the folder does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"data.images: folder {folder} does not exist")
    for parent, _, files in os.walk(folder):
        relative = Path(parent).relative_to(folder)
        for file in files:
            if os.path.splitext(file)[1].lower() in SUFFIXES:
                yield (relative / file).as_posix()


def require_images(folder: Path, least: int) -> None:
    """Raise `InputError` where a folder holds fewer than ``least`` image files."""
    found = sum(1 for _ in islice(list_images(folder), least))
    if found == 0:
        raise InputError(
            f"data.images: folder {folder} holds no images ({', '.join(sorted(SUFFIXES))})"
        )
    if found < least:
        raise InputError(
            f"pretrain.batch_size: {least} images a step, but data.images: {folder} holds "
            f"only {found}"
        )


def scan(folder: Path, threads: int) -> Iterator[Entry]:
    """Entries for all images below a folder, sorted by name (by code point).

    Every file is read to its end.  Raises `InputError` with the names of up to ten broken
    files, after all have been read.
    """
    names = sorted(list_images(folder))
    if not names:
        require_images(folder, 1)
    broken = []
    with ThreadPoolExecutor(threads) as pool:
        for name, result in zip(names, pool.map(lambda n: _examine(folder, n), names), strict=True):
            if isinstance(result, BrokenImageError):
                broken.append(f"image {folder / name}: {result}")
            else:
                yield result
    if broken:
        shown = broken[:10]
        if len(broken) > len(shown):
            shown.append(f"… and {len(broken) - len(shown)} more")
        raise InputError("\n".join([*shown, "remove or repair the files named above"]))


def _examine(folder: Path, name: str) -> Entry | BrokenImageError:
    try:
        content = (folder / name).read_bytes()
        height, width = inspect(content)
    except OSError as error:
        return BrokenImageError(error.strerror or str(error))
    except BrokenImageError as error:
        return error
    return Entry(name, height, width, len(content))


def write_index(path: Path, entries: list[Entry]) -> None:
    """Write an index; the caller sees to atomicity."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        header = {"format": FORMAT, "version": VERSION, "images": len(entries)}
        stream.write(json.dumps(header) + "\n")
        for e in entries:
            line = {"name": e.name, "height": e.height, "width": e.width, "bytes": e.bytes}
            # ASCII escapes also carry file names that are not valid UTF-8.
            stream.write(json.dumps(line) + "\n")


def read_index(path: Path) -> Index:
    """Read an index.  Raises `InputError` where it is missing, foreign or cut short."""
    require_file(path, "index")
    try:
        with open(path, encoding="utf-8") as stream:
            header = json.loads(next(stream, "null"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise InputError(f"index {path} is not an index file")
            if header["version"] != VERSION:
                raise InputError(
                    f"index {path} has version {header['version']}, this program reads "
                    f"version {VERSION}; index again"
                )
            images = header["images"]
            entries = [Entry(**json.loads(line)) for line in stream]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"index {path} is damaged ({error}); index again") from None
    if len(entries) != images:
        raise InputError(
            f"index {path} is cut short: {len(entries)} of {images} images; index again"
        )
    return Index(entries, sha256(path))
