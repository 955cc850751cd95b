"""A file from a server: continued where it was cut off, and checked."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say, track
from cyborgs.downloads.public import Archive

_CHUNK = 1 << 20
# Seconds without a byte after which a connection counts as cut.
_PATIENCE = 60
# Tries without a byte more, before giving up; the pause before each doubles from one second.
_TRIES = 5


def fetch(archive: Archive, folder: Path) -> Path:
    """Download an archive into a folder, unless it is there; returns its path.

    What arrived before a cut connection or a kill is kept under another name, and continued.
    Proxies are those of the usual environment variables.

    Raises:
        InputError: the server has no such file, one of another length, or other bytes; or it
            does not answer.
    """
    path = folder / archive.file
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{archive.file}.part"
    tries = 0
    while (have := _length(partial)) < archive.bytes:
        try:
            _continue(archive, partial, have)
        except (OSError, http.client.HTTPException) as error:
            tries = 1 if _length(partial) > have else tries + 1
            if tries >= _TRIES:
                raise InputError(
                    f"{archive.url}: {reason(error)}, {_TRIES} times in a row; start again later: "
                    f"{_length(partial):,} of {archive.bytes:,} bytes are kept in {partial}"
                ) from None
            say(f"{archive.url}: {reason(error)}; trying again")
            time.sleep(2 ** (tries - 1))
    _require_content(archive, partial)
    os.replace(partial, path)
    return path


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _continue(archive: Archive, partial: Path, have: int) -> None:
    """Append what a server has after the first ``have`` bytes, or all that it has."""
    request = urllib.request.Request(archive.url, headers={"User-Agent": "cyborgs"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        # 408 and 429 ask for patience, as the errors of the server itself do.
        if error.code < 500 and error.code not in (408, 429):
            raise InputError(
                f"{archive.url}: the server says {error.code} {error.reason}; fetch the file by "
                f"other means and put it at {partial.with_suffix('')}"
            ) from None
        raise
    with response:
        if response.status != 206:
            # It sends the file from its beginning.
            have = 0
        offered = have + int(response.headers.get("Content-Length") or 0)
        if offered != archive.bytes:
            raise InputError(
                f"{archive.url}: the server offers {offered:,} bytes, not the {archive.bytes:,} of "
                "this file: another file, or a page that says why; look at the address"
            )
        with open(partial, "ab" if have else "wb") as stream:
            chunks = -(-(archive.bytes - have) // _CHUNK)
            for chunk in track(_chunks(response), chunks, archive.file, "MB"):
                stream.write(chunk)
    if _length(partial) < archive.bytes:
        raise ConnectionError("the connection was cut")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := response.read(_CHUNK):
        yield chunk


def reason(error: BaseException) -> str:
    """What is wrong with a connection, for people."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection ({error.reason})"
    return str(error) or type(error).__name__


def _require_content(archive: Archive, partial: Path) -> None:
    with open(partial, "rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != archive.md5:
        partial.unlink()
        raise InputError(
            f"{archive.url}: the bytes that arrived are not those of this file (MD5 {found}, not "
            f"{archive.md5}); they were removed: start again"
        )
