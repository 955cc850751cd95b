"""Archives to folders, without letting anything out of them."""

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from cyborgs.common.errors import InputError
from cyborgs.common.progress import track


@dataclass(frozen=True)
class _Member:
    """A file in an archive: its path, its size in bytes, and how to read it."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, inside: str, out: Path) -> None:
    """Unpack the files below one folder of a `.zip` or `.tar` file; others are left out.

    Args:
        archive: the file.
        inside: the folder in it, with ``/`` between folders.
        out: the folder that takes its place; files may be there already.

    Raises:
        InputError: the archive is damaged, has a path that leads out of it, something that is
            neither file nor folder, or nothing in ``inside``; or the disk has too little room.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _unpack(archive, list(_of_tar(archive, tar)), inside, out)
        else:
            with zipfile.ZipFile(archive) as packed:
                _unpack(archive, list(_of_zip(archive, packed)), inside, out)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"{archive} is damaged ({error}); delete it and start again") from None


def _unpack(archive: Path, members: list[_Member], inside: str, out: Path) -> None:
    # Nothing is written before all names are known to stay inside.
    below = [(member, _below(archive, member.name, inside)) for member in members]
    chosen = [(member, path) for member, path in below if path is not None]
    if not chosen:
        raise InputError(f"{archive} holds nothing in {inside}/")
    require_room(out.parent, sum(member.size for member, _ in chosen), f"to unpack {archive}")
    for member, path in track(chosen, len(chosen), f"unpack {archive.name}", "files"):
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(target, "wb") as stream:
            shutil.copyfileobj(source, stream)
        if target.stat().st_size != member.size:
            raise InputError(f"{archive}: {member.name} is cut short; delete it and start again")


def _of_zip(archive: Path, opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        # The upper half has the file's mode on Unix; 0 where it was packed elsewhere.
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000, 0o040000):
            raise InputError(f"{archive}: {info.filename} is neither file nor folder")
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, partial(opened.open, info))


def _of_tar(archive: Path, opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if info.isdir():
            continue
        if not info.isreg():
            raise InputError(f"{archive}: {info.name} is neither file nor folder")

        def read(info: tarfile.TarInfo = info) -> IO[bytes]:
            stream = opened.extractfile(info)
            assert stream is not None  # it is a file
            return stream

        yield _Member(info.name, info.size, read)


def _below(archive: Path, name: str, inside: str) -> PurePosixPath | None:
    """The path of a member below ``inside``, or None where it is elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise InputError(f"{archive}: {name} leads out of the folder; nothing was unpacked")
    return path.relative_to(inside) if path.is_relative_to(inside) else None


def require_room(folder: Path, needed: int, why: str) -> None:
    """Raise `InputError` where the disk of a folder has fewer bytes left than are needed."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"{os.fspath(folder)}: {needed / 1e9:.1f} GB are needed {why}, {free / 1e9:.1f} GB are "
            "free; make room, or choose another folder"
        )
