"""Texts in HDF5 as data sets and as attributes of fixed length, which other programs read."""

from collections.abc import Sequence

import h5py
import numpy as np

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
    # By HDF5's own calls: each of a million masks has five attributes, and h5py's way to make them
    # takes longer than all else that is written of a mask.
    scalar = h5py.h5s.create(h5py.h5s.SCALAR)
    for name, value in attributes.items():
        content = value.encode("ascii") + b"\0"
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(len(content))
        attribute = h5py.h5a.create(dataset.id, name.encode(), kind, scalar)
        attribute.write(np.array(np.bytes_(content), dtype=f"S{len(content)}"), mtype=kind)


def refer(dataset: h5py.Dataset, name: str, other: h5py.Dataset) -> None:
    """An attribute that refers to another data set, as an array of one."""
    space = h5py.h5s.create_simple((1,))
    kind = h5py.h5t.STD_REF_OBJ
    attribute = h5py.h5a.create(dataset.id, name.encode(), kind, space)
    attribute.write(np.array([other.ref], dtype=h5py.ref_dtype))
