"""Mask shards: the only reader and writer of the HDF5 files that hold masks.

A shard holds the masks of some images of a round, at feature resolution:

- ``/masks/<position>``: one data set an image, ``uint8`` (``uint16`` where a label is above
  255), ``(rows, cols)``, in one chunk, compressed with gzip and checksummed by HDF5
  (Fletcher-32); marked as an indexed image with a palette, so that viewers show colours.
- ``/images/…``: a row an image: ``position`` in the index, ``name``, ``height`` and ``width``
  in pixels, ``group``, ``clusters`` (the K it was clustered with), ``digest`` of its labels.
- ``/skipped/…``, where images could not be decoded: ``position``, ``name`` and ``reason`` of each,
  which has no mask.
- ``/palette``: colours of the first 256 labels, for viewers.
- attributes: ``format``, ``version``, ``round``, ``stride`` (pixels between two locations),
  ``shard``, ``shards``, ``index`` (digest of the index the positions refer to),
  ``provenance`` (JSON).

`cyborgs.masks.alignment` has the rule by which a pixel finds its label.  The same masks give
the same bytes.
"""

import glob
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.common.section import MOST_LABELS
from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index
from cyborgs.masks.alignment import grid_size
from cyborgs.masks.hdf5 import mark, read_texts, read_whole, refer, write_compressed, write_texts
from cyborgs.masks.palette import colours

FORMAT = "cyborgs-masks"
VERSION = 1

Labels = NDArray[np.integer]

# Readable by HDF5 1.10 and later (2016); groups of many data sets are compact from then on.
_LIBVER = ("v110", "v110")

# What every HDF5 file begins with.
_SIGNATURE = b"\x89HDF\r\n\x1a\n"

# Bytes that HDF5 may remember of the structure of an open shard.
_REMEMBERED = 1 << 16

_COLUMNS = {
    "position": np.int64,
    "height": np.int32,
    "width": np.int32,
    "group": np.int64,
    "clusters": np.int32,
    "digest": np.uint64,
}


@dataclass(frozen=True)
class Header:
    """What a shard says of itself, besides its masks."""

    round: int
    stride: int
    shard: int
    shards: int
    index: str
    provenance: dict[str, Any]


class ShardWriter:
    """Adds masks to a shard one by one; made by `write_shard`."""

    def __init__(self, file: h5py.File, header: Header) -> None:
        self._file = file
        self._stride = header.stride
        self._rows: dict[str, list[int]] = {name: [] for name in _COLUMNS}
        self._names: list[str] = []
        self._skipped: list[tuple[int, str, str]] = []
        # Texts of fixed length: HDF5 keeps others in a heap without checksum, and can hang on a
        # damaged one.
        file.attrs["format"] = np.bytes_(FORMAT)
        file.attrs["version"] = VERSION
        file.attrs["round"] = header.round
        file.attrs["stride"] = header.stride
        file.attrs["shard"] = header.shard
        file.attrs["shards"] = header.shards
        file.attrs["index"] = np.bytes_(header.index)
        file.attrs["provenance"] = np.bytes_(json.dumps(header.provenance, sort_keys=True))
        palette = file.create_dataset("palette", data=colours())
        mark(
            palette, CLASS="PALETTE", PAL_VERSION="1.2", PAL_TYPE="STANDARD8", PAL_COLORMODEL="RGB"
        )
        self._palette = palette
        self._masks = file.create_group("masks")

    def add(
        self, position: int, entry: Entry, labels: Labels, *, group: int, clusters: int
    ) -> None:
        """Add the mask of the image at ``position`` of the index.

        Args:
            position: of the image in the index.
            entry: the image's line of the index.
            labels: ``(rows, cols)``, values in 0 … 65535, with ``rows`` and ``cols`` the
                image's size over the stride, rounded up.
            group: number of the group that was clustered together, -1 where there is none.
            clusters: K of that group, or the number of labels.

        Raises:
            ValueError: labels of another shape or out of range, or an image added twice.
        """
        expected = grid_size(entry.height, self._stride), grid_size(entry.width, self._stride)
        if labels.shape != expected:
            raise ValueError(f"mask of {entry.name} has shape {labels.shape}, not {expected}")
        if labels.min() < 0 or labels.max() >= MOST_LABELS:
            raise ValueError(f"mask of {entry.name} has labels outside 0 … {MOST_LABELS - 1}")
        stored: Labels = labels.astype(np.uint8 if labels.max() < 256 else np.uint16)
        mask = write_compressed(self._masks, _key(position), np.ascontiguousarray(stored))
        mark(
            mask,
            CLASS="IMAGE",
            IMAGE_VERSION="1.2",
            IMAGE_SUBCLASS="IMAGE_INDEXED",
            DISPLAY_ORIGIN="UL",
        )
        refer(mask, "PALETTE", self._palette)
        row = {
            "position": position,
            "height": entry.height,
            "width": entry.width,
            "group": group,
            "clusters": clusters,
            "digest": labels_digest(stored),
        }
        for name, value in row.items():
            self._rows[name].append(value)
        self._names.append(entry.name)

    def __len__(self) -> int:
        return len(self._names)

    def skip(self, position: int, entry: Entry, reason: str) -> None:
        """List an image that has no mask, and why."""
        self._skipped.append((position, entry.name, reason))

    def finish(self) -> None:
        """Write the columns; nothing can be added afterwards.

        Raises `InputError` where every image was skipped.
        """
        if self._skipped and not self._names:
            raise InputError(
                f"mask shard {self._file.attrs['shard']}: none of its {len(self._skipped)} images "
                f"can be decoded; the first: {self._skipped[0][2]}"
            )
        images = self._file.create_group("images")
        for name, dtype in _COLUMNS.items():
            column = np.array(self._rows[name], dtype=dtype)
            images.create_dataset(name, data=column, chunks=column.shape, fletcher32=True)
        write_texts(images, "name", self._names)
        if self._skipped:
            skipped = self._file.create_group("skipped")
            positions, names, reasons = zip(*self._skipped, strict=True)
            column = np.array(positions, dtype=np.int64)
            skipped.create_dataset("position", data=column, chunks=column.shape, fletcher32=True)
            write_texts(skipped, "name", names)
            write_texts(skipped, "reason", reasons)


def _begins_as_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 or the beginning of one, however short."""
    with open(path, "rb") as stream:
        return _SIGNATURE.startswith(stream.read(len(_SIGNATURE)))


def _remember_little(file: h5py.File) -> None:
    """Keep HDF5 from remembering each image that was read, in each process: gigabytes in all."""
    cache = file.id.get_mdc_config()
    cache.set_initial_size = True
    cache.initial_size = cache.min_size = cache.max_size = _REMEMBERED
    file.id.set_mdc_config(cache)


@contextmanager
def write_shard(path: Path, header: Header) -> Iterator[ShardWriter]:
    """Write a shard: it appears under its name, whole, when the block ends without an error."""
    # A temporary file of this process alone needs no lock; Lustre and some NFS have none.
    with (
        atomic_write(path) as temporary,
        h5py.File(temporary, "w", libver=_LIBVER, locking=False) as file,
    ):
        writer = ShardWriter(file, header)
        yield writer
        writer.finish()


class Shard:
    """An open shard.  A context manager; safe to open in many processes at once.

    Raises `InputError` where the file is missing, truncated, foreign or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"mask shard {path} does not exist")
        try:
            # Readers take no lock: network file systems often have none.
            self._file = h5py.File(path, "r", locking=False)
            _remember_little(self._file)
        except OSError as error:
            # This never was a shard, so do not advise deleting it.
            if not _begins_as_hdf5(self.path):
                raise InputError(
                    f"mask shard {path} is not HDF5, so it is not a mask shard; give a shard, or "
                    "the folder of a run"
                ) from None
            raise InputError(
                f"mask shard {path} is truncated ({_reason(error)}); delete it and run the "
                "workflow again"
            ) from None
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def _read_header(self) -> None:
        try:
            attrs = self._file.attrs
            if attrs.get("format") != FORMAT.encode():
                raise InputError(f"mask shard {self.path} is HDF5, but not a mask shard")
            if attrs["version"] != VERSION:
                raise InputError(
                    f"mask shard {self.path} has format version {attrs['version']}, this program "
                    f"reads version {VERSION}; make it again"
                )
            self.header = Header(
                round=int(attrs["round"]),
                stride=int(attrs["stride"]),
                shard=int(attrs["shard"]),
                shards=int(attrs["shards"]),
                index=attrs["index"].decode(),
                provenance=json.loads(attrs["provenance"]),
            )
            self._masks = self._file["masks"]
            images = self._file["images"]
            self.positions: NDArray[np.int64] = images["position"][:]
            self.heights: NDArray[np.int32] = images["height"][:]
            self.widths: NDArray[np.int32] = images["width"][:]
            self.groups: NDArray[np.int64] = images["group"][:]
            self.clusters: NDArray[np.int32] = images["clusters"][:]
            self.digests: NDArray[np.uint64] = images["digest"][:]
            self.skipped: dict[int, str] = {}
            if "skipped" in self._file:
                skipped = self._file["skipped"]
                positions = skipped["position"][:].tolist()
                reasons = read_texts(skipped, "reason")
                self.skipped = dict(zip(positions, reasons, strict=True))
            self._order = np.argsort(self.positions)
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> InputError:
        return InputError(
            f"mask shard {self.path} is damaged ({_reason(error)}); delete it and run the "
            "workflow again"
        )

    @cached_property
    def names(self) -> list[str]:
        """Names of the images, in the order of `positions`.  Raises `InputError` where damaged."""
        # Not read before they are asked for: each of many loader processes has the shards open.
        try:
            return read_texts(self._file["images"], "name")
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self.positions)

    def read(self, position: int) -> Labels:
        """Labels ``(rows, cols)`` of the image at a position of the index.

        Raises `InputError` where the shard has no such image or its chunk is damaged.
        """
        at = int(np.searchsorted(self.positions, position, sorter=self._order))
        if at == len(self) or self.positions[row := self._order[at]] != position:
            raise InputError(f"mask shard {self.path} holds no image {position}")
        try:
            labels: Labels = read_whole(self._masks, _key(position))
            if labels_digest(labels) != int(self.digests[row]):
                raise ValueError("labels do not match their digest")
        except (KeyError, OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"mask shard {self.path} is damaged at image {position} ({_reason(error)}); "
                "delete it and run the workflow again"
            ) from None
        return labels


class Masks:
    """The masks of all images of a round, from its shards.

    Files are opened when they are first read from, once a process, so that an instance can
    be handed to loader processes.

    Attributes:
        round, stride: of all shards.
        positions: of the images that have masks, rising.
        groups: int64, an entry an image of the index: number of the group it was clustered
            with, -1 where it was by itself or has no mask.
        clusters: int32, the K of each image of the index, 0 where it has no mask.
        skipped: of images that could not be decoded, position and reason.

    Args:
        where: a folder of shards, a shard, or a pattern such as ``round-01/shard-*-of-8.h5``.
        index: what the positions must refer to.
        complete: whether every image of the index must have a mask, but those skipped.

    Raises:
        InputError: no shards, shards of different rounds or of another index, or images
            without a mask.
    """

    def __init__(self, where: str, index: Index, complete: bool = True) -> None:
        self.paths = find_shards(where)
        self._owner = np.full(len(index), -1, dtype=np.int32)
        digests = np.zeros(len(index), dtype=np.uint64)
        groups = np.full(len(index), -1, dtype=np.int64)
        clusters = np.zeros(len(index), dtype=np.int32)
        self.headers: list[Header] = []
        self.skipped: dict[int, str] = {}
        for number, path in enumerate(self.paths):
            with Shard(path) as shard:
                self._check(shard, index)
                self.headers.append(shard.header)
                again = shard.positions[self._owner[shard.positions] >= 0]
                if len(again):
                    raise InputError(
                        f"image {index[again[0]].name} has a mask in {path} and in "
                        f"{self.paths[self._owner[again[0]]]}; keep one set of shards"
                    )
                self._owner[shard.positions] = number
                self.skipped |= shard.skipped
                digests[shard.positions] = shard.digests
                groups[shard.positions] = shard.groups
                clusters[shard.positions] = shard.clusters
        missing = np.setdiff1d(np.flatnonzero(self._owner < 0), list(self.skipped))
        if complete and len(missing):
            raise InputError(
                f"masks {where}: {len(missing)} of {len(index)} images have none, "
                f"{index[int(missing[0])].name} among them; run the workflow again"
            )
        self.stride = self.headers[0].stride
        self.round = self.headers[0].round
        self.positions: NDArray[np.int64] = np.flatnonzero(self._owner >= 0)
        self.groups: NDArray[np.int64] = groups
        self.clusters: NDArray[np.int32] = clusters
        self._digests = digests
        self._open: dict[int, Shard] = {}

    def _check(self, shard: Shard, index: Index) -> None:
        if shard.header.index != index.digest:
            raise InputError(
                f"mask shard {shard.path} was made for another index ({shard.header.index[:12]}…, "
                f"not {index.digest[:12]}…): it belongs to another run or data set, or its images "
                "were indexed again since; give the index that it was made for, or make it again"
            )
        if not all(0 <= p < len(index) for p in shard.positions) or shard.names != [
            index[int(p)].name for p in shard.positions
        ]:
            raise InputError(
                f"mask shard {shard.path} is damaged (its names are not those of the index); "
                "delete it and run the workflow again"
            )
        first = self.headers[0] if self.headers else shard.header
        if (shard.header.round, shard.header.stride) != (first.round, first.stride):
            raise InputError(
                f"mask shard {shard.path} is of round {shard.header.round}, stride "
                f"{shard.header.stride}; {self.paths[0]} of round {first.round}, stride "
                f"{first.stride}"
            )
        if _origin(shard.header) != _origin(first):
            raise InputError(
                f"mask shards {shard.path} and {self.paths[0]} were made with different inputs or "
                "settings; delete the older ones and run the workflow again"
            )

    @property
    def provenance(self) -> dict[str, Any]:
        """The provenance that all shards share."""
        return self.headers[0].provenance

    @property
    def digest(self) -> str:
        """SHA-256 over all labels in the order of the index: the same for any number of shards."""
        content = hashlib.sha256(f"{self.round} {self.stride} ".encode())
        content.update(self.positions.astype("<i8").tobytes())
        content.update(self._digests[self.positions].astype("<u8").tobytes())
        return content.hexdigest()

    @property
    def as_stored(self) -> NDArray[np.int64]:
        """`positions`, shard by shard: the order in which files are read fastest."""
        return self.positions[np.argsort(self._owner[self.positions], kind="stable")]

    def __contains__(self, position: int) -> bool:
        return bool(self._owner[position] >= 0)

    def read(self, position: int) -> Labels:
        """Labels ``(rows, cols)`` of the image at a position of the index."""
        return self._shard_of(position).read(position)

    def _shard_of(self, position: int) -> Shard:
        number = int(self._owner[position])
        if number < 0:
            raise InputError(f"masks hold no image {position}")
        if number not in self._open:
            self._open[number] = Shard(self.paths[number])
        return self._open[number]

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens its own files.
        return {**self.__dict__, "_open": {}}

    def close(self) -> None:
        """Close the files that are open in this process."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()


def find_shards(where: str) -> list[Path]:
    """Paths of the shards that a folder, a file or a pattern names, sorted.

    Raises `InputError` where there are none.
    """
    path = Path(where)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix == ".h5" and p.name[0] != ".")
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(p) for p in glob.glob(where))
    if not found:
        raise InputError(f"masks {where}: no mask shards there (*.h5)")
    return found


def labels_digest(labels: Labels) -> int:
    """A 64-bit hash of an image's labels and their shape, whatever their integer type."""
    content = hashlib.blake2b(repr(labels.shape).encode(), digest_size=8)
    content.update(labels.astype("<u2").tobytes())
    return int.from_bytes(content.digest(), "little")


def _origin(header: Header) -> dict[str, Any]:
    # Shards of one round may be made on different machines.
    return {k: v for k, v in header.provenance.items() if k not in ("libraries", "hardware")}


def _key(position: int) -> str:
    return f"{position:09d}"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())
