"""Linear support vector machines on frozen features, one a class (Goyal et al., 2019).

As VirTex has it (Desai and Johnson, 2021, section 4.1); the solver is scikit-learn's.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from cyborgs.config.downstream import VocSvm
from cyborgs.errors import InputError

Labels = NDArray[np.int64]
Features = NDArray[np.float32]


def class_ap(
    train: Features, own: Labels, test: Features, truth: Labels, settings: VocSvm, seed: int
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
