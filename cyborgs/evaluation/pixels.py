"""Classifying pixels by a linear layer on frozen features: a cheap probe of a backbone.

The layer sees the outputs of several layers on one grid, each channel of unit variance; what it
says at the grid's locations is interpolated to pixels, and scored by the mean IoU of the
categories, as PASCAL VOC has it (background is one of them).  The classifier is scikit-learn's.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.common.seeding import generator
from cyborgs.models.backbones import stages_named
from cyborgs.models.backbones.backbone import Backbone

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int32]

# Number of an image, its pixels, and the label of each of them: `IGNORED` or a category, 0 for
# background.
Labelled = tuple[int, Pixels, Labels]

# What no measurement counts.
IGNORED = -1

# Of the solver, at most.
_ITERATIONS = 100


def shrink(image: Pixels, short_side: int) -> Pixels:
    """An image with this short side, in pixels; a smaller one as it is."""
    height, width = image.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return image
    size = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


@torch.inference_mode()
def features(
    backbone: Backbone, image: Pixels, layers: Sequence[str], device: torch.device
) -> Tensor:
    """Outputs of some layers, joined on the grid of the first: ``(channels, rows, cols)``.

    Deeper ones are interpolated.  A location ``i`` of any grid with stride ``s`` lies on pixel
    ``s i``.
    """
    batch = backbone.normalise(torch.from_numpy(image)[None].to(device))
    outputs = backbone.aligned(batch, layers)
    first = outputs[layers[0]]
    stride = backbone.stages[layers[0]].stride
    rows = stride * torch.arange(first.shape[-2], device=device)
    cols = stride * torch.arange(first.shape[-1], device=device)
    joined = [
        first[0],
        *(
            interpolate(outputs[name][0], rows, cols, backbone.stages[name].stride)
            for name in layers[1:]
        ),
    ]
    return torch.cat(joined)


def interpolate(values: Tensor, rows: Tensor, cols: Tensor, stride: float) -> Tensor:
    """Values of a grid at pixels, bilinear: ``(channels, len(rows), len(cols))``.

    Args:
        values: ``(channels, grid rows, grid cols)``; a location ``i`` lies on pixel ``stride i``.
        rows, cols: of the pixels; those beyond the last location take its value.
        stride: in pixels.
    """
    height, width = values.shape[-2:]
    y = 2 * (rows / stride).clamp(max=height - 1) / max(height - 1, 1) - 1
    x = 2 * (cols / stride).clamp(max=width - 1) / max(width - 1, 1) - 1
    at = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    return F.grid_sample(values[None], at[None].to(values.dtype), align_corners=True)[0]


class Settings(Protocol):
    """How to classify: `cyborgs.evaluation.segmentation.Segmentation` describes each."""

    @property
    def short_side(self) -> int: ...
    @property
    def layers(self) -> Sequence[str] | None: ...
    @property
    def locations(self) -> int: ...
    @property
    def cost(self) -> float: ...


def evaluate(
    backbone: Backbone,
    train: Iterable[Labelled],
    test: Iterable[Labelled],
    *,
    settings: Settings,
    seed: int,
    device: torch.device,
    section: str,
) -> Counter[tuple[int, int]]:
    """Fit on some images, and count on others how many pixels are taken for what.

    Args:
        backbone: in eval mode.
        train, test: the images.
        settings: layers, sizes, and how strongly to fit.
        seed: of the locations that are drawn.
        device: of the backbone.
        section: of the configuration, for messages.

    Returns:
        Number of test pixels by true and guessed category.

    Raises:
        InputError: the training images show less than two categories, or the test images have no
            labelled pixel.
    """
    backbone = backbone.to(device).to(memory_format=torch.channels_last)
    stages = stages_named(backbone.architecture, settings.layers, f"{section}.layers")
    layers, stride = [stage.name for stage in stages], stages[0].stride
    vectors: list[NDArray[Any]] = []
    categories: list[Labels] = []
    for number, image, labels in train:
        image = shrink(image, settings.short_side)
        found = features(backbone, image, layers, device)
        labels = _at_locations(labels, image, stride, (found.shape[1], found.shape[2]))
        chosen = np.flatnonzero(labels.ravel() != IGNORED)
        rng = generator(seed, "locations", number)
        chosen = np.sort(rng.permutation(chosen)[: settings.locations])
        vectors.append(found.flatten(1).T.cpu().numpy()[chosen])
        categories.append(labels.ravel()[chosen])
    known = np.concatenate(categories)
    if len(np.unique(known)) < 2:
        raise InputError(
            f"{section}: the {len(categories)} images for training show less than two categories; "
            "annotate more images"
        )
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=settings.cost, max_iter=_ITERATIONS, tol=1e-3)
    )
    with warnings.catch_warnings():
        # A bound on the time of a cheap probe, the same for every backbone.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(np.concatenate(vectors), known)
    pairs = _count(
        classifier, backbone, test, layers, short_side=settings.short_side, device=device
    )
    if not pairs:
        raise InputError(f"{section}: the images for testing have no labelled pixel")
    return pairs


def _at_locations(labels: Labels, image: Pixels, stride: int, grid: tuple[int, int]) -> Labels:
    """The label of every location of a grid over a shrunk image."""
    rows, cols = (
        np.minimum(np.arange(n) * stride * full // small, full - 1)
        for n, full, small in zip(grid, labels.shape, image.shape[:2], strict=True)
    )
    return labels[rows[:, None], cols]


def _count(
    classifier: Any,
    backbone: Backbone,
    test: Iterable[Labelled],
    layers: Sequence[str],
    *,
    short_side: int,
    device: torch.device,
) -> Counter[tuple[int, int]]:
    stride = backbone.stages[layers[0]].stride
    pairs: Counter[tuple[int, int]] = Counter()
    for _, image, labels in test:
        small = shrink(image, short_side)
        found = features(backbone, small, layers, device)
        scores = classifier.decision_function(found.flatten(1).T.cpu().numpy())
        # With two categories, scikit-learn returns a score only for the second.
        if scores.ndim == 1:
            scores = np.stack([-scores, scores], axis=1)
        grid = torch.from_numpy(scores).T.reshape(-1, *found.shape[1:]).float()
        height, width = labels.shape
        rows = torch.arange(height) * (small.shape[0] / height)
        cols = torch.arange(width) * (small.shape[1] / width)
        guess = classifier.classes_[interpolate(grid, rows, cols, stride).argmax(0).numpy()]
        counted = labels != IGNORED
        pairs.update(count_pairs(labels[counted], guess[counted]))
    return pairs


def count_pairs(truth: Labels, guess: Labels) -> Counter[tuple[int, int]]:
    """How many pixels have each pair of true and guessed category; flat labels, not negative."""
    joined = truth.astype(np.int64) << 32 | guess.astype(np.int64)
    values, counts = np.unique(joined, return_counts=True)
    pairs = zip((values >> 32).tolist(), (values & 0xFFFFFFFF).tolist(), strict=True)
    return Counter(dict(zip(pairs, counts.tolist(), strict=True)))


def miou(pairs: Mapping[tuple[int, int], int]) -> dict[str, float]:
    """Mean IoU over the true categories, and share of right pixels.

    Args:
        pairs: as `count_pairs` has them, of all images together; at least one.
    """
    found, true = ious(pairs), dict.fromkeys(truth for truth, _ in pairs)
    mean = sum(found[category] for category in true) / len(true)
    return {"miou": mean, "accuracy": accuracy(pairs)}


def ious(pairs: Mapping[tuple[int, int], int]) -> dict[int, float]:
    """Intersection over union of each category that is seen or guessed; arguments as `miou`."""
    unions = Counter[int]()
    for (truth, guess), count in pairs.items():
        for category in {truth, guess}:
            unions[category] += count
    return {category: pairs.get((category, category), 0) / n for category, n in unions.items()}


def accuracy(pairs: Mapping[tuple[int, int], int]) -> float:
    """Share of right pixels; arguments as `miou`."""
    right = sum(count for (truth, guess), count in pairs.items() if truth == guess)
    return right / sum(pairs.values())
