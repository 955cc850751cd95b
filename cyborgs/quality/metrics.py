"""How well the masks of images agree with annotated instances.

Labels of one image are compared at a time; what remains is one sum and one count a metric, and
for the mean IoU one a class.  A metric is a function that gives the values of one image, and an
entry of `METRICS`: its result is the mean over the values of all images.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cyborgs.images.annotations import Instances
from cyborgs.quality.agreement import rand_index
from cyborgs.quality.boundaries import boundaries, near, share

Labels = NDArray[np.integer]


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
    codes, present = _number(labels)
    clusters = len(present)
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


def _number(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels numbered without gaps, a new array, and the distinct ones in order."""
    present = np.bincount(labels.ravel()) > 0
    return (np.cumsum(present) - 1)[labels], np.flatnonzero(present)


def _set_aside(
    codes: NDArray[np.int64], clusters: int, ignore: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Give ignored pixels a cluster of their own, numbered after all others; in place."""
    codes[ignore] = clusters
    return codes


class Comparison:
    """The labels of one image beside its ground truth.

    Attributes:
        labels: as given.
        instances: the ground truth.
        present: the distinct labels, rising.
        clusters: how many there are.
        codes: int64 ``(height, width)``, the labels numbered from 0 without gaps; ``clusters``
            at ignored pixels.
    """

    def __init__(self, labels: Labels, instances: Instances) -> None:
        if labels.shape != instances.ignore.shape:
            raise ValueError(f"labels {labels.shape}, ground truth {instances.ignore.shape}")
        self.labels = labels
        self.instances = instances
        codes, self.present = _number(labels)
        self.clusters = len(self.present)
        self.codes = _set_aside(codes, self.clusters, instances.ignore)

    @cached_property
    def segments(self) -> NDArray[np.int32]:
        """Ground truth with one segment a pixel, as `Instances.label_map` has it."""
        return self.instances.label_map()

    @cached_property
    def contingency(self) -> NDArray[np.int64]:
        """Pixels of each cluster in each segment, ``(clusters, 1 + n)``, ignored ones left out.

        Segment 0 is the background, segment 1 + i instance i where it wins overlaps.
        """
        segments = 1 + len(self.instances.categories)
        cells = self.codes * segments + self.segments
        return _histogram(cells, self.clusters * segments).reshape(self.clusters, segments)

    @cached_property
    def boundary_pixels(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Boundaries of the clusters and of the segments."""
        ignore = self.instances.ignore
        return boundaries(self.labels, ignore), boundaries(self.segments, ignore)


def _clusters(comparison: Comparison) -> NDArray[np.float64]:
    return np.array([comparison.clusters], dtype=np.float64)


def _ari(comparison: Comparison) -> NDArray[np.float64]:
    return _ari_of(comparison.contingency)


def _ari_foreground(comparison: Comparison) -> NDArray[np.float64]:
    return _ari_of(comparison.contingency[:, 1:])


def _ari_of(table: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([rand_index(table, table.sum(axis=1), table.sum(axis=0))])


def _mbo_instances(comparison: Comparison) -> NDArray[np.float64]:
    return _best_overlaps(comparison.codes, comparison.clusters, comparison.instances.masks)


def _mbo_classes(comparison: Comparison) -> NDArray[np.float64]:
    masks, categories = comparison.instances.masks, comparison.instances.categories
    unions = (masks[categories == category].any(axis=0) for category in np.unique(categories))
    return _best_overlaps(comparison.codes, comparison.clusters, unions)


def _asa(comparison: Comparison) -> NDArray[np.float64]:
    table = comparison.contingency
    pixels = table.sum()
    return np.array([table.max(axis=1).sum() / pixels if pixels else np.nan])


def _boundary_recall(comparison: Comparison) -> NDArray[np.float64]:
    ours, theirs = comparison.boundary_pixels
    return np.array([share(theirs, near(ours))])


def _boundary_precision(comparison: Comparison) -> NDArray[np.float64]:
    ours, theirs = comparison.boundary_pixels
    return np.array([share(ours, near(theirs))])


#: What is measured image by image: a name, and the values that one image contributes to its
#: mean.  A value of nan is undefined and left out.
METRICS: Mapping[str, Callable[[Comparison], NDArray[np.float64]]] = MappingProxyType(
    {
        "clusters_per_image": _clusters,
        "ari": _ari,
        "ari_foreground": _ari_foreground,
        "mbo_instances": _mbo_instances,
        "mbo_classes": _mbo_classes,
        "asa": _asa,
        "boundary_recall": _boundary_recall,
        "boundary_precision": _boundary_precision,
    }
)


class MatchedIoU:
    """Mean intersection over union of a data set, with clusters matched to classes.

    Labels mean the same thing only within the images that were clustered together.  So clusters
    are matched to classes one to one in each such group, by the Hungarian method on the number
    of pixels that they share; intersections and unions are then summed over all groups, class by
    class (as Ji, Henriques and Vedaldi, 2019, do with one group).  A cluster that gets no class
    is wrong wherever it lies.  The smaller a group and the larger K, the easier the matching:
    metrics compare only at the same group size and K.
    """

    def __init__(self) -> None:
        self._group = -1
        self._shared: Counter[tuple[int, int]] = Counter()
        self._intersections: Counter[int] = Counter()
        self._predicted: Counter[int] = Counter()
        self._annotated: Counter[int] = Counter()

    def update(self, comparison: Comparison, group: int) -> None:
        """Add an image; those of a group must follow one another, -1 is a group by itself."""
        if group != self._group or group < 0:
            self._close()
        self._group = group
        # Class 0 is the background; categories may have any number.
        classes = [_BACKGROUND, *(int(c) for c in comparison.instances.categories)]
        for row, column in np.argwhere(comparison.contingency):
            pixels = int(comparison.contingency[row, column])
            self._shared[int(comparison.present[row]), classes[column]] += pixels

    def _close(self) -> None:
        """Match the clusters of the group that ends here."""
        if not self._shared:
            return
        labels = sorted({label for label, _ in self._shared})
        classes = sorted({name for _, name in self._shared})
        table = np.array([[self._shared[label, name] for name in classes] for label in labels])
        for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if not table[row, column]:  # left over; which pairs these are would be arbitrary
                continue
            self._intersections[classes[column]] += int(table[row, column])
            self._predicted[classes[column]] += int(table[row].sum())
        for name, pixels in zip(classes, table.sum(axis=0), strict=True):
            self._annotated[name] += int(pixels)
        self._shared.clear()

    def result(self) -> float:
        """The mean over classes that occur in the ground truth; nan where there is none.

        Ends the group that was added last.
        """
        self._close()
        ratios = [
            self._intersections[name] / (pixels + self._predicted[name] - self._intersections[name])
            for name, pixels in self._annotated.items()
        ]
        return float(np.mean(ratios)) if ratios else float("nan")


# No category has this number, whatever the annotations.
_BACKGROUND = -(2**63)


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
        self._matched = MatchedIoU()

    def update(self, labels: Labels, instances: Instances, group: int = -1) -> float | None:
        """Add an image.

        Args:
            labels: ``(height, width)`` of the image, values in 0 … 65535, not necessarily
                contiguous.
            instances: its ground truth, of the same size (`ValueError` otherwise).
            group: of the images that were clustered together, -1 for an image by itself; images
                of a group must follow one another.

        Returns:
            The image's adjusted Rand index over all pixels, None where it was not measured.
        """
        comparison = Comparison(labels, instances)
        if not len(instances.categories):
            return None
        self._images += 1
        self._instances += len(instances.categories)
        for name, metric in METRICS.items():
            values = metric(comparison)
            values = values[~np.isnan(values)]
            self._sums[name] += float(values.sum())
            self._counts[name] += len(values)
        self._matched.update(comparison, group)
        return float(_ari(comparison)[0])

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
        - ``asa``: mean over images of the achievable segmentation accuracy, the share of pixels
          that are right where each cluster takes the segment it covers most (Liu et al., 2011).
        - ``boundary_recall``: mean over images of the share of ground-truth boundary pixels with
          a boundary of the masks within 2 pixels along both axes (Stutz et al., 2018).
        - ``boundary_precision``: the share of the masks' boundary pixels with one of the ground
          truth as near.
        - ``miou``: over the data set, see `MatchedIoU`; the background is a class, as in VOC.

        Of overlapping instances the smaller has the pixel, but for the best overlaps.
        """
        means = {
            name: self._sums[name] / count if count else float("nan")
            for name, count in self._counts.items()
        }
        miou = self._matched.result()
        return {"images": self._images, "instances": self._instances, **means, "miou": miou}
