"""What has changed in a folder of images since a run listed it."""

import json
from collections.abc import Iterable
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.images.index import names_in
from cyborgs.images.listing import names_of
from cyborgs.images.shrinking import small_name

# Names of each kind that the line shows.
_SHOWN = 3


def changed_images(
    images: Path, list_file: Path | None, index_path: Path, summary: Path | None = None
) -> str | None:
    """One line on images that are new or gone since an index was made; None where there are none.

    Also None where what the index was made of cannot be told, as `data` has changed, or where it
    cannot be read: whoever needs it makes it again, or says so.

    Names are compared, not contents: those are compared when an image is decoded.

    Args:
        images: the user's folder.
        list_file: names the images of it that count; else all do.
        index_path: the run's index.
        summary: of the smaller copies that the index lists, where it lists such.

    Raises:
        InputError: images cannot be listed.
    """
    here = set(names_of(images, list_file))
    if list_file is not None:
        here = {name for name in here if (images / name).exists()}
    try:
        known = names_in(index_path)
        left_out = {} if summary is None else json.loads(summary.read_text())["bad"]
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return None
    if summary is not None:
        # Those that were left out have no copy.
        known |= left_out.keys()
        known |= {name for name in here if small_name(name) in known}
        known -= {small_name(name) for name in here} - here
    new, gone = here - known, known - here
    if not new and not gone:
        return None
    told = " and ".join(_some(*pair) for pair in ((new, "new"), (gone, "gone")) if pair[0])
    return (
        f"data.images: {told} in {images} since {index_path} was made. The run keeps its "
        "index, unless `data` has changed; `snakemake --forcerun index` with the same options "
        "searches the folder again, and remakes everything that depends on it"
    )


def _some(names: Iterable[str], what: str) -> str:
    names = sorted(names)
    shown = ", ".join(json.dumps(n, ensure_ascii=False)[1:-1] for n in names[:_SHOWN])
    return f"{len(names):,} {what} ({shown}{', …' if len(names) > _SHOWN else ''})"
