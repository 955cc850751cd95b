"""Files of masks in other formats: their names, and a folder of them that appears whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from cyborgs.common.errors import InputError


def file_name(name: str, suffix: str) -> str:
    """The file of an image's mask: the image's name with another suffix.

    Raises `InputError` for a name that leads out of the folder, or is none.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name:
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


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill: it gets the name ``out`` when the block ends, or disappears.

    ``out`` must be missing or an empty folder.  Raises `InputError` where it cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=".part-") as temporary:
            # One more folder: that of `tempfile` is closed to other users.
            folder = Path(temporary) / out.name
            folder.mkdir()
            yield folder
            folder.rename(out)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"cannot write {out}: {error.strerror} ({error.filename})") from None
