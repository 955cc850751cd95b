"""Intervals of paired differences over images."""

import numpy as np
import pytest
from scipy import stats

from cyborgs.quality.spread import paired_interval


def rng():
    return np.random.default_rng(0)


def test_images_by_themselves_have_scipys_bootstrap_interval():
    ours, theirs = np.random.default_rng(1).normal(0.3, 0.1, (2, 200))
    found = paired_interval(ours, theirs, np.full(200, -1), rng())
    expected = stats.bootstrap(
        (ours - theirs,), np.mean, n_resamples=4000, method="percentile", rng=2
    ).confidence_interval
    assert found == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_images_of_a_group_count_as_one():
    """Sixteen copies of an image say no more than the image."""
    ours = np.random.default_rng(1).normal(0.3, 0.1, 50)
    theirs = np.zeros(50)
    alone = paired_interval(ours, theirs, np.arange(50), rng())
    copies = paired_interval(
        np.repeat(ours, 16), np.repeat(theirs, 16), np.repeat(np.arange(50), 16), rng()
    )
    assert copies == pytest.approx(alone)


@pytest.mark.parametrize("groups", [[], [3, 3], [-1]])
def test_one_group_has_no_interval(groups):
    values = np.ones(len(groups))
    assert paired_interval(values, values, np.array(groups, np.int64), rng()) is None
