"""How well the masks of images agree with annotated instances.

Labels of one image are compared at a time; what remains is one sum and one count a metric.
A metric is a function that gives the values of one image, and an entry of `METRICS`: its
result is the mean over the values of all images.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cyborgs.data.annotations import Instances

Labels = NDArray[np.integer]


def adjusted_rand_index(a: Labels, b: Labels, keep: NDArray[np.bool_] | None = None) -> float:
    """Agreement of two partitions of the same pixels, corrected for chance.

    The adjusted index of Hubert and Arabie (1985), Comparing Partitions, in exact integers up
    to the last division: 1 for equal partitions, also where both are a single cluster, 0 on
    average for unrelated ones.

    Args:
        a, b: labels in 0 … 65535, of one shape; symmetric.
        keep: bool of that shape, the pixels to compare; all by default.

    Returns:
        The index, nan if there is no pixel to compare.

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"labels of shapes {a.shape} and {b.shape}")
    first = (a if keep is None else a[keep]).ravel().astype(np.int64)
    second = (b if keep is None else b[keep]).ravel().astype(np.int64)
    # Only cells that occur: the whole table of two fine partitions would not fit in memory.
    _, cells = np.unique((first << 32) | second, return_counts=True)
    return _rand_index(cells, np.bincount(first), np.bincount(second))


def _rand_index(
    cells: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> float:
    """Adjusted Rand index of a contingency table, from its cells and both its margins."""
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


def best_overlaps(
    labels: Labels, masks: NDArray[np.bool_], ignore: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Largest intersection over union of each mask with any one cluster of the image.

    The best overlap of Uijlings et al. (2013), Selective Search, with masks for boxes.
    Ignored pixels count neither in masks nor in clusters.

    Args:
        labels: ``(height, width)``, values in 0 … 65535.
        masks: ``(n, height, width)``; they may overlap.
        ignore: ``(height, width)``.

    Returns:
        ``(n,)``, values in 0 … 1; nan for a mask of which no pixel is left.
    """
    codes, clusters = _number(labels)
    return _best_overlaps(_set_aside(codes, clusters, ignore), clusters, masks)


def _best_overlaps(
    codes: NDArray[np.int64], clusters: int, masks: Iterable[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """As `best_overlaps`, for clusters numbered without gaps and ignored pixels set aside."""
    sizes = _histogram(codes, clusters)
    best = []
    for mask in masks:
        inside = _histogram(codes[mask], clusters)
        area = inside.sum()
        best.append((inside / (sizes + area - inside)).max() if area else np.nan)
    return np.array(best, dtype=np.float64)


def _histogram(codes: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """Pixels of each cluster, ``(clusters,)``, without those that were set aside."""
    return np.bincount(codes.ravel(), minlength=clusters + 1)[:clusters]


def _number(labels: Labels) -> tuple[NDArray[np.int64], int]:
    """Labels numbered without gaps, a new array, and how many distinct ones there are."""
    present = np.bincount(labels.ravel().astype(np.int64)) > 0
    return (np.cumsum(present) - 1)[labels], int(present.sum())


def _set_aside(
    codes: NDArray[np.int64], clusters: int, ignore: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Give ignored pixels a cluster of their own, numbered after all others; in place."""
    codes[ignore] = clusters
    return codes


class Comparison:
    """The labels of one image beside its ground truth.

    Attributes:
        instances: the ground truth.
        clusters: number of distinct labels in the image.
        codes: int64 ``(height, width)``, the labels numbered from 0 without gaps; ``clusters``
            at ignored pixels.
    """

    def __init__(self, labels: Labels, instances: Instances) -> None:
        if labels.shape != instances.ignore.shape:
            raise ValueError(f"labels {labels.shape}, ground truth {instances.ignore.shape}")
        self.instances = instances
        codes, self.clusters = _number(labels)
        self.codes = _set_aside(codes, self.clusters, instances.ignore)

    @cached_property
    def contingency(self) -> NDArray[np.int64]:
        """Pixels of each cluster in each segment, ``(clusters, 1 + n)``, ignored ones left out.

        Segment 0 is the background, segment 1 + i instance i where it wins overlaps
        (`Instances.label_map`).
        """
        segments = 1 + len(self.instances.categories)
        cells = self.codes * segments + self.instances.label_map()
        return _histogram(cells, self.clusters * segments).reshape(self.clusters, segments)


def _clusters(comparison: Comparison) -> NDArray[np.float64]:
    return np.array([comparison.clusters], dtype=np.float64)


def _ari(comparison: Comparison) -> NDArray[np.float64]:
    return _ari_of(comparison.contingency)


def _ari_foreground(comparison: Comparison) -> NDArray[np.float64]:
    return _ari_of(comparison.contingency[:, 1:])


def _ari_of(table: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([_rand_index(table, table.sum(axis=1), table.sum(axis=0))])


def _mbo_instances(comparison: Comparison) -> NDArray[np.float64]:
    return _best_overlaps(comparison.codes, comparison.clusters, comparison.instances.masks)


def _mbo_classes(comparison: Comparison) -> NDArray[np.float64]:
    masks, categories = comparison.instances.masks, comparison.instances.categories
    unions = (masks[categories == category].any(axis=0) for category in np.unique(categories))
    return _best_overlaps(comparison.codes, comparison.clusters, unions)


#: What is measured: a name, and the values that one image contributes to its mean.  A value
#: of nan is undefined and left out.
METRICS: Mapping[str, Callable[[Comparison], NDArray[np.float64]]] = MappingProxyType(
    {
        "clusters_per_image": _clusters,
        "ari": _ari,
        "ari_foreground": _ari_foreground,
        "mbo_instances": _mbo_instances,
        "mbo_classes": _mbo_classes,
    }
)


class QualityMeter:
    """Accumulates the agreement of labels with ground truth, image by image.

    Images without instances are not measured at all: their ground truth is one segment, with
    which only an image of one cluster could agree.
    """

    def __init__(self) -> None:
        self._images = 0
        self._instances = 0
        self._sums = dict.fromkeys(METRICS, 0.0)
        self._counts = dict.fromkeys(METRICS, 0)

    def update(self, labels: Labels, instances: Instances) -> None:
        """Add an image.

        Args:
            labels: ``(height, width)`` of the image, values in 0 … 65535, not necessarily
                contiguous.
            instances: its ground truth, of the same size (`ValueError` otherwise).
        """
        comparison = Comparison(labels, instances)
        if not len(instances.categories):
            return
        self._images += 1
        self._instances += len(instances.categories)
        for name, metric in METRICS.items():
            values = metric(comparison)
            values = values[~np.isnan(values)]
            self._sums[name] += float(values.sum())
            self._counts[name] += len(values)

    def result(self) -> dict[str, float]:
        """The means over what was added; nan where nothing was measured.

        - ``images``: images that were measured, those with at least one instance.
        - ``instances``: instances in them.
        - ``clusters_per_image``: distinct labels an image.
        - ``ari``: mean over images of the adjusted Rand index over all pixels that are not
          ignored; the background is one segment.
        - ``ari_foreground``: the same over pixels of instances only, over the images that have
          any (Greff et al., 2019).
        - ``mbo_instances``: mean over all instances of the best overlap of a cluster of their
          image with them (`best_overlaps`; mBO of Seitzer et al., 2023).
        - ``mbo_classes``: mean over all pairs of an image and a category in it of the best
          overlap with the union of the category's instances.

        In the adjusted Rand indices the smaller of overlapping instances has the pixel.
        """
        means = {
            name: self._sums[name] / count if count else float("nan")
            for name, count in self._counts.items()
        }
        return {"images": self._images, "instances": self._instances, **means}
