"""Files of tensors by name, and a header of plain values: what states are kept in."""

import json
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write, require_file

Tensors = Mapping[str, Mapping[str, Tensor]]


def write_container(
    path: Path, form: str, version: int, *, header: Mapping[str, Any], tensors: Tensors
) -> None:
    """Write a file; it appears whole or not at all, and the same content gives the same bytes.

    Args:
        path: the file.
        form, version: what is in it, for `read_container`.
        header: values that JSON has.
        tensors: groups of tensors by name.

    Raises:
        InputError: it cannot be written; an older file of that name stays.
    """
    content: dict[str, Any] = {
        "format": form,
        "version": version,
        # As one text: pickle writes an object that occurs twice as a reference, so equal
        # dictionaries could give different bytes.
        "header": json.dumps(header, sort_keys=True),
    }
    for group, named in tensors.items():
        content[group] = {
            sys.intern(k): v.detach().cpu().contiguous().clone() for k, v in named.items()
        }
    try:
        with atomic_write(path) as temporary, open(temporary, "wb") as stream:
            # Through a stream: torch.save would put the file's own name into the file.
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:
        # torch turns a full disk into a RuntimeError of its own.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = " ".join((getattr(cause, "strerror", None) or str(cause)).split())[:120]
        raise InputError(f"state {path} cannot be written ({reason}); make room") from None


def require_whole(archive: zipfile.ZipFile) -> None:
    """Raise `BadZipFile` where torch would read something else than was written, unsaid."""
    # It reads nothing of what is marked as a folder, and leaves a tensor what was in memory.
    marked = [r.filename for r in archive.infolist() if r.external_attr & 0x10 and not r.is_dir()]
    if marked:
        raise zipfile.BadZipFile(f"{marked[0]} is marked as a folder")
    # It does not look at the checksums that the file carries.
    broken = archive.testzip()
    if broken is not None:
        raise zipfile.BadZipFile(f"wrong CRC of {broken}")


def read_container(
    path: Path, form: str, version: int
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Header and tensors of a file, on the CPU, without running any code from the file.

    Raises `InputError` where the file is missing, damaged, foreign or of another version.
    """
    require_file(path, "state")
    try:
        with zipfile.ZipFile(path) as archive:
            require_whole(archive)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise InputError(
            f"state {path} is damaged or not a checkpoint of this program "
            f"({' '.join(str(error).split())[:120]})"
        ) from None
    if not isinstance(content, dict) or content.get("format") != form:
        raise InputError(
            f"state {path} is a checkpoint of another program; `cyborgs import` makes a state of it"
        )
    if content["version"] != version:
        raise InputError(
            f"state {path} has format version {content['version']}, this program reads "
            f"version {version}"
        )
    header = json.loads(content["header"])
    tensors = {k: v for k, v in content.items() if k not in ("format", "version", "header")}
    return header, tensors
