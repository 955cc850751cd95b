"""Classifying objects by frozen features of their crops: a cheap probe of a backbone.

Crops are cut along the boxes of the annotated masks; the classifiers are scikit-learn's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.neighbors import KNeighborsClassifier

from cyborgs.config.downstream import Objects
from cyborgs.errors import InputError
from cyborgs.models.backbones import Backbone
from cyborgs.models.normalise import normalise
from cyborgs.seeding import generator

Pixels = NDArray[np.uint8]

# Crops that go through the network together.
_BATCH = 64


@dataclass(frozen=True)
class Crops:
    """Objects cut out of their images.

    Attributes:
        pixels: uint8 RGB ``(n, size, size, 3)``.
        categories: int64 ``(n,)``.
        images: int64 ``(n,)``, the position of each one's image in the index.
    """

    pixels: Pixels
    categories: NDArray[np.int64]
    images: NDArray[np.int64]


def crop(
    image: Pixels, masks: NDArray[np.bool_], size: int, smallest: int
) -> Iterator[tuple[int, Pixels]]:
    """Number and crop of each object whose box has no side below ``smallest`` pixels.

    Args:
        image: RGB ``(height, width, 3)``.
        masks: ``(objects, height, width)``, none of them empty.
        size: side of a crop, to which boxes are stretched.
        smallest: in pixels.
    """
    for number, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if min(box.shape[:2]) < smallest:
            continue
        shrinks = max(box.shape[:2]) > size
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        yield number, np.asarray(cv2.resize(box, (size, size), interpolation=way), np.uint8)


@torch.inference_mode()
def features(backbone: Backbone, pixels: Pixels, device: torch.device) -> NDArray[np.float32]:
    """Average of layer4's output for each crop, l2-normalised: float32 ``(n, channels)``."""
    backbone = backbone.to(device).to(memory_format=torch.channels_last)
    found = []
    for begin in range(0, len(pixels), _BATCH):
        part = torch.from_numpy(pixels[begin : begin + _BATCH]).to(device)
        pooled = backbone(normalise(part))["layer4"].mean((2, 3))
        found.append(F.normalize(pooled, dim=-1).cpu())
    return torch.cat(found).numpy()


def split(
    images: NDArray[np.int64], categories: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which objects are for training and which for testing, bool ``(n,)`` each.

    All objects of an image are on one side.  Objects for testing of a category that has none for
    training are on neither.

    Raises `InputError` where a side is empty, or one category is left.
    """
    distinct = np.unique(images)
    order = generator(seed, "objects").permutation(distinct)
    test = np.isin(images, order[: max(1, round(share * len(distinct)))])
    train = ~test
    test &= np.isin(categories, categories[train])
    if not test.any() or len(np.unique(categories[train])) < 2:
        raise InputError(
            f"downstream.objects: {len(images)} objects in {len(distinct)} images are too few to "
            "train on some and test on others; annotate more, or lower downstream.objects.smallest"
        )
    return train, test


def classify(
    vectors: NDArray[np.float32],
    categories: NDArray[np.int64],
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    settings: Objects,
) -> dict[str, float]:
    """Accuracy of both classifiers on the test objects, in 0 … 1.

    ``knn`` and ``linear`` count objects; ``knn_classes`` and ``linear_classes`` are means over
    the categories of the test objects.  Neighbours vote with equal weight, by cosine similarity.
    """
    neighbours = min(settings.neighbours, int(train.sum()))
    classifiers = {
        "knn": KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute"),
        "linear": LogisticRegression(C=settings.cost, max_iter=2000),
    }
    # Of unit variance in all, so that C means the same for every backbone.
    mean, deviation = vectors[train].mean(0), vectors[train].std()
    scaled = (vectors - mean) / max(float(deviation), 1e-12)
    scores = {}
    for name, classifier in classifiers.items():
        given = vectors if name == "knn" else scaled
        classifier.fit(given[train], categories[train])
        predicted = classifier.predict(given[test])
        scores[name] = float((predicted == categories[test]).mean())
        scores[f"{name}_classes"] = float(
            recall_score(
                categories[test], predicted, labels=np.unique(categories[test]), average="macro"
            )
        )
    return scores
