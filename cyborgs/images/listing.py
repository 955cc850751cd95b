"""Which files are the images: those of a folder, or those that a list names."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.common.files import absence, as_utf8, require_file
from cyborgs.images.decoding import SUFFIXES


def list_images(folder: Path, others: Counter[str] | None = None) -> Iterator[str]:
    """Names of the image files below a folder, by their suffix, in no particular order.

    Other files, but hidden ones, are counted in ``others`` by their suffix.

    Symbolic links are followed, but every file and folder counts once: under its own path where
    that is among those looked through, else under the first link to it (by level, then by name).
    Raises `InputError` where the folder does not exist, or one below it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"data.images: folder {folder} {absence(folder, 'folder')}")
    links = _Links()
    # What is found behind links is looked through in turn, after what has a path of its own.
    while links.folders:
        level, links.folders = sorted(links.folders), []
        for name in level:
            yield from _walk(folder, name, links, others)
    files = set()
    for name in sorted(links.files):
        target = Path(os.path.realpath(folder / name))
        try:
            status, parent = target.stat(), target.parent.stat()
        except OSError:
            # A broken link is listed, so that it is reported as an error.
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


def _walk(root: Path, name: str, links: _Links, others: Counter[str] | None) -> Iterator[str]:
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
            elif others is not None and not entry.name.startswith("."):
                others[_suffix(entry.name)] += 1


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _is_image(file: str) -> bool:
    # What macOS leaves beside `photo.jpg` on foreign disks is called `._photo.jpg`.
    return _suffix(file) in SUFFIXES and not file.startswith("._")


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def read_list(path: Path, folder: Path) -> list[str]:
    """Names of the image files that a list file gives, one a line, in its order.

    Paths are relative to the folder of the images, or lie below it.  Where the file has a zero
    byte in it, these end the names instead of line ends (``find -print0``).  A byte-order mark, as
    Windows writes it, says that the file is UTF-8 or UTF-16.  Raises `InputError` where it does not
    exist, names nothing, a file twice, or one outside of the folder.
    """
    require_file(path, "data.list:")
    try:
        content = as_utf8(path.read_bytes())
    except UnicodeDecodeError:
        raise InputError(f"data.list: {path} is neither UTF-8 nor UTF-16; save it as one") from None
    # Every other byte of plain names is zero there.
    if any(len(half) > 1 and not any(half) for half in (content[0:8:2], content[1:8:2])):
        raise InputError(f"data.list: {path} looks like UTF-16; save it as UTF-8")
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


def names_of(
    folder: Path, list_file: Path | None = None, others: Counter[str] | None = None
) -> list[str]:
    """Names of all image files below a folder, or of those that a list names, by code point.

    Files of a folder that are not taken for images are counted in ``others`` by their suffix.
    Raises `InputError` where there are none.
    """
    listed = read_list(list_file, folder) if list_file else list_images(folder, others)
    names = sorted(listed)
    if not names:
        require_images(folder, 1)
    return names


def others_named(others: Counter[str]) -> str:
    """How many files of which suffixes are not taken for images, in a line; the most first."""
    most = others.most_common(8)
    named = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in most)
    more = others.total() - sum(count for _, count in most)
    return named + (f", {more:,} of other kinds" if more else "")
