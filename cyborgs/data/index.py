"""The index: an ordered list of the images of a run.

A text file of JSON lines: a header, a line an image, then a line a file that was left out because
it cannot be decoded.  An image's position in it is its number everywhere else (mask shards,
sampling, seeds); its name is its path below the images folder, with ``/`` between folders, so equal
base names in different folders do not collide.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cyborgs.data.decoding import SUFFIXES, BrokenImageError, inspect
from cyborgs.errors import InputError
from cyborgs.files import require_file, sha256

FORMAT = "cyborgs-index"
VERSION = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """An image: its name, size in pixels, and length in bytes."""

    name: str
    height: int
    width: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Bad:
    """An image file that was left out: its name, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Index:
    """An index file that was read.  ``digest`` is the SHA-256 of its bytes."""

    entries: list[Entry]
    digest: str
    bad: tuple[Bad, ...] = ()

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


def scan(folder: Path, threads: int) -> Iterator[Entry | Bad]:
    """All images below a folder, sorted by name (by code point), each read to its end.

    Raises `InputError` where there are none, or where the disk or the network fails.
    """
    names = sorted(list_images(folder))
    if not names:
        require_images(folder, 1)
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda name: _examine(folder, name), names)


def _examine(folder: Path, name: str) -> Entry | Bad:
    try:
        content = (folder / name).read_bytes()
        height, width = inspect(content)
    except (FileNotFoundError, PermissionError) as error:
        return Bad(name, str(error.strerror))
    except OSError as error:
        # A disk or a network that fails is no reason to leave images out.
        raise InputError(f"image {folder / name}: cannot read: {error.strerror}") from None
    except BrokenImageError as error:
        return Bad(name, str(error))
    return Entry(name, height, width, len(content))


def write_index(path: Path, entries: Sequence[Entry], bad: Sequence[Bad] = ()) -> None:
    """Write an index; the caller sees to atomicity."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        header = {"format": FORMAT, "version": VERSION, "images": len(entries), "bad": len(bad)}
        stream.write(json.dumps(header) + "\n")
        for e in entries:
            line = {"name": e.name, "height": e.height, "width": e.width, "bytes": e.bytes}
            # ASCII escapes also carry file names that are not valid UTF-8.
            stream.write(json.dumps(line) + "\n")
        for b in bad:
            stream.write(json.dumps({"name": b.name, "reason": b.reason}) + "\n")


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
            entries = [Entry(**json.loads(line)) for line in islice(stream, images)]
            bad = tuple(Bad(**json.loads(line)) for line in stream)
        if (len(entries), len(bad)) != (images, header["bad"]):
            raise InputError(
                f"index {path} is cut short: {len(entries)} of {images} images; index again"
            )
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"index {path} is damaged ({error}); index again") from None
    return Index(entries, sha256(path), bad)
