"""Agreement with ground truth, against scikit-learn, pycocotools and plain loops."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as rle  # type: ignore[import-untyped]
from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]

from cyborgs.data.annotations import Instances
from cyborgs.masks import quality
from cyborgs.masks.alignment import full_size
from cyborgs.masks.quality import QualityMeter, adjusted_rand_index, best_overlaps

KEYS = {
    "images",
    "instances",
    "clusters_per_image",
    "ari",
    "ari_foreground",
    "mbo_instances",
    "mbo_classes",
}


def blocks(rng: np.random.Generator, shape: tuple[int, int], labels: Sequence[int]) -> np.ndarray:
    """Random labels in squares of four pixels, so that clusters overlap masks by a lot."""
    coarse = rng.choice(labels, (shape[0] // 4 + 1, shape[1] // 4 + 1))
    return np.kron(coarse, np.ones((4, 4), dtype=coarse.dtype))[: shape[0], : shape[1]]


def rectangles(rng: np.random.Generator, number: int, shape: tuple[int, int]) -> np.ndarray:
    masks = np.zeros((number, *shape), dtype=bool)
    for mask in masks:
        top, left = rng.integers(0, shape[0] - 2), rng.integers(0, shape[1] - 2)
        mask[top : top + rng.integers(1, shape[0]), left : left + rng.integers(1, shape[1])] = True
    return masks


def truth(
    masks: np.ndarray, categories: Sequence[int] | None = None, ignore: np.ndarray | None = None
) -> Instances:
    return Instances(
        masks=masks,
        categories=np.array(categories or [1] * len(masks), dtype=np.int64),
        ignore=np.zeros(masks.shape[1:], dtype=bool) if ignore is None else ignore,
    )


def measure(*images: tuple[np.ndarray, Instances]) -> dict[str, float]:
    meter = QualityMeter()
    for labels, instances in images:
        meter.update(labels, instances)
    return meter.result()


def slow_best_overlap(labels: np.ndarray, mask: np.ndarray, ignore: np.ndarray) -> float:
    best = 0.0
    pixels = [tuple(p) for p in np.argwhere(~ignore)]
    inside = {p for p in pixels if mask[p]}
    for label in {labels[p] for p in pixels}:
        cluster = {p for p in pixels if labels[p] == label}
        best = max(best, len(inside & cluster) / len(inside | cluster))
    return best if inside else math.nan


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
    @given(
        st.integers(1, 12).flatmap(
            lambda n: st.tuples(*[arrays(np.uint16, n, elements=st.integers(0, 3))] * 2)
        )
    )
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


class TestBestOverlaps:
    @pytest.mark.parametrize("seed", range(8))
    def test_against_loops(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = blocks(rng, (13, 17), [0, 3, 255, 65535])
        masks = rectangles(rng, 5, labels.shape)
        ignore = rng.random(labels.shape) < (0.3 if seed % 2 else 0.0)
        found = best_overlaps(labels, masks, ignore)
        assert found.dtype == np.float64
        expected = [slow_best_overlap(labels, mask, ignore) for mask in masks]
        np.testing.assert_allclose(found, expected, rtol=1e-12)

    @pytest.mark.parametrize("clusters", [1, 8, 256])
    def test_against_pycocotools(self, clusters: int) -> None:
        rng = np.random.default_rng(clusters)
        labels = blocks(rng, (120, 160), range(clusters)).astype(np.uint16)
        masks = rectangles(rng, 9, labels.shape)
        found = best_overlaps(labels, masks, np.zeros(labels.shape, dtype=bool))
        each = np.array([labels == label for label in np.unique(labels)])
        table = rle.iou(
            rle.encode(np.asfortranarray(each.transpose(1, 2, 0), dtype=np.uint8)),
            rle.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)),
            [0] * len(masks),
        )
        np.testing.assert_allclose(found, table.max(axis=0), rtol=1e-12)

    def test_ignored_pixels_count_neither_in_masks_nor_in_clusters(self) -> None:
        labels = np.array([[4, 4, 4, 4, 9, 9, 9, 9]])
        mask = np.array([[[1, 1, 0, 0, 1, 0, 0, 0]]], dtype=bool)
        ignore = np.zeros_like(mask[0])
        assert best_overlaps(labels, mask, ignore) == [2 / 5]
        ignore[0, 4] = True  # of the mask only
        assert best_overlaps(labels, mask, ignore) == [2 / 4]
        ignore[0, 3] = True  # of the cluster only
        assert best_overlaps(labels, mask, ignore) == [2 / 3]
        ignore[0, 1] = True  # of both
        assert best_overlaps(labels, mask, ignore) == [1 / 2]
        assert labels.tolist() == [[4, 4, 4, 4, 9, 9, 9, 9]]

    def test_a_mask_without_pixels_has_none(self) -> None:
        masks = np.zeros((3, 2, 4), dtype=bool)
        masks[1, 0, :2] = masks[2, 1, :2] = True
        ignore = masks[2].copy()
        labels = np.zeros((2, 4), dtype=np.uint8)
        found = best_overlaps(labels, masks, ignore)
        np.testing.assert_array_equal(np.isnan(found), [True, False, True])
        assert found[1] == 2 / 6

    def test_no_masks(self) -> None:
        labels = np.zeros((3, 4), dtype=np.uint8)
        found = best_overlaps(labels, np.zeros((0, 3, 4), bool), np.zeros((3, 4), bool))
        assert found.shape == (0,)


class TestQualityMeter:
    def test_perfect_masks(self) -> None:
        masks = np.zeros((2, 6, 8), dtype=bool)
        masks[0, :3, :3] = masks[1, 2:, 5:] = True
        labels = np.select([masks[0], masks[1]], [700, 20], 65535)
        assert measure((labels, truth(masks, [3, 4]))) == {
            "images": 1.0,
            "instances": 2.0,
            "clusters_per_image": 3.0,
            "ari": 1.0,
            "ari_foreground": 1.0,
            "mbo_instances": 1.0,
            "mbo_classes": 1.0,
        }

    def test_means_over_images_instances_and_categories(self) -> None:
        rng = np.random.default_rng(11)
        images = []
        shape = (24, 32)
        for used, categories in (
            ([1, 5], [2]),
            ([0, 1, 9, 300], [1, 2, 1, 1, 3]),
            ([0, 1, 65535], [4, 4, 7]),
        ):
            masks = rectangles(rng, len(categories), shape)
            ignore = (rng.random(shape) < 0.2) & ~masks.any(axis=0)
            images.append((blocks(rng, shape, used), truth(masks, categories, ignore)))
        ari: list[float] = []
        foreground: list[float] = []
        instances: list[float] = []
        classes: list[float] = []
        for labels, known in images:
            shown = known.label_map()
            for values, keep in ((ari, ~known.ignore), (foreground, shown > 0)):
                values.append(adjusted_rand_score(labels[keep], shown[keep]))
            for mask in known.masks:
                instances.append(slow_best_overlap(labels, mask, known.ignore))
            for category in set(known.categories.tolist()):
                union = np.logical_or.reduce(known.masks[known.categories == category])
                classes.append(slow_best_overlap(labels, union, known.ignore))
        result = measure(*images)
        assert result.keys() == KEYS
        assert (result["images"], result["instances"]) == (3, 9)
        assert result["clusters_per_image"] == pytest.approx((2 + 4 + 3) / 3)
        assert result["ari"] == pytest.approx(np.mean(ari), abs=1e-12)
        assert result["ari_foreground"] == pytest.approx(np.mean(foreground), abs=1e-12)
        # Every instance counts alike, whatever image it is in; and every category of an image.
        assert len(instances) == 9
        assert result["mbo_instances"] == pytest.approx(np.mean(instances), abs=1e-12)
        assert len(classes) == 6
        assert result["mbo_classes"] == pytest.approx(np.mean(classes), abs=1e-12)

    @pytest.mark.parametrize("metric", ["ari", "mbo_instances", "mbo_classes"])
    def test_crowd_pixels_are_left_out(self, metric: str) -> None:
        masks = np.zeros((1, 8, 8), dtype=bool)
        masks[0, :4, :4] = True
        crowd = np.zeros((8, 8), dtype=bool)
        crowd[4:, 4:] = True
        # The cluster of the instance also takes the crowd, in which nothing is annotated.
        labels = (masks[0] | crowd).astype(np.uint8)
        assert measure((labels, truth(masks, ignore=crowd)))[metric] == 1.0
        assert measure((labels, truth(masks)))[metric] < 0.75

    def test_crowd_labels_make_no_difference(self) -> None:
        rng = np.random.default_rng(5)
        masks = rectangles(rng, 3, (20, 30))
        crowd = (rng.random((20, 30)) < 0.3) & ~masks.any(axis=0)
        labels = blocks(rng, (20, 30), range(6))
        other = np.where(crowd, rng.integers(0, 6, labels.shape), labels)
        assert measure((labels, truth(masks, [1, 2, 1], crowd))) == measure(
            (other, truth(masks, [1, 2, 1], crowd))
        )

    def test_overlapping_instances(self) -> None:
        masks = np.zeros((2, 10, 10), dtype=bool)
        masks[0, :8, :8] = True
        masks[1, 2:5, 2:5] = True
        labels = np.zeros((10, 10), dtype=np.uint8)
        labels[masks[0]] = 1
        labels[masks[1]] = 2
        result = measure((labels, truth(masks, [1, 2])))
        # A pixel has one segment in the Rand index, the smaller; overlaps take whole masks.
        assert result["ari"] == result["ari_foreground"] == 1.0
        assert result["mbo_instances"] == pytest.approx(((64 - 9) / 64 + 1) / 2)

    def test_a_category_is_measured_as_one_mask(self) -> None:
        masks = np.zeros((3, 4, 8), dtype=bool)
        masks[0, :, :2] = masks[1, :, 2:4] = masks[2, :, 4:6] = True
        labels = np.array([0, 0, 0, 0, 1, 1, 2, 2]).repeat(4).reshape(8, 4).T
        result = measure((labels, truth(masks, [5, 5, 6])))
        assert result["mbo_instances"] == pytest.approx((0.5 + 0.5 + 1) / 3)
        assert result["mbo_classes"] == 1.0

    def test_images_without_instances_are_not_measured(self) -> None:
        rng = np.random.default_rng(2)
        bare = truth(np.zeros((0, 12, 16), dtype=bool))
        measured = (blocks(rng, (12, 16), [0, 1]), truth(rectangles(rng, 2, (12, 16))))
        unmeasured = (blocks(rng, (12, 16), range(9)), bare)
        assert measure(unmeasured, measured, unmeasured) == measure(measured)

    def test_undefined_values_are_left_out(self) -> None:
        masks = np.zeros((1, 4, 4), dtype=bool)
        masks[0, 0] = True
        labels = np.arange(16).reshape(4, 4) // 8
        hidden = truth(masks, ignore=masks[0])
        result = measure((labels, hidden), (labels, truth(masks)))
        alone = measure((labels, truth(masks)))
        assert result["images"] == 2
        for metric in ("ari_foreground", "mbo_instances", "mbo_classes"):
            assert result[metric] == alone[metric]

    def test_nothing_measured(self) -> None:
        bare = truth(np.zeros((0, 4, 5), dtype=bool))
        for result in (measure(), measure((np.zeros((4, 5), dtype=np.uint8), bare))):
            assert result.keys() == KEYS
            assert (result.pop("images"), result.pop("instances")) == (0, 0)
            assert all(math.isnan(value) for value in result.values())

    def test_the_numbers_of_labels_do_not_matter(self) -> None:
        rng = np.random.default_rng(8)
        known = truth(rectangles(rng, 4, (20, 24)), [1, 1, 2, 3])
        labels = blocks(rng, (20, 24), range(7)).astype(np.uint8)
        renamed = np.array([65535, 0, 256, 300, 12, 7, 40000], dtype=np.uint16)[labels]
        assert measure((labels, known)) == pytest.approx(measure((renamed, known)), abs=1e-12)

    def test_stored_labels(self) -> None:
        # Location (1, 2) of a grid at stride 8 is centred on pixel (8, 16) and reaches 4 about.
        stored = np.zeros((3, 4), dtype=np.uint8)
        stored[1, 2] = 1
        masks = np.zeros((1, 24, 32), dtype=bool)
        masks[0, 4:12, 12:20] = True
        labels = full_size(stored, 24, 32, 8)
        assert measure((labels, truth(masks)))["mbo_instances"] == 1.0

    def test_labels_of_another_size(self) -> None:
        with pytest.raises(ValueError, match="ground truth"):
            QualityMeter().update(
                np.zeros((3, 4), np.uint8), truth(np.zeros((1, 4, 3), dtype=bool))
            )

    def test_another_metric_is_an_entry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def achievable_accuracy(comparison: quality.Comparison) -> np.ndarray:
            table = comparison.contingency
            return np.array([table.max(axis=1).sum() / table.sum()])

        metrics = {**quality.METRICS, "accuracy": achievable_accuracy}
        monkeypatch.setattr(quality, "METRICS", metrics)
        masks = np.zeros((1, 4, 8), dtype=bool)
        masks[0, :, :3] = True
        labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])[None].repeat(4, axis=0)
        crowd = np.zeros((4, 8), dtype=bool)
        crowd[:, 3] = True
        assert measure((labels, truth(masks)))["accuracy"] == pytest.approx(7 / 8)
        assert measure((labels, truth(masks, ignore=crowd)))["accuracy"] == 1.0
