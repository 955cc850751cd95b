"""Support vector machines, against scikit-learn called directly."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from cyborgs.evaluation.voc_svm import VocSvm, class_ap, require_enough

SETTINGS = VocSvm(costs=[0.001, 0.1, 10.0], iterations=5000)


def average_precision(truth, scores):
    """Mean, over the positives, of the precision where each is reached; no score occurs twice."""
    ranked = truth[np.argsort(-scores)]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return precision[ranked].mean()


def by_scikit_learn(train, own, test, truth, settings, seed):
    """Average precision and C, by a loop over values of C and folds."""
    positive = own == 1

    def fitted(cost, rows):
        svm = LinearSVC(
            C=cost,
            class_weight={1: settings.positive_weight, 0: 1.0},
            max_iter=settings.iterations,
            dual=True,
            random_state=seed,
        )
        return svm.fit(train[rows], positive[rows].astype(int))

    scores = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for cost in settings.costs:
            folds = StratifiedKFold(settings.folds).split(train, positive)
            scores.append(
                np.mean(
                    [
                        average_precision(
                            positive[held], fitted(cost, rows).decision_function(train[held])
                        )
                        for rows, held in folds
                    ]
                )
            )
        chosen = settings.costs[int(np.argmax(scores))]
        svm = fitted(chosen, np.arange(len(train)))
    counted = truth != 0
    return average_precision(truth[counted] == 1, svm.decision_function(test[counted])), chosen


def random_case(seed, images=150):
    rng = np.random.default_rng(seed)
    # Scales differ, so that values of C do.
    features = rng.normal(size=(2 * images, 12)) * np.logspace(-2, 0.5, 12)
    signal = features @ rng.normal(size=12) + rng.normal(size=2 * images)
    labels = np.where(signal > 1, 1, np.where(signal > 0.7, 0, -1))
    features = features.astype(np.float32)
    return features[:images], labels[:images], features[images:], labels[images:]


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn(seed):
    case = random_case(seed)
    expected, chosen = by_scikit_learn(*case, SETTINGS, seed)
    ap, cost, _ = class_ap(*case, settings=SETTINGS, seed=seed)
    assert cost == chosen
    assert ap == pytest.approx(expected, abs=1e-9)
    assert 0.3 < ap < 1


def test_not_every_case_chooses_the_same_cost():
    found = (class_ap(*random_case(s), settings=SETTINGS, seed=s) for s in range(4))
    assert len({cost for _, cost, _ in found}) > 1


@pytest.mark.parametrize("weight", [1.0, 50.0])
def test_the_weight_of_positives_counts(weight):
    settings = VocSvm(costs=[0.1], positive_weight=weight)
    case = random_case(5)
    expected = by_scikit_learn(*case, settings, 0)
    assert class_ap(*case, settings=settings, seed=0)[:2] == pytest.approx(expected, abs=1e-9)


def test_of_equally_good_costs_the_smallest_is_chosen():
    train = np.array([[-1], [1]] * 10, np.float32)
    own = np.array([-1, 1] * 10)
    settings = VocSvm(costs=[0.5, 1.0, 2.0])
    assert class_ap(train, own, train, own, settings=settings, seed=0)[:2] == (1.0, 0.5)


def test_difficult_images_are_negatives_in_training():
    train, own, test, truth = random_case(0)
    assert (own == 0).any()
    found = class_ap(train, own, test, truth, settings=SETTINGS, seed=0)[:2]
    assert (
        class_ap(train, np.where(own == 0, -1, own), test, truth, settings=SETTINGS, seed=0)[:2]
        == found
    )
    assert (
        class_ap(train, np.where(own == 0, 1, own), test, truth, settings=SETTINGS, seed=0)[:2]
        != found
    )


def test_difficult_images_are_left_out_of_testing():
    train, own, test, truth = random_case(0)
    found = class_ap(train, own, test, truth, settings=SETTINGS, seed=0)[:2]
    kept = truth != 0
    assert not kept.all()
    assert class_ap(train, own, test[kept], truth[kept], settings=SETTINGS, seed=0)[:2] == found
    assert (
        class_ap(train, own, test, np.where(kept, truth, -1), settings=SETTINGS, seed=0)[:2]
        != found
    )


class TestRequireEnough:
    @pytest.mark.parametrize(
        ("positives", "shown"), [(0, "0 of 10"), (2, "2 of 10"), (8, "8 of 10"), (10, "10 of 10")]
    )
    def test_too_few_images_for_the_folds(self, positives, shown, refused):
        own = np.where(np.arange(10) < positives, 1, -1)
        with refused("class dog", shown, "too few for 3 folds", "lower downstream.voc_svm.folds"):
            require_enough("dog", own, np.array([1, -1]), 3)

    @pytest.mark.parametrize("positives", [3, 7])
    def test_just_enough(self, positives):
        own = np.where(np.arange(10) < positives, 1, 0)
        require_enough("dog", own, np.array([1, -1]), 3)

    @pytest.mark.parametrize("truth", [[-1, -1], [0, -1], [0, 0]])
    def test_no_test_image_shows_the_class(self, truth, refused):
        own = np.where(np.arange(10) < 5, 1, -1)
        with refused("no test image shows class dog"):
            require_enough("dog", own, np.array(truth), 3)
