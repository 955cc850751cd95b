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
    for name, value in attributes.items():
        content = value.encode("ascii") + b"\0"
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(len(content))
        dataset.attrs.create(name, np.bytes_(content), dtype=h5py.Datatype(kind))
