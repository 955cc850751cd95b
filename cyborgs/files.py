"""Files that are whole or absent, one writer at a time, and hashes."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cyborgs.errors import InputError
from cyborgs.progress import say


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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[bool]:
    """Hold a lock file, once no other process holds it; yields whether that was waited for.

    The system lets go of the lock when a process dies, and the file is removed when the block
    ends.  Where the file system has no locks, that is said, and the block runs.

    Args:
        path: of the lock file; its folder is made if it is missing.
        what: is made in the block, for messages.

    Raises:
        InputError: the lock file cannot be made.
    """
    waited = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(path, "a")  # noqa: SIM115 (held beyond this line)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process makes {what}: waiting for it to end ({path})")
            waited = True
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            say(f"{path} cannot be locked ({error.strerror}): nothing else must make {what}")
        # Whoever held it may have removed the file under this lock.
        if path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            break
        stream.close()
    with stream:
        try:
            yield waited
        finally:
            path.unlink(missing_ok=True)


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


def require_file(path: Path, what: str) -> Path:
    """Return ``path`` if it is a file; `InputError` with ``what`` it should have been."""
    if not Path(path).is_file():
        raise InputError(f"{what} {path} does not exist (or is not a file)")
    return Path(path)
