"""The index: an ordered list of the images of a run.

A text file of JSON lines: a header, a line an image, then a line a file that was left out because
it cannot be decoded.  An image's position in it is its number everywhere else (mask shards,
sampling, seeds); its name is its path below the images folder, with ``/`` between folders, so equal
base names in different folders do not collide.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from cyborgs.ahead import in_order
from cyborgs.data.decoding import SUFFIXES, BrokenImageError, Entry, examine
from cyborgs.errors import InputError
from cyborgs.files import require_file

T = TypeVar("T")

FORMAT = "cyborgs-index"
VERSION = 3


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


def list_images(folder: Path) -> Iterator[str]:
    """Names of the image files below a folder, by their suffix, in no particular order.

    Symbolic links are followed, but every file and folder counts once: under its own path where
    that is among those looked through, else under the first link to it (by level, then by name).
    Raises `InputError` where the folder does not exist, or one below it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"data.images: folder {folder} does not exist")
    links = _Links()
    # What is found behind links is looked through in turn, after what has a path of its own.
    while links.folders:
        level, links.folders = sorted(links.folders), []
        for name in level:
            yield from _walk(folder, name, links)
    files = set()
    for name in sorted(links.files):
        target = Path(os.path.realpath(folder / name))
        try:
            status, parent = target.stat(), target.parent.stat()
        except OSError:
            # Leads nowhere: listed, so that it is not missed in silence.
            yield name
            continue
        listed = _identity(parent) in links.seen and _is_image(target.name)
        if not listed and _identity(status) not in files:
            files.add(_identity(status))
            yield name


@dataclass
class _Links:
    """Symbolic links to folders and image files that were found, and the folders that were seen.

    Folders go by device and inode; the name of the folder of all images is empty.
    """

    folders: list[str] = field(default_factory=lambda: [""])
    files: list[str] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)


def _walk(root: Path, name: str, links: _Links) -> Iterator[str]:
    """Image files in a folder below ``root`` and in those in it, as far as they are new."""
    stack = [name]
    while stack:
        name = stack.pop()
        identity = _identity((root / name).stat())
        if identity in links.seen:
            continue
        links.seen.add(identity)
        try:
            with os.scandir(root / name) as entries:
                inside = list(entries)
        except OSError as error:
            raise InputError(
                f"data.images: folder {root / name} cannot be read: {error.strerror}"
            ) from None
        for entry in inside:
            path = f"{name}/{entry.name}" if name else entry.name
            if entry.is_symlink():
                # A link that leads to itself is no folder; the entry's own test would fail on it.
                if os.path.isdir(entry.path):
                    links.folders.append(path)
                elif _is_image(entry.name):
                    links.files.append(path)
            elif entry.is_dir():
                stack.append(path)
            elif _is_image(entry.name) and entry.is_file():
                yield path


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_image(file: str) -> bool:
    # What macOS leaves beside `photo.jpg` on foreign disks is called `._photo.jpg`.
    return os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith("._")


def read_list(path: Path, folder: Path) -> list[str]:
    """Names of the image files that a list file gives, one a line, in its order.

    Paths are relative to the folder of the images, or lie below it.  Where the file has a zero
    byte in it, these end the names instead of line ends (``find -print0``).  Raises `InputError`
    where it does not exist, names nothing, a file twice, or one outside of the folder.
    """
    require_file(path, "data.list:")
    content = path.read_bytes()
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    names: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        given = os.fsdecode(line)
        name = os.path.normpath(os.path.relpath(given, folder) if given[0] == "/" else given)
        if name.split("/")[0] in ("..", "."):
            raise InputError(f"data.list: {path}, line {number}: {given} is not below {folder}")
        if name in names:
            raise InputError(
                f"data.list: {path}, line {number}: {given} is in line {names[name]} already"
            )
        names[name] = number
    if not names:
        raise InputError(f"data.list: {path} names no file")
    return list(names)


def require_images(folder: Path, least: int, list_file: Path | None = None) -> None:
    """Raise `InputError` where fewer than ``least`` images are below a folder, or in a list."""
    if list_file is not None:
        found = len(read_list(list_file, folder))
    else:
        found = sum(1 for _ in islice(list_images(folder), least))
    if found == 0:
        raise InputError(
            f"data.images: folder {folder} holds no images ({', '.join(sorted(SUFFIXES))})"
        )
    if found < least:
        raise InputError(
            f"pretrain.batch_size: {least} images a step, but data.images: {folder} holds "
            f"only {found}" + (f" of those that {list_file} names" if list_file else "")
        )


def names_of(folder: Path, list_file: Path | None = None) -> list[str]:
    """Names of all image files below a folder, or of those that a list names, by code point.

    Raises `InputError` where there are none.
    """
    names = sorted(list_images(folder) if list_file is None else read_list(list_file, folder))
    if not names:
        require_images(folder, 1)
    return names


def scan(folder: Path, names: Sequence[str], threads: int) -> Iterator[Entry | Bad]:
    """Examine image files, in the order of their names, each read to its end.

    Raises `InputError` where the disk or the network fails.
    """
    return in_order(lambda name: _examine(folder, name), names, threads)


def _examine(folder: Path, name: str) -> Entry | Bad:
    try:
        return examine(name, (folder / name).read_bytes())
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        return Bad(name, str(error.strerror))
    except OSError as error:
        # A disk or a network that fails is no reason to leave images out.
        raise InputError(f"image {folder / name}: cannot read: {error.strerror}") from None
    except BrokenImageError as error:
        return Bad(name, str(error))


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
    lines = _Lines(path, content, ends)
    left_out = tuple(lines.parse(Bad, number) for number in range(images, images + bad))
    return Index(_Entries(lines, images), hashlib.sha256(content).hexdigest(), left_out)


class _Lines:
    """The lines of an index after its header."""

    def __init__(self, path: Path, content: bytes, ends: NDArray[np.int64]) -> None:
        self._path = path
        self._content = content
        self._ends = ends

    def parse(self, kind: type[T], number: int) -> T:
        begin, end = self._ends[number : number + 2]
        try:
            return kind(**json.loads(self._content[begin:end]))
        except (ValueError, TypeError) as error:
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
        return self._lines.parse(Entry, position)
