"""Boundaries of masks, and how well they follow those of the ground truth."""

import cv2
import numpy as np
from numpy.typing import NDArray

#: Pixels that a boundary may be off and still count: 2 at the sizes of COCO, as is usual for
#: images of that size (Martin et al., 2004; Stutz et al., 2018).
TOLERANCE = 2


def boundaries(labels: NDArray[np.integer], ignore: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels with a neighbour (left, right, above, below) of another label.

    A pair of neighbours of which one is ignored makes no boundary: where an ignored region
    ends, no object need end.

    Args:
        labels: ``(height, width)``.
        ignore: bool ``(height, width)``.

    Returns:
        bool ``(height, width)``, False at ignored pixels.
    """
    found = np.zeros(labels.shape, dtype=bool)
    for a, b in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
    ):
        differ = (labels[a] != labels[b]) & ~ignore[a] & ~ignore[b]
        found[a] |= differ
        found[b] |= differ
    return found


def near(found: NDArray[np.bool_], distance: int = TOLERANCE) -> NDArray[np.bool_]:
    """Pixels with one of ``found`` in the square of ``2 * distance + 1`` pixels around them."""
    square = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    return cv2.dilate(found.view(np.uint8), square).view(bool)


def share(of: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    """Share of the pixels of one set that lie in another; nan where there are none."""
    count = np.count_nonzero(of)
    return np.count_nonzero(of & inside) / count if count else float("nan")
