"""The index: an ordered list of the images of a run.

A text file of JSON lines: a header, a line an image, then a line a file that was left out because
it cannot be decoded.  An image's position in it is its number everywhere else (mask shards,
sampling, seeds); its name is its path below the images folder, with ``/`` between folders, so equal
base names in different folders do not collide.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.ahead import in_order
from cyborgs.common.errors import InputError
from cyborgs.common.files import require_file
from cyborgs.common.progress import say
from cyborgs.images.decoding import BrokenImageError, Entry, examine, has_unread_exif

T = TypeVar("T")

FORMAT = "cyborgs-index"
VERSION = 3

# Bad images that a message names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Bad:
    """An image file that was left out: its name, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Index:
    """An index file that was read.  ``digest`` is the SHA-256 of its bytes."""

    entries: Sequence[Entry]
    digest: str
    bad: tuple[Bad, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: int) -> Entry:
        return self.entries[position]


def scan(folder: Path, names: Sequence[str], threads: int) -> Iterator[Entry | Bad]:
    """Examine image files, in the order of their names, each read to its end.

    Those whose EXIF cannot be read are counted at the end.  Raises `InputError` where the disk or
    the network fails.
    """

    def examined(name: str) -> tuple[Entry | Bad, bool]:
        found = read_image(folder, name)
        return (found, False) if isinstance(found, Bad) else (found[0], has_unread_exif(found[1]))

    unread = 0
    for found, odd in in_order(examined, names, threads):
        unread += odd
        yield found
    if unread:
        say(f"the EXIF data of {unread} images cannot be read and are ignored")


def read_image(folder: Path, name: str) -> tuple[Entry, bytes] | Bad:
    """What an image file is, and its content.

    Raises `InputError` where the disk or the network fails.
    """
    try:
        content = (folder / name).read_bytes()
        return examine(name, content), content
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        return Bad(name, str(error.strerror))
    except OSError as error:
        # A disk or a network that fails is no reason to leave images out.
        raise InputError(f"image {folder / name}: cannot read: {error.strerror}") from None
    except BrokenImageError as error:
        return Bad(name, str(error))


def accept(
    folder: Path, found: Iterable[Entry | Bad], on_bad_image: str
) -> tuple[list[Entry], list[Bad]]:
    """The images of a folder, and those that were left out, which are told.

    Raises `InputError`, after all have been looked at, where no image is left, or where there are
    bad ones and ``on_bad_image`` is "error"; up to ten are named.
    """
    entries: list[Entry] = []
    bad: list[Bad] = []
    for one in found:
        if isinstance(one, Bad):
            bad.append(one)
        else:
            entries.append(one)
    lines = [f"image {folder / b.name}: {b.reason}" for b in bad[:_NAMED]]
    if len(bad) > _NAMED:
        lines.append(f"… and {len(bad) - _NAMED} more")
    if bad and on_bad_image == "error":
        last = "remove or repair the files named above, or set data.on_bad_image: skip"
        raise InputError("\n".join([*lines, last]))
    if not entries:
        raise InputError("\n".join([*lines, f"no image of {folder} can be decoded"]))
    for line in lines:
        say(f"left out: {line}")
    return entries, bad


def write_index(path: Path, entries: Sequence[Entry], bad: Sequence[Bad] = ()) -> None:
    """Write an index; the caller sees to atomicity."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as stream:
        header = {"format": FORMAT, "version": VERSION, "images": len(entries), "bad": len(bad)}
        stream.write(json.dumps(header) + "\n")
        for e in entries:
            line = asdict(e)
            if e.orientation == 1:
                del line["orientation"]
            # ASCII escapes also carry file names that are not valid UTF-8.
            stream.write(json.dumps(line) + "\n")
        for b in bad:
            stream.write(json.dumps({"name": b.name, "reason": b.reason}) + "\n")


def read_index(path: Path) -> Index:
    """Read an index.

    Its lines are parsed when they are asked for: that of a million images is read in half a
    second.  Raises `InputError` where it is missing, foreign or cut short, and its entries where
    their line is damaged.
    """
    lines, images, bad = _open(path)
    left_out = tuple(lines.parse(_bad, number) for number in range(images, images + bad))
    return Index(_Entries(lines, images), hashlib.sha256(lines.content).hexdigest(), left_out)


def names_in(path: Path) -> set[str]:
    """Names of all files that an index lists, those that were left out too.

    In less time than reading entries takes.  Raises `InputError` where it is missing,
    foreign or damaged.
    """
    lines, images, bad = _open(path)
    return {lines.parse(_name, number) for number in range(images + bad)}


def _open(path: Path) -> tuple["_Lines", int, int]:
    """The lines of an index, and of how many images and of how many files left out they are."""
    require_file(path, "index")
    content = path.read_bytes()
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
    try:
        header = json.loads(content[: ends[0]] if len(ends) else content or b"null")
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise InputError(f"index {path} is not an index file")
        if header["version"] != VERSION:
            raise InputError(
                f"index {path} has version {header['version']}, this program reads "
                f"version {VERSION}; index again"
            )
        images, bad = int(header["images"]), int(header["bad"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"index {path} is damaged ({error}); index again") from None
    if len(ends) != 1 + images + bad or ends[-1] + 1 != len(content):
        raise InputError(
            f"index {path} has {max(0, len(ends) - 1)} whole lines, not {images + bad}; index again"
        )
    return _Lines(path, content, ends), images, bad


def _entry(line: dict[str, Any]) -> Entry:
    return Entry(**line)


def _bad(line: dict[str, Any]) -> Bad:
    return Bad(**line)


def _name(line: dict[str, Any]) -> str:
    return str(line["name"])


class _Lines:
    """The lines of an index after its header."""

    def __init__(self, path: Path, content: bytes, ends: NDArray[np.int64]) -> None:
        self.content = content
        self._path = path
        self._ends = ends

    def parse(self, make: Callable[[dict[str, Any]], T], number: int) -> T:
        begin, end = self._ends[number], self._ends[number + 1]
        try:
            return make(json.loads(self.content[begin:end]))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"index {self._path} is damaged in line {number + 2} ({error}); index again"
            ) from None


class _Entries(Sequence[Entry]):
    def __init__(self, lines: _Lines, images: int) -> None:
        self._lines = lines
        self._images = images

    def __len__(self) -> int:
        return self._images

    @overload
    def __getitem__(self, position: int) -> Entry: ...

    @overload
    def __getitem__(self, position: slice) -> list[Entry]: ...

    def __getitem__(self, position: int | slice) -> Entry | list[Entry]:
        if isinstance(position, slice):
            return [self[p] for p in range(*position.indices(self._images))]
        if not 0 <= position < self._images:
            raise IndexError(position)
        return self._lines.parse(_entry, position)
