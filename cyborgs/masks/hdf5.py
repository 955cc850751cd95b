"""Texts in HDF5 as data sets and as attributes of fixed length, which other programs read."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

# File names that are not UTF-8 keep their bytes.
_ERRORS = "surrogateescape"


def write_texts(group: h5py.Group, name: str, texts: Sequence[str]) -> None:
    """Write texts as one data set of bytes, checksummed."""
    values = np.array([text.encode(errors=_ERRORS) for text in texts])
    group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)


def read_texts(group: h5py.Group, name: str) -> list[str]:
    """Texts that `write_texts` wrote."""
    return [text.decode(errors=_ERRORS) for text in group[name][:].tolist()]


def mark(dataset: h5py.Dataset, **attributes: str) -> None:
    """Attributes as the HDF5 Image and Palette Specification has them: C strings."""
    # HDF5's low-level calls: each of a million masks has five attributes, and with h5py's
    # high-level
    # interface they take longer to write than the rest of a mask.
    for name, value in attributes.items():
        kind, content = _c_string(value)
        h5py.h5a.create(dataset.id, name.encode(), kind, _SCALAR).write(content, mtype=kind)


_SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)


@lru_cache
def _c_string(value: str) -> tuple[h5py.h5t.TypeID, NDArray[np.bytes_]]:
    content = value.encode("ascii") + b"\0"
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(content))
    return kind, np.array(np.bytes_(content), dtype=f"S{len(content)}")


def refer(dataset: h5py.Dataset, name: str, other: h5py.Dataset) -> None:
    """An attribute that refers to another data set, as an array of one."""
    space = h5py.h5s.create_simple((1,))
    attribute = h5py.h5a.create(dataset.id, name.encode(), h5py.h5t.STD_REF_OBJ, space)
    attribute.write(np.array([other.ref], dtype=h5py.ref_dtype))


def read_whole(group: h5py.Group, name: str) -> NDArray[Any]:
    """All of a data set of numbers.  Raises what h5py does where it is missing or damaged."""
    # By HDF5's own calls, in half of the time: loaders read a mask for every sample.
    opened = h5py.h5d.open(group.id, name.encode())
    values = np.empty(opened.shape, dtype=opened.dtype)
    opened.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def write_compressed(group: h5py.Group, name: str, values: NDArray[Any]) -> h5py.Dataset:
    """A data set in one chunk, compressed and checksummed (gzip, Fletcher-32)."""
    kind = h5py.h5t.py_create(values.dtype, logical=True)
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(group.id, name.encode(), kind, space, _chunk(values.shape))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return h5py.Dataset(made)


@lru_cache
def _chunk(shape: tuple[int, ...]) -> h5py.h5p.PropDCID:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(shape)
    properties.set_deflate(6)
    properties.set_fletcher32()
    # The same masks give the same bytes.
    properties.set_obj_track_times(False)
    return properties
