"""The probe of objects: crops, splits, and classifiers against scikit-learn called directly."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from cyborgs.evaluation.objects import Objects, classify, crop, features, split
from cyborgs.models.backbones.backbone import Backbone


class TestCrop:
    def test_boxes_are_those_of_the_masks(self):
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (50, 70, 3), np.uint8)
        masks = np.zeros((3, 50, 70), bool)
        masks[0, 5:37, 10:42] = True  # as large as a crop: its pixels are the image's
        masks[1, 40:44, 0:70] = True  # too low
        masks[2, 0:40, 20:40] = True
        masks[2, 5:30, 22:30] = False  # a hole changes no box
        found = dict(crop(image, masks, 32, 16))
        assert list(found) == [0, 2]
        np.testing.assert_array_equal(found[0], image[5:37, 10:42])
        expected = cv2.resize(image[0:40, 20:40], (32, 32), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(found[2], expected)


def test_features_are_averages_of_unit_length():
    torch.manual_seed(0)
    backbone = Backbone("resnet18").eval()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), np.uint8)
    found = features(backbone, pixels, torch.device("cpu"))
    assert found.shape == (70, 512)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    given = torch.from_numpy(((pixels[65:67] / 255 - mean) / deviation).transpose(0, 3, 1, 2))
    with torch.no_grad():
        expected = backbone(given.float())["layer4"].mean((2, 3)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found[65:67], expected, atol=2e-6)


class TestSplit:
    def test_no_image_is_on_both_sides_and_all_test_categories_are_known(self):
        rng = np.random.default_rng(0)
        images, categories = rng.integers(0, 40, 300), rng.integers(0, 9, 300)
        categories[images == 7] = 20  # occurs in one image alone
        sides = [split(images, categories, 0.3, seed) for seed in range(5)]
        for train, test in sides:
            assert not (train & test).any()
            assert not set(images[train]) & set(images[test])
            assert set(categories[test]) <= set(categories[train])
            assert 0.15 < test.mean() < 0.45
        assert len({test.tobytes() for _, test in sides}) == 5
        again = split(images, categories, 0.3, 2)
        np.testing.assert_array_equal(again[1], sides[2][1])

    @pytest.mark.parametrize("images", [[0, 0, 0], [0, 1, 2]])
    def test_too_few(self, images, refused):
        with refused("downstream.objects", "too few"):
            split(np.array(images), np.array([1, 2, 3]), 0.3, 0)


class TestClassify:
    @pytest.fixture
    def objects(self):
        rng = np.random.default_rng(1)
        categories = rng.integers(1, 5, 400)
        vectors = rng.normal(size=(400, 16)) + 0.8 * np.eye(16)[categories]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        train = np.arange(400) < 280
        return vectors.astype(np.float32), categories, train, ~train

    def test_neighbours_by_hand(self, objects):
        vectors, categories, train, test = objects
        found = classify(
            vectors, categories, train=train, test=test, settings=Objects(neighbours=7)
        )
        right = []
        for distances, category in zip(
            cdist(vectors[test], vectors[train], "cosine"), categories[test], strict=True
        ):
            votes = np.bincount(categories[train][np.argsort(distances)[:7]], minlength=5)
            right.append(votes.argmax() == category)
        assert found["knn"] == pytest.approx(np.mean(right))
        per_class = [np.mean(np.array(right)[categories[test] == c]) for c in range(1, 5)]
        assert found["knn_classes"] == pytest.approx(np.mean(per_class))

    def test_linear_by_scikit_learn(self, objects):
        vectors, categories, train, test = objects
        found = classify(vectors, categories, train=train, test=test, settings=Objects(cost=0.5))
        scale = vectors[train].std()
        model = LogisticRegression(C=0.5, max_iter=5000, tol=1e-8)
        model.fit(vectors[train] / scale, categories[train])
        assert found["linear"] == pytest.approx(
            model.score(vectors[test] / scale, categories[test]), abs=0.009
        )

    def test_what_is_told_apart_scores_one_and_what_is_not_by_chance(self, objects):
        _, categories, train, test = objects
        perfect = np.eye(16, dtype=np.float32)[categories]
        found = classify(perfect, categories, train=train, test=test, settings=Objects())
        assert set(found.values()) == {1.0}
        constant = np.ones((400, 16), np.float32)
        found = classify(constant, categories, train=train, test=test, settings=Objects())
        assert found["linear_classes"] == pytest.approx(0.25)
        assert found["knn_classes"] == pytest.approx(0.25)
