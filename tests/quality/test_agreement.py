"""Agreement of two partitions, against scikit-learn and SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy
from sklearn.metrics import (  # type: ignore[import-untyped]
    adjusted_rand_score,
    mutual_info_score,
    normalized_mutual_info_score,
)

from cyborgs.quality.agreement import Contingency, adjusted_rand_index

SMALL = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*[arrays(np.uint16, n, elements=st.integers(0, 3))] * 2)
)


class TestAdjustedRandIndex:
    @pytest.mark.parametrize("labels", [2, 8, 256, 65535])
    @pytest.mark.parametrize("noise", [0.0, 0.1, 0.7, 1.0])
    def test_large_maps(self, labels: int, noise: float) -> None:
        rng = np.random.default_rng(labels)
        a = rng.integers(0, labels + 1, (60, 80))
        b = np.where(rng.random(a.shape) < noise, rng.integers(0, 9, a.shape), a % 9)
        assert adjusted_rand_index(a, b) == pytest.approx(
            adjusted_rand_score(a.ravel(), b.ravel()), abs=1e-12
        )
        assert adjusted_rand_index(b, a) == adjusted_rand_index(a, b)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(SMALL)
    def test_small_and_degenerate_ones(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        a, b = pair
        assert adjusted_rand_index(a, b) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ([5, 5, 5, 5], [0, 0, 0, 0], 1.0),
            ([0, 1, 2, 3], [7, 5, 4, 6], 1.0),
            ([0, 1, 2, 3], [0, 0, 0, 0], 0.0),
            ([3], [0], 1.0),
            ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
            ([0, 0, 65535, 65535], [1, 1, 0, 0], 1.0),
        ],
    )
    def test_known_values(self, a: list[int], b: list[int], expected: float) -> None:
        assert adjusted_rand_index(np.array(a), np.array(b)) == expected

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
    def test_any_integer_type(self, dtype: type[np.integer]) -> None:
        a = np.array([[0, 0, 200], [200, 7, 7]]).astype(dtype)
        b = np.array([[0, 0, 0], [250, 1, 1]]).astype(dtype)
        expected = adjusted_rand_score(a.ravel(), b.ravel())
        assert adjusted_rand_index(a, b) == pytest.approx(expected, abs=1e-12)

    def test_only_kept_pixels_count(self) -> None:
        rng = np.random.default_rng(3)
        a = rng.integers(0, 5, (20, 30))
        b = np.where(rng.random((20, 30)) < 0.5, a, rng.integers(0, 5, (20, 30)))
        keep = rng.random(a.shape) < 0.4
        expected = adjusted_rand_score(a[keep], b[keep])
        assert expected != pytest.approx(adjusted_rand_score(a.ravel(), b.ravel()), abs=1e-3)
        assert adjusted_rand_index(a, b, keep) == pytest.approx(expected, abs=1e-12)

    def test_without_pixels_it_is_undefined(self) -> None:
        a = np.zeros((4, 5), dtype=np.uint8)
        assert math.isnan(adjusted_rand_index(a, a, np.zeros((4, 5), dtype=bool)))
        assert math.isnan(adjusted_rand_index(a[:0], a[:0]))

    def test_partitions_too_fine_for_a_table(self) -> None:
        # 65536 x 65536 cells of 8 bytes would be 32 GiB.
        a = np.arange(65536, dtype=np.uint16)
        assert adjusted_rand_index(a, a[::-1]) == 1.0

    def test_counts_of_pairs_beyond_64_bits(self) -> None:
        # 2 ** 22 pixels: products of counts of pairs reach 2 ** 86.
        a = np.zeros((2048, 2048), dtype=np.uint8)
        a[1000:] = 1
        b = np.zeros_like(a)
        b[:, :700] = 1
        b[1200:] = 2
        n = a.size
        table = np.array([[1000 * 1348, 1000 * 700, 0], [200 * 1348, 200 * 700, 848 * 2048]])

        def pairs(counts: np.ndarray) -> float:
            return sum(math.comb(int(c), 2) for c in counts.ravel())

        rows, columns = pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
        chance = rows * columns / math.comb(n, 2)
        expected = (pairs(table) - chance) / ((rows + columns) / 2 - chance)
        assert adjusted_rand_index(a, b) == pytest.approx(expected, rel=1e-12)

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(ValueError, match="shapes"):
            adjusted_rand_index(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8))


class TestInformation:
    """Normalised mutual information and variation of information."""

    @pytest.mark.parametrize("labels", [2, 8, 256, 65535])
    @pytest.mark.parametrize("noise", [0.0, 0.1, 0.7, 1.0])
    def test_large_maps(self, labels: int, noise: float) -> None:
        rng = np.random.default_rng(labels)
        a = rng.integers(0, labels + 1, (60, 80))
        b = np.where(rng.random(a.shape) < noise, rng.integers(0, 9, a.shape), a % 9)
        self.check(a.ravel(), b.ravel(), Contingency(a, b))

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(SMALL)
    def test_small_and_degenerate_ones(self, pair: tuple[np.ndarray, np.ndarray]) -> None:
        self.check(*pair, Contingency(*pair))

    def check(self, a: np.ndarray, b: np.ndarray, table: Contingency) -> None:
        nmi = table.normalised_mutual_information()
        assert nmi == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-9)
        single = entropy(np.unique(a, return_counts=True)[1], base=2)
        other = entropy(np.unique(b, return_counts=True)[1], base=2)
        expected = single + other - 2 * mutual_info_score(a, b) / math.log(2)
        assert table.variation_of_information() == pytest.approx(expected, abs=1e-9)
        assert Contingency(b, a).variation_of_information() == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize(
        ("a", "b", "nmi", "vi"),
        [
            ([5, 5, 5, 5], [0, 0, 0, 0], 1, 0),
            ([0, 1, 2, 3], [7, 5, 4, 6], 1, 0),
            ([0, 1, 2, 3], [0, 0, 0, 0], 0, 2),
            ([0, 0, 1, 1], [0, 1, 0, 1], 0, 2),
            ([0, 0, 1, 1], [0, 0, 1, 2], 0.8, 0.5),
        ],
    )
    def test_known_values(self, a: list[int], b: list[int], nmi: float, vi: float) -> None:
        table = Contingency(np.array(a), np.array(b))
        assert table.normalised_mutual_information() == pytest.approx(nmi)
        assert table.variation_of_information() == pytest.approx(vi)

    def test_only_kept_pixels_count(self) -> None:
        a, b = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 0, 1])
        keep = np.array([1, 1, 1, 1, 0, 0], dtype=bool)
        assert Contingency(a, b).variation_of_information() > 0.5
        assert Contingency(a, b, keep).variation_of_information() == 0

    def test_without_pixels_it_is_undefined(self) -> None:
        table = Contingency(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8))
        assert math.isnan(table.normalised_mutual_information())
        assert math.isnan(table.variation_of_information())
