"""The probe of pixels: interpolation and scores against loops, and where features lie."""

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import nn

from cyborgs.evaluation.pixels import (
    IGNORED,
    accuracy,
    count_pairs,
    evaluate,
    features,
    interpolate,
    ious,
    miou,
    shrink,
)
from cyborgs.evaluation.segmentation import Segmentation
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import IMAGENET
from cyborgs.models.normalise import normalise

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    """More gain nothing on images this small, and get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return Backbone("resnet18").eval()


def slow_bilinear(values, rows, cols, stride):
    channels, height, width = values.shape
    out = np.zeros((channels, len(rows), len(cols)))
    for i, row in enumerate(rows):
        for j, col in enumerate(cols):
            y, x = min(row / stride, height - 1), min(col / stride, width - 1)
            for v in range(height):
                for u in range(width):
                    share = max(0, 1 - abs(y - v)) * max(0, 1 - abs(x - u))
                    out[:, i, j] += share * values[:, v, u]
    return out


class TestInterpolate:
    @pytest.mark.parametrize(("height", "width"), [(4, 5), (1, 6), (6, 1), (1, 1), (2, 2)])
    @pytest.mark.parametrize("stride", [1, 4, 8.0])
    def test_against_a_loop(self, height, width, stride):
        rng = np.random.default_rng(height)
        values = rng.normal(size=(3, height, width))
        rows = np.sort(rng.uniform(0, height * stride + 3, 9))
        # Some lie beyond the last location.
        cols = np.arange(0.0, width * stride + 4, max(1, stride // 3))
        found = interpolate(
            torch.from_numpy(values), torch.from_numpy(rows), torch.from_numpy(cols), stride
        )
        expected = slow_bilinear(values, rows, cols, stride)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)

    def test_locations_keep_their_values(self):
        values = torch.randn(2, 5, 7)
        found = interpolate(values, 8 * torch.arange(5), 8 * torch.arange(7), 8)
        torch.testing.assert_close(found, values, rtol=1e-5, atol=1e-5)


class TestMiou:
    @pytest.mark.parametrize("seed", range(5))
    def test_against_a_loop_and_scikit_learn(self, seed):
        rng = np.random.default_rng(seed)
        # Some categories are only guessed: they are no part of the mean.
        truth = rng.choice([0, 2, 7], 500).astype(np.int32)
        guess = np.where(rng.random(500) < 0.6, truth, rng.choice([0, 2, 7, 9, 30], 500))
        ious = []
        for category in (0, 2, 7):
            own, given = truth == category, guess == category
            shared = sum(1 for a, b in zip(own, given, strict=True) if a and b)
            either = sum(1 for a, b in zip(own, given, strict=True) if a or b)
            ious.append(shared / either)
        # Of several images together.
        found = miou(count_pairs(truth[:200], guess[:200]) + count_pairs(truth[200:], guess[200:]))
        assert found["miou"] == pytest.approx(np.mean(ious), abs=1e-12)
        expected = jaccard_score(truth, guess, labels=[0, 2, 7], average="macro")
        assert found["miou"] == pytest.approx(expected, abs=1e-12)
        assert found["accuracy"] == pytest.approx(np.mean(truth == guess), abs=1e-12)

    def test_of_each_category(self):
        truth, guess = np.array([0, 0, 0, 2, 2, 7]), np.array([0, 0, 2, 2, 9, 9])
        pairs = count_pairs(truth, guess)
        # One that is guessed alone has 0 here, and no part in the mean of the true ones.
        assert ious(pairs) == {0: 2 / 3, 2: 1 / 3, 7: 0, 9: 0}
        assert accuracy(pairs) == 3 / 6
        assert miou(pairs)["miou"] == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)

    def test_a_category_that_is_never_guessed_has_none(self):
        truth, guess = np.array([1, 1, 1, 2]), np.array([1, 1, 1, 1])
        assert miou(count_pairs(truth, guess)) == {"miou": (3 / 4 + 0) / 2, "accuracy": 3 / 4}


class TestShrink:
    @pytest.mark.parametrize(
        ("shape", "expected"), [((60, 90), (30, 45)), ((90, 60), (45, 30)), ((61, 100), (30, 49))]
    )
    def test_the_short_side(self, shape, expected):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        assert shrink(image, 30).shape == (*expected, 3)

    def test_areas_are_averaged(self):
        image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        means = image.reshape(20, 2, 30, 2, 3).mean((1, 3))
        np.testing.assert_allclose(shrink(image, 20), means, atol=0.51)

    @pytest.mark.parametrize("side", [40, 41, 1000])
    def test_a_smaller_image_stays_as_it_is(self, side):
        image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        np.testing.assert_array_equal(shrink(image, side), image)


class TestFeatures:
    def test_the_first_layer_as_it_is_and_deeper_ones_between(self, backbone):
        image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        with torch.no_grad():
            outputs = backbone(normalise(torch.from_numpy(image)[None], IMAGENET))
        found = features(backbone, image, ["layer2", "layer3", "layer4"], CPU)
        assert found.shape == (128 + 256 + 512, 8, 12)
        torch.testing.assert_close(found[:128], outputs["layer2"][0])
        # Every second, and every fourth, location is one of a deeper grid.
        torch.testing.assert_close(
            found[128:384, ::2, ::2], outputs["layer3"][0], rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(
            found[384:, ::4, ::4], outputs["layer4"][0], rtol=1e-4, atol=1e-4
        )
        between = outputs["layer3"][0, :, :, :-1] / 2 + outputs["layer3"][0, :, :, 1:] / 2
        torch.testing.assert_close(found[128:384, ::2, 1:-1:2], between, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("shape", [(50, 71), (33, 32)])
    def test_sizes_that_no_stride_divides(self, shape, backbone):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        found = features(backbone, image, ["layer1", "layer3"], CPU)
        assert found.shape == (64 + 256, -(-shape[0] // 4), -(-shape[1] // 4))
        assert found.isfinite().all()

    @pytest.mark.parametrize(("layer", "stride"), [("layer1", 4), ("layer2", 8), ("layer3", 16)])
    def test_a_location_lies_on_its_pixel(self, layer, stride, backbone):
        """What it sees reaches as far to both sides of pixel ``s i``."""
        for name, parameter in backbone.named_parameters():
            if "conv" in name or "downsample.0" in name:
                nn.init.constant_(parameter, 1 / parameter[0].numel())
        # So that the greatest of equal pixels is not the only one that counts.
        backbone.maxpool = nn.AvgPool2d(3, 2, 1)
        side = 384
        images = torch.ones(1, 3, side, side, requires_grad=True)
        row, col = side // stride // 2, side // stride // 2 - 1
        backbone(images)[layer][0, :, row, col].sum().backward()
        seen = images.grad[0].abs().sum(0) > 0
        for at, reached in ((row, seen.any(1).nonzero()), (col, seen.any(0).nonzero())):
            assert reached.min() > 0
            assert reached.max() < side - 1
            assert (reached.min() + reached.max()) / 2 == stride * at


COLOURS = np.array([[30, 30, 30], [220, 40, 40], [40, 60, 220]], np.uint8)


def coloured(number, shape=(64, 96), categories=(0, 1, 5)):
    """An image of one colour a category, and the category of every pixel: blocks of 32 pixels."""
    rng = np.random.default_rng(number)
    blocks = rng.permutation(np.arange(6) % len(categories)).reshape(2, 3)
    which = cv2.resize(blocks.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
    noise = rng.integers(-8, 9, (*shape, 3))
    return (COLOURS[which] + noise).astype(np.uint8), np.array(categories, np.int32)[which]


class TestEvaluate:
    SETTINGS = Segmentation(layers=["layer1", "layer2"], short_side=64)

    def run(self, backbone, read, settings=SETTINGS, seed=0):
        train, test = (((p, *read(p)) for p in part) for part in (range(6), range(6, 10)))
        pairs = evaluate(
            backbone,
            train,
            test,
            settings=settings,
            seed=seed,
            device=CPU,
            section="downstream.segmentation",
        )
        return miou(pairs)

    @pytest.mark.parametrize("categories", [(0, 1, 5), (0, 3)])
    def test_categories_that_colours_tell_apart(self, categories, backbone):
        found = self.run(backbone, lambda p: coloured(p, categories=categories))
        assert set(found) == {"miou", "accuracy"}
        assert found["accuracy"] > 0.95
        assert found["miou"] > 0.9

    def test_labels_are_those_of_full_size(self, backbone):
        settings = Segmentation(layers=["layer1"], short_side=64)
        found = self.run(backbone, lambda p: coloured(p, (160, 240)), settings)
        assert found["miou"] > 0.9

    def test_labels_that_nothing_tells_apart(self, backbone):
        def read(position):
            image, labels = coloured(position)
            return image, np.random.default_rng(position).permutation(labels.ravel()).reshape(
                labels.shape
            )

        assert self.run(backbone, read)["accuracy"] == pytest.approx(1 / 3, abs=0.1)

    def test_it_depends_on_the_seed_alone(self, backbone):
        settings = Segmentation(layers=["layer1"], short_side=64, locations=4)
        found = [self.run(backbone, coloured, settings, seed) for seed in (0, 1, 0)]
        assert found[0] == found[2]
        assert found[0] != found[1]

    def test_ignored_pixels_count_nowhere(self, backbone):
        """Half of each image is grey, and has no label or, on one side, a new one."""

        def score(positions, label):
            def read(position):
                image, labels = coloured(position)
                image[:, :48] = 127
                labels[:, :48] = label if position in positions else IGNORED
                labels[:, 48:56] = IGNORED  # what lies there sees both
                return image, labels

            return self.run(backbone, read)["accuracy"]

        assert score((), 9) > 0.95
        # Trained on or not, it is told apart; tested, it is known where it was trained on alone.
        assert score(range(6), 9) > 0.95
        assert score(range(10), 9) > 0.95
        assert score(range(6, 10), 9) < 0.6

    def test_what_is_ignored_is_no_category_of_its_own(self, backbone):
        """Of the images for training, most pixels are; of those for testing, none."""

        def read(position):
            image, labels = coloured(position)
            if position < 6:
                labels[np.random.default_rng(position).random(labels.shape) < 0.7] = IGNORED
            return image, labels

        assert self.run(backbone, read)["accuracy"] > 0.95

    def test_only_labelled_pixels_are_scored(self, backbone):
        """One in the middle of each block, where no border blurs anything."""

        def read(position):
            image, labels = coloured(position)
            if position >= 6:
                kept = labels[16::32, 16::32].copy()
                labels[:] = IGNORED
                labels[16::32, 16::32] = kept
            return image, labels

        assert self.run(backbone, read) == {"miou": 1.0, "accuracy": 1.0}

    @pytest.mark.parametrize("label", [IGNORED, 0, 4])
    def test_less_than_two_categories(self, label, backbone, refused):
        def read(position):
            image, labels = coloured(position)
            return image, labels if position >= 6 else np.full_like(labels, label)

        with refused("downstream.segmentation: the 6 images", "less than two categories"):
            self.run(backbone, read)

    def test_no_labelled_pixel_to_test(self, backbone, refused):
        def read(position):
            image, labels = coloured(position)
            return image, labels if position < 6 else np.full_like(labels, IGNORED)

        with refused("downstream.segmentation", "no labelled pixel"):
            self.run(backbone, read)
