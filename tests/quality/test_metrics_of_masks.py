"""Agreement with ground truth, against scikit-learn, pycocotools and plain loops."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools import mask as rle  # type: ignore[import-untyped]
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score  # type: ignore[import-untyped]

from cyborgs.images.annotations import Instances
from cyborgs.masks.alignment import full_size
from cyborgs.quality.metrics import QualityMeter, best_overlaps

KEYS = {
    "images",
    "instances",
    "clusters_per_image",
    "ari",
    "ari_foreground",
    "mbo_instances",
    "mbo_classes",
    "asa",
    "boundary_recall",
    "boundary_precision",
    "miou",
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
            "asa": 1.0,
            "boundary_recall": 1.0,
            "boundary_precision": 1.0,
            "miou": 1.0,
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

    @pytest.mark.parametrize("seed", range(6))
    def test_achievable_accuracy_against_loops(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = blocks(rng, (13, 17), [0, 3, 255, 65535])
        crowd = rng.random(labels.shape) < (0.3 if seed % 2 else 0.0)
        known = truth(rectangles(rng, 3, labels.shape), ignore=crowd)
        shown = known.label_map()
        right = 0
        for label in np.unique(labels):
            inside = shown[(labels == label) & ~crowd]
            right += max((np.count_nonzero(inside == s) for s in range(4)), default=0)
        expected = right / np.count_nonzero(~crowd)
        assert measure((labels, known))["asa"] == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("seed", range(6))
    def test_boundaries_against_scipy(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = blocks(rng, (30, 41), [0, 3, 255])
        known = truth(rectangles(rng, 2, labels.shape))
        ours, theirs = (slow_boundaries(m) for m in (labels, known.label_map()))
        result = measure((labels, known))
        for key, of, others in (
            ("boundary_recall", theirs, ours),
            ("boundary_precision", ours, theirs),
        ):
            distance = ndimage.distance_transform_cdt(~others, metric="chessboard")
            assert result[key] == pytest.approx((distance[of] <= 2).mean(), abs=1e-12)

    def test_without_boundaries_they_are_undefined(self) -> None:
        whole = truth(np.ones((1, 5, 6), dtype=bool))
        one = np.zeros((5, 6), dtype=np.uint8)
        result = measure((one, whole))
        assert math.isnan(result["boundary_recall"])
        assert math.isnan(result["boundary_precision"])
        half = np.arange(6)[None].repeat(5, axis=0) // 3
        result = measure((half, whole))
        assert math.isnan(result["boundary_recall"])
        assert result["boundary_precision"] == 0.0

    @pytest.mark.parametrize("metric", ["ari", "mbo_instances", "mbo_classes", "asa", "miou"])
    def test_crowd_pixels_are_left_out(self, metric: str) -> None:
        masks = np.zeros((1, 8, 8), dtype=bool)
        masks[0, :4, :4] = True
        crowd = np.zeros((8, 8), dtype=bool)
        crowd[4:, 4:] = True
        # The cluster of the instance also takes the crowd, in which nothing is annotated.
        labels = (masks[0] | crowd).astype(np.uint8)
        assert measure((labels, truth(masks, ignore=crowd)))[metric] == 1.0
        assert measure((labels, truth(masks)))[metric] <= 0.75

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


class TestMatchedIoU:
    """Clusters matched to classes, against every possible matching."""

    def test_one_group_against_all_matchings(self) -> None:
        rng = np.random.default_rng(3)
        images = []
        for categories in ([7, 9], [9], [7, 7]):
            masks = rectangles(rng, len(categories), (12, 15))
            crowd = (rng.random((12, 15)) < 0.2) & ~masks.any(axis=0)
            images.append((blocks(rng, (12, 15), [1, 4, 300]), truth(masks, categories, crowd)))
        expected = slow_miou([images], [1, 4, 300], [0, 7, 9])
        assert matched(*((labels, known, 5) for labels, known in images)) == expected

    def test_groups_are_matched_one_by_one_and_pooled(self) -> None:
        rng = np.random.default_rng(4)
        groups = [
            [
                (blocks(rng, (10, 14), [0, 1]), truth(rectangles(rng, 1, (10, 14)), [category]))
                for category in categories
            ]
            for categories in ([1, 2], [2, 1], [2])
        ]
        expected = slow_miou(groups, [0, 1], [0, 1, 2])
        added = [(*image, number) for number, group in enumerate(groups) for image in group]
        assert matched(*added) == expected

    def test_an_image_without_a_group_is_matched_by_itself(self) -> None:
        masks = np.zeros((1, 4, 8), dtype=bool)
        masks[0, :, :4] = True
        labels = masks[0].astype(np.uint8)
        swapped = 1 - labels
        known = truth(masks, [3])
        assert matched((labels, known, -1), (swapped, known, -1)) == 1.0
        assert matched((labels, known, 0), (swapped, known, 0)) == pytest.approx(1 / 3)

    def test_a_cluster_without_a_class_is_wrong(self) -> None:
        masks = np.zeros((1, 1, 8), dtype=bool)
        masks[0, :, :4] = True
        labels = np.array([[0, 0, 1, 1, 2, 2, 2, 2]])
        # Background 1, and half of the object.
        assert matched((labels, truth(masks), -1)) == pytest.approx((1 + 0.5) / 2)

    def test_a_class_without_a_cluster_counts(self) -> None:
        masks = np.zeros((2, 1, 8), dtype=bool)
        masks[0, :, :4] = masks[1, :, 4:7] = True
        labels = np.array([[0, 0, 0, 0, 1, 1, 1, 1]])
        # Classes: 4 pixels (right), 3 pixels (3 of 4 right), background without a cluster.
        assert matched((labels, truth(masks, [1, 2]), -1)) == pytest.approx((1 + 3 / 4 + 0) / 3)

    def test_categories_may_have_any_number(self) -> None:
        masks = np.zeros((2, 1, 9), dtype=bool)
        masks[0, :, :3] = masks[1, :, 3:6] = True
        labels = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2]])
        assert matched((labels, truth(masks, [0, -1]), -1)) == 1.0


def slow_boundaries(labels: np.ndarray) -> np.ndarray:
    found = np.zeros(labels.shape, dtype=bool)
    height, width = labels.shape
    for y, x in np.ndindex(height, width):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and labels[v, u] != labels[y, x]:
                found[y, x] = True
    return found


def matched(*images: tuple[np.ndarray, Instances, int]) -> float:
    meter = QualityMeter()
    for labels, known, group in images:
        meter.update(labels, known, group)
    return meter.result()["miou"]


def slow_miou(
    groups: list[list[tuple[np.ndarray, Instances]]], labels: list[int], classes: list[int]
) -> float:
    """Mean IoU with the best of all matchings in each group, one pixel set a class."""
    shares = dict.fromkeys(classes, 0)
    predicted = dict.fromkeys(classes, 0)
    annotated = dict.fromkeys(classes, 0)
    for group in groups:
        found = np.concatenate([m[~k.ignore] for m, k in group])
        known = np.concatenate([k.category_map()[~k.ignore] for _, k in group])
        spare = [*classes, *[None] * max(0, len(labels) - len(classes))]
        best = max(
            itertools.permutations(spare, len(labels)),
            key=lambda names: sum(
                np.count_nonzero((found == label) & (known == name))
                for label, name in zip(labels, names, strict=True)
                if name is not None
            ),
        )
        for name in classes:
            annotated[name] += np.count_nonzero(known == name)
        for label, name in zip(labels, best, strict=True):
            shared = np.count_nonzero((found == label) & (known == name))
            if shared:
                shares[name] += shared
                predicted[name] += np.count_nonzero(found == label)
    ratios = [shares[c] / (annotated[c] + predicted[c] - shares[c]) for c in classes]
    return pytest.approx(float(np.mean(ratios)), abs=1e-12)  # type: ignore[return-value]
