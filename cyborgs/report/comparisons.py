"""Masks of a run beside each other, image by image."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.progress import track
from cyborgs.common.seeding import generator
from cyborgs.images.annotations import GroundTruth
from cyborgs.images.index import Index
from cyborgs.masks.alignment import full_size
from cyborgs.masks.shards import Masks
from cyborgs.quality.agreement import adjusted_rand_index
from cyborgs.quality.spread import paired_interval
from cyborgs.report.facts import Difference

# Images whose masks are compared with the annotations, and with those of the previous round.
COMPARED, FOLLOWED = 1000, 500


def in_common(masks: Sequence[Masks], most: int, seed: int) -> NDArray[np.int64]:
    """Positions of images that all of the masks have, rising; of more than ``most``, some.

    Args:
        masks: one at the least.
        most: how many.
        seed: of the run, for the draw.
    """
    positions = masks[0].positions
    for other in masks[1:]:
        positions = np.intersect1d(positions, other.positions)
    drawn = generator(seed, "report-sample").permutation(positions)[:most]
    return np.sort(drawn)


def object_agreement(
    masks: Mapping[str, Masks], positions: NDArray[np.int64], index: Index, truth: GroundTruth
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """The adjusted Rand index of each image, as `QualityMeter` has it.

    Args:
        masks: of any names.
        positions: of images that all of them have.
        index: of the images.
        truth: their annotations.

    Returns:
        Positions of the images with an annotated object, and its values for each of the masks.
    """
    kept: list[int] = []
    found: dict[str, list[float]] = {name: [] for name in masks}
    for position in track(map(int, positions), len(positions), "report", "images compared"):
        entry = index[position]
        if entry.name not in truth:
            continue
        instances = truth.instances(entry)
        if not len(instances.categories):
            continue
        segments = instances.label_map()
        kept.append(position)
        for name, own in masks.items():
            labels = full_size(own.read(position), entry.height, entry.width, own.stride)
            found[name].append(adjusted_rand_index(labels, segments, ~instances.ignore))
    return np.array(kept, np.int64), {name: np.array(own) for name, own in found.items()}


def difference(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], groups: NDArray[np.int64], seed: int
) -> Difference | None:
    """Means of two measurements of the same images, with the interval over images.

    Args:
        ours, theirs: values ``(n,)``; an image without one (nan) is left out.
        groups: as `paired_interval` takes them.
        seed: of the run, for the draws.
    """
    known = ~(np.isnan(ours) | np.isnan(theirs))
    if not known.any():
        return None
    ours, theirs, groups = ours[known], theirs[known], groups[known]
    interval = paired_interval(ours, theirs, groups, generator(seed, "report-interval"))
    count = len(ours)
    over = f"{count:,} images" if count > 1 else "1 image"
    return Difference(float(ours.mean()), float(theirs.mean()), interval, over)


def stability(rounds: Mapping[int, Masks], index: Index, seed: int) -> dict[int, float]:
    """Agreement of each round's masks with those of the previous round: mean adjusted Rand index.

    Needs no labels.  Over `FOLLOWED` images at most, the same for all rounds; masks of one stride
    are compared as they are stored, others pixel by pixel.

    Args:
        rounds: number of a round to its masks.
        index: of the images.
        seed: of the run, for the draw of images.

    Returns:
        Number of a round to its agreement with the one before, where both have masks.
    """
    if len(rounds) < 2:
        return {}
    positions = in_common(list(rounds.values()), FOLLOWED, seed)
    found: dict[int, list[float]] = {n: [] for n in rounds if n - 1 in rounds}
    for position in map(int, positions):
        entry = index[position]
        labels = {n: (own.read(position), own.stride) for n, own in rounds.items()}
        for number, values in found.items():
            (first, one), (second, other) = labels[number - 1], labels[number]
            if one != other:
                first = full_size(first, entry.height, entry.width, one)
                second = full_size(second, entry.height, entry.width, other)
            values.append(adjusted_rand_index(first, second))
    return {n: float(np.mean(values)) for n, values in found.items() if values}


def masks_an_image(rounds: Mapping[int, Masks], seed: int) -> dict[int, float]:
    """Masks an image, mean over `FOLLOWED` images at most, of each round.

    Args:
        rounds: number of a round to its masks.
        seed: of the run, for the draw of images.
    """
    return {
        n: float(np.mean([len(np.unique(own.read(int(p)))) for p in positions]))
        for n, own in rounds.items()
        if len(positions := in_common([own], FOLLOWED, seed))
    }
