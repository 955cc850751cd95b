"""Files that are whole or absent, one writer at a time, and hashes."""

import codecs
import errno
import fcntl
import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say

# Seconds between looks at a lock that another process holds.
_LOOK = 0.3

# Seconds that a process has to exit in after it has let go of a lock: with PyTorch, one or two.
_EXIT = 10.0


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    The file is synced before the rename and its folder after it, so a file that exists is
    whole even after a power cut.  If the block raises, nothing is left behind and an older
    ``path`` stays as it was.  The folder is made if it is missing.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept: some writers choose a format by it.
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=f".part{path.suffix}"
        )
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"cannot write {path}: {error.strerror}; make room") from None
        raise
    _sync(path.parent)


@contextmanager
def exclusive(
    path: Path, what: str, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Hold a lock file, once no other process holds it.

    The system lets go of the lock when a process dies, and the file is removed when the block
    ends.  Where the file system has no locks, that is said, and the block runs.

    One that waited for a process of this machine also waits for it to exit: what its shell does
    next (`remember`, workflow/rules/common.smk) comes before what the block leads to.

    Args:
        path: of the lock file; its folder is made if it is missing.
        what: is made in the block, for messages.
        meanwhile: is called several times a second for as long as this waits.

    Raises:
        InputError: the lock file cannot be made.
    """
    waited = False
    holder: tuple[str, int] | None = None
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(path, "a")  # noqa: SIM115 (held beyond this line)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the file that is locked here.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                    break
            stream.close()
        except BlockingIOError:
            stream.close()
            if not waited:
                say(f"another process makes {what}: waiting for it to end ({path})")
            waited = True
            holder = _holder(path) or holder
            meanwhile()
            time.sleep(_LOOK)
        except OSError as error:
            say(
                f"{path} cannot be locked ({error.strerror}): make sure that no other process "
                f"writes {what}"
            )
            break
    with suppress(OSError):
        stream.truncate(0)
        stream.write(f"{socket.gethostname()} {os.getpid()}\n")
        stream.flush()
    if holder is not None:
        _wait_for_exit(*holder, meanwhile)
    with stream:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _holder(path: Path) -> tuple[str, int] | None:
    """Machine and process that hold a lock file, as far as it says."""
    with suppress(OSError, ValueError):
        host, process = path.read_text().split()
        return host, int(process)
    return None


def _wait_for_exit(host: str, process: int, meanwhile: Callable[[], object]) -> None:
    """Until a process of this machine has exited; not long, since it may go on to other work."""
    if host != socket.gethostname() or process == os.getpid():
        return
    deadline = time.monotonic() + _EXIT
    with suppress(psutil.NoSuchProcess):
        while time.monotonic() < deadline:
            if psutil.Process(process).status() == psutil.STATUS_ZOMBIE:
                return
            meanwhile()
            time.sleep(_LOOK)


def keep(path: Path) -> None:
    """Leave a result as it is, and say so: it is whole, and would come out the same again."""
    say(
        f"{path} is complete and was made from the same inputs with the same settings, so it is "
        "kept. To make it again, delete it, or force its rule (`snakemake --forcerun`)"
    )
    # Newer than its inputs, as if it had just been made.
    path.touch()


def _umask() -> int:
    # The mask can only be read by setting it; mkstemp made the file private.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def as_utf8(content: bytes) -> bytes:
    """A text as UTF-8 without a byte-order mark, from what its byte-order mark says it is.

    One without a mark is returned as it is.  Raises `UnicodeDecodeError` where it lies.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def require_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a file that can be read.

    Raises `InputError` with ``what`` it should have been.
    """
    try:
        if not Path(path).is_file():
            raise InputError(f"{what} {path} {absence(path, 'file')}")
    except PermissionError:  # of a folder on the way to it
        raise InputError(f"{what} {path} cannot be read: no permission") from None
    if not os.access(path, os.R_OK):
        raise InputError(f"{what} {path} cannot be read: no permission")
    return Path(path)


def absence(path: Path, wanted: str) -> str:
    """Why there is no file or folder of a name: it does not exist, or is something else."""
    if not path.exists():
        return "does not exist"
    kind = (
        "a folder" if path.is_dir() else "a file" if path.is_file() else "neither file nor folder"
    )
    return f"is {kind}; name a {wanted}"


def require_outputs(outputs: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """Find before any work that its results cannot be written, or would replace what they are of.

    Args:
        outputs: files or folders that will be written, by what the user calls them.
        inputs: what will be read.

    Raises:
        InputError: an output is a file that is read or written too, or its folder cannot be made
            or written to.
    """
    read = [path for path in inputs if os.path.isfile(path)]
    written: dict[Path, str] = {}
    for name, path in outputs.items():
        if os.path.isfile(path) and any(path.samefile(one) for one in read):
            raise InputError(f"{name}: {path} is an input of this command too; name another file")
        if path.resolve() in written:
            other = written[path.resolve()]
            raise InputError(f"{name}: {path} is {other} too; name another file")
        written[path.resolve()] = name
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not there.is_dir():
            raise InputError(f"{name}: cannot write {path}: {there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{name}: cannot write {path}: no permission to write in {there}")
