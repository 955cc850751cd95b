"""``cyborgs data download``: a public data set, in the folders that VirTex and this project use."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.common.files import exclusive
from cyborgs.common.progress import say
from cyborgs.downloads.fetching import fetch
from cyborgs.downloads.public import DATA_SETS, Part
from cyborgs.downloads.unpacking import require_room, unpack


def run(name: str, out: Path, only: Sequence[str] = (), accept_terms: bool = False) -> None:
    """Fetch and unpack the parts of a data set that are not there.

    A part appears when it is whole, and its archives are then removed.

    Args:
        name: of the data set, "coco" or "voc".
        out: folder of data sets: ``coco/train2017``, ``VOC2007`` … are made in it.
        only: names of the parts to fetch; all where empty.
        accept_terms: whether the user accepts the terms of the data set.

    Raises:
        InputError: the terms are not accepted, a part is unknown, the disk has too little room,
            or an archive cannot be fetched or unpacked.
    """
    data_set = DATA_SETS[name]
    say(data_set.terms)
    if not accept_terms:
        raise InputError(
            f"{name}: fetching it accepts these terms: give --accept-terms, or set "
            "CYBORGS_ACCEPT_TERMS=1"
        )
    for chosen in only:
        if chosen not in data_set.parts:
            raise InputError(f"{name} has no part {chosen}: choose of {', '.join(data_set.parts)}")
    parts = [data_set.parts[chosen] for chosen in only or data_set.parts]
    archives = out / ".archives"
    with exclusive(archives / f"{name}.lock", f"{out}/{name}"):
        missing = [part for part in parts if not (out / part.folder).exists()]
        for part in parts:
            if part not in missing:
                say(f"download: {out / part.folder} is there already")
        # Unpacked photographs take about the size of their archive; `unpack` checks the exact size.
        needed = sum(2 * a.bytes for part in missing for a in part.archives)
        have = sum(f.stat().st_size for f in archives.iterdir())
        require_room(out, needed - have, f"for {name}")
        for part in missing:
            _make(part, out, archives)


def _make(part: Part, out: Path, archives: Path) -> None:
    target = out / part.folder
    temporary = target.with_name(f".{target.name}.part")
    # Of an earlier try that was killed.
    shutil.rmtree(temporary, ignore_errors=True)
    paths = [fetch(archive, archives) for archive in part.archives]
    try:
        for path in paths:
            unpack(path, part.inside, temporary)
        # Flush to disk before the rename makes the folder visible.
        os.sync()
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for path in paths:
        path.unlink()
    say(f"download: {target}")
