"""Intervals of differences, against SciPy, scikit-learn and loops."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from cyborgs.experiments.statistics import (
    Interval,
    over_images,
    paired_over_seeds,
    resampled_map,
    resamples,
    weighted_ap,
)


@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_the_interval_over_seeds_is_students(seeds):
    differences = np.random.default_rng(seeds).normal(1, 2, seeds)
    found = paired_over_seeds(differences)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(differences.mean())


def test_an_interval_that_holds_0_separates_nothing():
    assert Interval(0.5, 0.1, 0.9).separated
    assert Interval(-0.5, -0.9, -0.1).separated
    assert not Interval(0.5, -0.1, 1.1).separated


def case(images=60, classes=3, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1, 0, 1], (images, classes), p=[0.6, 0.1, 0.3]).astype(np.int8)
    scores = (truth + rng.normal(0, 2, truth.shape)).astype(np.float32)
    return (scores.round() if ties else scores), truth


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_of_counted_items_is_scikit_learns(ties):
    scores, truth = case(ties=ties)
    counts = resamples(len(truth), draws=20)
    found = weighted_ap(scores[:, 0], truth[:, 0] == 1, counts)
    expected = [
        average_precision_score(truth[:, 0] == 1, scores[:, 0], sample_weight=row) for row in counts
    ]
    assert found == pytest.approx(expected, abs=1e-12)


def test_average_precision_without_a_positive_item_is_no_number():
    counts = np.array([[1, 1], [0, 2]], np.int32)
    found = weighted_ap(np.float32([2, 1]), np.array([True, False]), counts)
    assert found[0] == 1
    assert np.isnan(found[1])


def test_resamples_draw_as_many_images_as_there_are():
    counts = resamples(50, draws=30)
    assert (counts[0] == 1).all()
    assert (counts.sum(axis=1) == 50).all()
    assert len(np.unique(counts, axis=0)) == 31
    assert (counts == resamples(50, draws=30)).all()


def test_map_of_resamples_is_that_of_the_images_repeated():
    scores, truth = case()
    counts = resamples(len(truth), draws=10)
    found = resampled_map(scores, truth, counts)
    for row, value in zip(counts, found, strict=True):
        drawn = np.repeat(np.arange(len(truth)), row)
        each = []
        for column in range(truth.shape[1]):
            kept = drawn[truth[drawn, column] != 0]
            each.append(average_precision_score(truth[kept, column] == 1, scores[kept, column]))
        assert value == pytest.approx(np.mean(each), abs=1e-12)


def test_the_interval_over_images_is_of_the_difference_of_means_over_seeds():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.5, 0.1, (2, 101)), rng.normal(0.4, 0.1, (3, 101))
    found = over_images(list(ours), list(theirs))
    difference = ours.mean(axis=0) - theirs.mean(axis=0)
    assert found.mean == pytest.approx(difference[0])
    inside = (difference[1:] >= found.low) & (difference[1:] <= found.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.02)
