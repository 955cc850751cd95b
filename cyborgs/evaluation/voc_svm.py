"""VOC07 classification: linear support vector machines on frozen features, one a class.

As Goyal et al. (2019) and VirTex have it (Desai and Johnson, 2021, section 4.1); the solver is
scikit-learn's.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write, require_file
from cyborgs.common.progress import track
from cyborgs.common.section import Positive
from cyborgs.evaluation.kinds import Given, Measured, OnDatasets
from cyborgs.evaluation.settings import Backbones, Cropped, require_multiple

# Inside functions as well: whoever reads the configuration does not wait for these.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.svm import LinearSVC

    from cyborgs.models.backbones.backbone import Backbone

    Labels = NDArray[np.int64]
    Features = NDArray[np.float32]

# Images that go through the network together.
_BATCH = 32


class VocSvm(Cropped):
    """VOC07 classification: linear SVMs on frozen features (VirTex, Desai and Johnson, 2021)."""

    SHORT: ClassVar[dict[str, Any]] = {
        "short_side": 146,
        "crop": 128,
        "costs": [0.1, 1.0],
        "iterations": 1000,
    }

    backbones: Backbones = Field(["random", "last"])
    costs: list[Positive] = Field(
        [0.01, 0.1, 1.0, 10.0], min_length=1, description="values of C; each class uses its best"
    )
    folds: int = Field(3, ge=2, description="folds of the cross-validation that chooses C")
    positive_weight: Positive = Field(2.0, description="weight of the positive images")
    iterations: int = Field(2000, ge=1, description="iterations of the solver, at most")


def fits(settings: VocSvm, architecture: str) -> None:
    """Raise `InputError` where crops of this size do not go through the architecture."""
    require_multiple(settings.crop, architecture, "downstream.voc_svm.crop")


def measure(given: Given[VocSvm, Path]) -> Measured:
    """Fit on trainval of ``VOC2007``, score on its test.

    A row also has ``classes``, the average precision of each, and ``costs``, the C of each.  The
    scores of the first seed are a .npz file: ``names`` of the test images, ``classes``, ``truth``
    (int8 ``(images, classes)``: 1, -1, and 0 where only difficult objects are seen) and ``scores``
    (float32, of the same shape).

    Raises `InputError` where data are missing, damaged, or too little.
    """
    import numpy as np
    from joblib import Parallel, delayed

    from cyborgs.evaluation.data.voc import voc_classes, voc_labels
    from cyborgs.evaluation.sources import RANDOM

    settings, root = given.settings, given.data / "VOC2007"
    classes = voc_classes(root)
    splits = {split: voc_labels(root, split, classes) for split in ("trainval", "test")}
    (_, train), (_, test) = splits["trainval"], splits["test"]
    for column, name in enumerate(classes):
        require_enough(name, train[:, column], test[:, column], settings.folds)
    digests = {split: _digest(root, *part) for split, part in splits.items()}
    vectors: dict[str, NDArray[np.float32]] = {}
    rows: list[dict[str, Any]] = []
    for seed in range(given.seeds):
        # Only random weights depend on the seed.
        if not vectors or given.source.name == RANDOM:
            backbone = given.source.load(seed)
            vectors = {
                split: _features(backbone, [_image(root, name) for name in names], split, given)
                for split, (names, _) in splits.items()
            }

        # Processes, because threads would share the solver's one random generator.
        found = Parallel(given.compute.threads, return_as="generator")(
            delayed(class_ap)(
                vectors["trainval"],
                train[:, c],
                vectors["test"],
                test[:, c],
                settings=settings,
                seed=seed,
            )
            for c in range(len(classes))
        )
        fitted = list(track(found, len(classes), f"voc_svm, seed {seed}", "classes"))
        if given.scores is not None and seed == 0:
            _write_scores(given.scores, splits["test"], classes, [own for _, _, own in fitted])
        rows.append(
            {
                "seed": seed,
                "train": len(train),
                "test": len(test),
                "map": float(np.mean([ap for ap, _, _ in fitted])),
                "classes": {n: ap for n, (ap, _, _) in zip(classes, fitted, strict=True)},
                "costs": {n: c for n, (_, c, _) in zip(classes, fitted, strict=True)},
            }
        )
    return Measured(rows, digests, len(classes))


def class_ap(
    train: Features, own: Labels, test: Features, truth: Labels, *, settings: VocSvm, seed: int
) -> tuple[float, float, NDArray[np.float32]]:
    """Average precision of a class on the test images, the C that was chosen, and the scores.

    The scores are the decision values of all test images, float32 ``(images,)``.

    C is that of the highest average precision in a cross-validation on the training images, the
    smallest of equals; one alone is taken as it is.

    Args:
        train, test: float32 ``(images, channels)``.
        own, truth: their labels: 1, -1, and 0 where only difficult objects of the class are seen,
            which is a negative in training and left out of testing.
        settings: values of C, and how to fit.
        seed: of the solver.
    """
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import average_precision_score
    from sklearn.model_selection import cross_val_score

    positive = own == 1
    best, chosen = -1.0, settings.costs[0]
    for cost in settings.costs if len(settings.costs) > 1 else []:
        with warnings.catch_warnings():
            # The published number of iterations does not reach the tolerance for large C.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scores = cross_val_score(
                _svm(cost, settings, seed),
                train,
                positive,
                cv=settings.folds,
                scoring="average_precision",
            )
        if scores.mean() > best:
            best, chosen = float(scores.mean()), cost
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm = _svm(chosen, settings, seed).fit(train, positive)
    counted = truth != 0
    decided = svm.decision_function(test).astype(np.float32)
    ap = average_precision_score(truth[counted] == 1, decided[counted])
    return float(ap), chosen, decided


def _svm(cost: float, settings: VocSvm, seed: int) -> LinearSVC:
    from sklearn.svm import LinearSVC

    return LinearSVC(
        C=cost,
        class_weight={True: settings.positive_weight, False: 1.0},
        loss="squared_hinge",
        dual=True,
        max_iter=settings.iterations,
        random_state=seed,
    )


def require_enough(name: str, own: Labels, truth: Labels, folds: int) -> None:
    """Raise `InputError` where a class cannot be cross-validated or tested."""
    if min((own == 1).sum(), (own != 1).sum()) < folds:
        raise InputError(
            f"downstream.voc_svm: class {name} has {(own == 1).sum()} of {len(own)} training "
            f"images, too few for {folds} folds; lower downstream.voc_svm.folds or add images"
        )
    if not (truth == 1).any():
        raise InputError(f"downstream.voc_svm: no test image shows class {name}")


def _write_scores(
    path: Path,
    test: tuple[list[str], NDArray[np.int64]],
    classes: list[str],
    scores: list[NDArray[np.float32]],
) -> None:
    import numpy as np

    names, truth = test
    with atomic_write(path) as temporary:
        np.savez_compressed(
            temporary,
            names=np.array(names),
            classes=np.array(classes),
            truth=truth.astype(np.int8),
            scores=np.stack(scores, axis=1),
        )


def _features(
    backbone: Backbone, paths: list[Path], split: str, given: Given[VocSvm, Path]
) -> NDArray[np.float32]:
    """Mean features of central crops, l2-normalised: float32 ``(images, channels)``."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from cyborgs.evaluation.data.classes import CentralCrops
    from cyborgs.evaluation.linear import pooled
    from cyborgs.training.batches import arrived, load_batches
    from cyborgs.training.finetune import moved

    settings, device = given.settings, given.device
    backbone = backbone.to(device).to(memory_format=torch.channels_last)
    crops = CentralCrops(paths, np.zeros(len(paths), np.int64), settings.short_side, settings.crop)
    keys = [list(range(i, min(i + _BATCH, len(paths)))) for i in range(0, len(paths), _BATCH)]
    found = []
    batches = arrived(
        load_batches(crops, keys, workers=given.compute.workers, pin=device.type == "cuda")
    )
    with torch.inference_mode():
        for batch in track(batches, len(keys), f"voc_svm, {split}", "batches"):
            images = moved(batch["image"], device)
            found.append(F.normalize(pooled(backbone, images), dim=-1).cpu())
        return torch.cat(found).numpy()


def _digest(root: Path, names: list[str], labels: NDArray[np.int64]) -> str:
    """SHA-256 of names and sizes of images, and of their labels."""
    files = [require_file(_image(root, name), "image") for name in names]
    lines = [f"{name} {file.stat().st_size}" for name, file in zip(names, files, strict=True)]
    return hashlib.sha256("\n".join(lines).encode() + labels.tobytes()).hexdigest()


def _image(root: Path, name: str) -> Path:
    return root / f"JPEGImages/{name}.jpg"


VOC_SVM = OnDatasets(
    name="voc_svm",
    title="VOC07 classification: linear SVMs, frozen features",
    about="VOC07 classification: SVMs on frozen features",
    metrics={"map": "mAP"},
    headline="map",
    settings=VocSvm(),
    version=3,
    needed=(
        "VOC2007/ImageSets/Main/trainval.txt",
        "VOC2007/ImageSets/Main/test.txt",
        "VOC2007/JPEGImages",
    ),
    fits=fits,
    measure=measure,
    scores=True,
)
