"""The probe of a run's own pixels: which images are for testing."""

import numpy as np
import pytest

from cyborgs.evaluation.segmentation import split


class TestSplit:
    @pytest.mark.parametrize(
        ("number", "share", "expected"), [(20, 0.3, 6), (2, 0.01, 1), (2, 0.99, 1), (9, 0.99, 8)]
    )
    def test_all_images_are_on_one_side(self, number, share, expected):
        positions = 5 * np.arange(number) + 3
        train, test = split(positions, share, 0)
        assert len(test) == expected
        assert sorted(train + test) == positions.tolist()
        assert all(type(p) is int for p in train + test)

    def test_it_depends_on_the_seed(self):
        positions = np.arange(40)
        sides = [split(positions, 0.3, seed) for seed in range(5)]
        assert len({tuple(sorted(test)) for _, test in sides}) == 5
        assert split(positions, 0.3, 2) == sides[2]
