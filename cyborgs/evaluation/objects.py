"""Classifying objects by frozen features of their crops: a cheap probe of a backbone.

Crops are cut along the boxes of the annotated masks; the classifiers are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.files import sha256
from cyborgs.common.progress import track
from cyborgs.common.section import Positive
from cyborgs.evaluation.kinds import Given, Measured, OnOwnImages, OwnImages
from cyborgs.evaluation.settings import Backbones, Evaluated, Share, require_multiple

# Inside functions as well: whoever reads the configuration does not wait for these.
if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from cyborgs.images.annotations import GroundTruth
    from cyborgs.images.index import Index
    from cyborgs.models.backbones.backbone import Backbone

    Pixels = NDArray[np.uint8]

# Crops that go through the network together.
_BATCH = 64


class Objects(Evaluated):
    """Probe: classification of annotated objects, cut out of their images, on frozen features."""

    backbones: Backbones = Field(["random", "rounds"])
    images: int = Field(
        2000, ge=2, description="annotated images whose objects are used, drawn at random, at most"
    )
    size: int = Field(96, ge=32, description="side of a resized crop, in pixels")
    smallest: int = Field(
        16, ge=1, description="smallest side of an object, in pixels; smaller ones are left out"
    )
    test: Share = Field(0.3, description="share of the images whose objects are used for testing")
    neighbours: int = Field(20, ge=1, description="k of the k-nearest-neighbour classifier")
    cost: Positive = Field(
        1.0, description="C of the logistic regression: a larger C fits the objects closer"
    )


def fits(settings: Objects, architecture: str) -> None:
    """Raise `InputError` where crops of this size do not go through the architecture."""
    require_multiple(settings.size, architecture, "downstream.objects.size")


def measure(given: Given[Objects, OwnImages]) -> Measured:
    """Classify the objects of annotated images, with as many splits as seeds.

    Raises `InputError` where input is missing or does not fit.
    """
    import numpy as np

    from cyborgs.evaluation.sources import RANDOM
    from cyborgs.images.annotations import GroundTruth
    from cyborgs.images.index import read_index

    settings, data = given.settings, given.data
    index = read_index(data.index)
    crops = _crops(data, index, GroundTruth(data.annotations), settings)
    if not len(crops.categories):
        raise InputError(
            f"annotations {data.annotations}: no object of {settings.smallest} pixels a side in "
            "these images; do the annotations belong to the images?"
        )
    vectors = None
    rows = []
    for seed in range(given.seeds):
        # Only random weights depend on the seed.
        if vectors is None or given.source.name == RANDOM:
            vectors = features(given.source.load(seed), crops.pixels, given.device)
        train, test = split(crops.images, crops.categories, settings.test, seed)
        scores = classify(vectors, crops.categories, train=train, test=test, settings=settings)
        counts = {"train": int(train.sum()), "test": int(test.sum())}
        rows.append({"seed": seed, **counts, **scores})
    inputs = {"index": index.digest, "annotations": sha256(data.annotations)}
    return Measured(rows, inputs, len(np.unique(crops.categories)))


def _crops(data: OwnImages, index: Index, truth: GroundTruth, settings: Objects) -> Crops:
    import numpy as np

    from cyborgs.images.annotations import draw_annotated
    from cyborgs.images.decoding import decode

    drawn = draw_annotated(index, truth, settings.images, "objects")
    size = settings.size
    pixels, categories, positions = [], [], []
    for position in track(map(int, drawn), len(drawn), "objects", "images"):
        entry = index[position]
        instances = truth.instances(entry)
        if not len(instances.masks):
            continue
        image = decode(data.folder, entry)
        for number, part in crop(image, instances.masks, size, settings.smallest):
            pixels.append(part)
            categories.append(instances.categories[number])
            positions.append(position)
    return Crops(
        np.array(pixels, np.uint8).reshape(-1, size, size, 3),
        np.array(categories, np.int64),
        np.array(positions, np.int64),
    )


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
    import cv2
    import numpy as np

    for number, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if min(box.shape[:2]) < smallest:
            continue
        shrinks = max(box.shape[:2]) > size
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        yield number, np.asarray(cv2.resize(box, (size, size), interpolation=way), np.uint8)


def features(backbone: Backbone, pixels: Pixels, device: torch.device) -> NDArray[np.float32]:
    """Average of the last stage's output a crop, l2-normalised: float32 ``(n, channels)``."""
    import torch
    import torch.nn.functional as F

    backbone = backbone.to(device).to(memory_format=torch.channels_last)
    found = []
    with torch.inference_mode():
        for begin in range(0, len(pixels), _BATCH):
            part = torch.from_numpy(pixels[begin : begin + _BATCH]).to(device)
            pooled = backbone(backbone.normalise(part))[backbone.last].mean((2, 3))
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
    import numpy as np

    from cyborgs.common.seeding import generator

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
    *,
    train: NDArray[np.bool_],
    test: NDArray[np.bool_],
    settings: Objects,
) -> dict[str, float]:
    """Accuracy of both classifiers on the test objects, in 0 … 1.

    ``knn`` and ``linear`` count objects; ``knn_classes`` and ``linear_classes`` are means over
    the categories of the test objects.  Neighbours vote with equal weight, by cosine similarity.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import recall_score
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = min(settings.neighbours, int(train.sum()))
    classifiers = {
        "knn": KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute"),
        "linear": LogisticRegression(C=settings.cost, max_iter=2000),
    }
    # Scaled to unit total variance, so that C means the same for every backbone.
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


OBJECTS = OnOwnImages(
    name="objects",
    title="Objects: classification of crops, frozen features",
    about="classify annotated objects on frozen features",
    metrics={
        "knn": "k-NN",
        "knn_classes": "k-NN, mean of classes",
        "linear": "linear",
        "linear_classes": "linear, mean of classes",
    },
    headline="linear",
    settings=Objects(),
    version=2,
    fits=fits,
    measure=measure,
)
