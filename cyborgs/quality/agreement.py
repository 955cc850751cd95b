"""How much two partitions of the same pixels agree."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]


class Contingency:
    """The contingency table of two partitions, from which their agreement is read.

    Only cells that occur are held: the whole table of two fine partitions would not fit in
    memory.

    Args:
        a, b: labels in 0 … 65535, of one shape.
        keep: bool of that shape, the pixels to compare; all by default.

    Raises:
        ValueError: the shapes differ.
    """

    def __init__(self, a: Labels, b: Labels, keep: NDArray[np.bool_] | None = None) -> None:
        if a.shape != b.shape:
            raise ValueError(f"labels of shapes {a.shape} and {b.shape}")
        first = (a if keep is None else a[keep]).ravel().astype(np.int64)
        second = (b if keep is None else b[keep]).ravel().astype(np.int64)
        _, self._cells = np.unique((first << 16) | second, return_counts=True)
        self._rows = np.bincount(first)
        self._columns = np.bincount(second)

    def adjusted_rand_index(self) -> float:
        """Agreement corrected for chance, over pairs of pixels (Hubert and Arabie, 1985).

        1 for equal partitions, also where both are a single cluster; 0 on average for unrelated
        ones; nan without a pixel.  Symmetric.
        """
        return rand_index(self._cells, self._rows, self._columns)

    def normalised_mutual_information(self) -> float:
        """Mutual information over the mean of both entropies, 0 … 1, symmetric.

        1 where both are a single cluster, 0 where only one of them is; nan without a pixel.
        Arithmetic mean, as Vinh, Epps and Bailey (2010) name it.
        """
        if not self._cells.size:
            return float("nan")
        mean = (self._entropies[0] + self._entropies[1]) / 2
        if mean == 0:
            return 1.0
        return max(0.0, (2 * mean - self._entropies[2]) / mean)

    def variation_of_information(self) -> float:
        """What each partition says that the other does not, in bits (Meilă, 2007).

        0 for equal partitions, otherwise positive; symmetric, and a metric; nan without a pixel.
        """
        if not self._cells.size:
            return float("nan")
        first, second, joint = self._entropies
        return max(0.0, 2 * joint - first - second)

    @cached_property
    def _entropies(self) -> tuple[float, float, float]:
        """Entropies in bits of both partitions and of their product."""
        return _entropy(self._rows), _entropy(self._columns), _entropy(self._cells)


def adjusted_rand_index(a: Labels, b: Labels, keep: NDArray[np.bool_] | None = None) -> float:
    """`Contingency.adjusted_rand_index` of two partitions."""
    return Contingency(a, b, keep).adjusted_rand_index()


def rand_index(
    cells: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> float:
    """Adjusted Rand index of a contingency table, from its cells and both its margins.

    In exact integers up to the last division; nan for an empty table.
    """
    if not rows.sum():
        return float("nan")
    together, in_rows, in_columns = _pairs(cells), _pairs(rows), _pairs(columns)
    pairs = _pairs(rows.sum())
    # (index - expected) / (maximum - expected), both sides times 2 * pairs.  The integers are
    # Python's: products of numbers of pairs pass 64 bits.
    spread = (in_rows + in_columns) * pairs - 2 * in_rows * in_columns
    if spread == 0:  # both a single cluster, or both all single pixels
        return 1.0
    return 2 * (together * pairs - in_rows * in_columns) / spread


def _pairs(counts: NDArray[np.int64]) -> int:
    return int((counts * (counts - 1)).sum()) // 2


def _entropy(counts: NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
