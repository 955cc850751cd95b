"""Parts of detectors: resizing as Pillow does it, and features of boxes as RoIAlign gives them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import RoIAlign

from cyborgs.evaluation.detector_parts import Align, Resizing, resized_size

BOXES = [[8, 8, 48, 56], [50, 4, 90, 40]]


class TestResizing:
    @pytest.mark.parametrize(
        ("height", "width", "side", "longest", "expected"),
        [
            (480, 640, 800, 1333, (800, 1067)),
            (427, 640, 800, 1333, (800, 1199)),
            (640, 427, 480, 1333, (719, 480)),
            (480, 640, 480, 1333, (480, 640)),
            (300, 900, 800, 1333, (444, 1333)),
            (97, 500, 800, 1333, (259, 1333)),
            # Half a pixel is one.
            (64, 65, 96, 1333, (96, 98)),
        ],
    )
    def test_sizes(self, height, width, side, longest, expected):
        assert resized_size(height, width, side, longest) == expected

    @pytest.mark.parametrize("size", [(50, 71), (128, 99), (200, 310)])
    def test_pictures_are_those_of_pillow(self, size):
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        mean, deviation = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
        resizing = Resizing([96], 200, mean, deviation).eval()
        images, _ = resizing([torch.from_numpy(pixels).permute(2, 0, 1).float() / 255])
        height, width = images.image_sizes[0]
        expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
        expected = (np.asarray(expected) / 255 - mean) / deviation
        found = images.tensors[0, :, :height, :width].permute(1, 2, 0).numpy()
        levels = np.abs(found - expected) * deviation * 255
        # Pillow rounds its weights, and twice.
        assert levels.max() < 1.01
        assert levels.mean() < 0.3
        # Grey levels, before they were normalised.
        whole = (found * deviation + mean) * 255
        assert np.abs(whole - whole.round()).max() < 0.01

    def test_boxes_and_masks_go_along(self):
        mask = torch.zeros(2, 64, 96, dtype=torch.uint8)
        boxes = torch.tensor(BOXES, dtype=torch.float32)
        for own, (left, top, right, bottom) in zip(mask, BOXES, strict=True):
            own[top:bottom, left:right] = 1
        resizing = Resizing([128], 1000, [0.0] * 3, [1.0] * 3).train()
        target = {"boxes": boxes, "masks": mask, "labels": torch.tensor([1, 4])}
        images, (found,) = resizing([torch.rand(3, 64, 96)], [target])
        assert images.image_sizes == [(128, 192)]
        assert torch.equal(found["boxes"], 2 * boxes)
        expected = mask.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        assert torch.equal(found["masks"], expected)
        assert found["masks"].dtype == torch.uint8
        # The example itself is left as it was.
        assert target["masks"].shape == (2, 64, 96)


class TestAlign:
    def test_agrees_with_torchvision(self):
        torch.manual_seed(0)
        features = torch.randn(2, 5, 4, 6)
        first = [[3.2, 5.1, 60.7, 44.0], [0.0, 0.0, 95.0, 63.0], [40.5, 40.5, 41.5, 41.5]]
        boxes = [torch.tensor(first), torch.tensor(first[:1]) + 2]
        expected = RoIAlign(14, 1 / 16, sampling_ratio=0, aligned=True)(features, boxes)
        found = Align(14, [16])({"0": features}, boxes, [(64, 96)] * 2)
        assert found.shape == (4, 5, 14, 14)
        assert torch.equal(found, expected)
        assert not torch.equal(found, RoIAlign(14, 1 / 16, 0, aligned=False)(features, boxes))

    def test_bins_of_a_ramp_are_the_places_of_their_centres(self):
        """A feature that is its own column: pixel edges ``x`` lie at ``x / 16 - 0.5``."""
        features = torch.arange(12.0).expand(1, 1, 10, 12)
        left, right = 24.0, 120.0
        box = torch.tensor([[left, 20.0, right, 100.0]])
        found = Align(14, [16])({"0": features}, [box], [(160, 192)])
        centres = left + (right - left) * (torch.arange(14) + 0.5) / 14
        torch.testing.assert_close(found[0, 0], (centres / 16 - 0.5).expand(14, 14))

    @pytest.mark.parametrize(
        ("side", "stride"),
        [(1, 4), (111, 4), (112, 8), (223, 8), (224, 16), (447, 16), (448, 32), (2000, 32)],
    )
    def test_levels_by_the_size_of_a_box(self, side, stride):
        """Of feature maps that tell their stride."""
        maps = {str(n): torch.full((1, 1, 8, 8), 4.0 * 2**n) for n in range(5)}
        box = torch.tensor([[0.0, 0.0, side, side]])
        found = Align(7, [4, 8, 16, 32])(maps, [box], [(2048, 2048)])
        assert found.shape == (1, 1, 7, 7)
        assert found[0, 0, 0, 0] == stride

    def test_each_box_of_its_level_and_image(self):
        torch.manual_seed(0)
        strides = [4, 8, 16, 32]
        maps = [torch.randn(2, 3, 512 // s, 512 // s) for s in strides]
        first = torch.tensor([[300.0, 20, 340, 90], [3, 5, 480, 500], [10.5, 10.5, 150, 160]])
        second = torch.tensor([[7.3, 1.1, 260.2, 270.9]])
        found = Align(7, strides)({str(n): m for n, m in enumerate(maps)}, [first, second], [])
        for number, (image, box, level) in enumerate(
            [(0, first[0], 0), (0, first[1], 3), (0, first[2], 1), (1, second[0], 2)]
        ):
            align = RoIAlign(7, 1 / strides[level], sampling_ratio=0, aligned=True)
            expected = align(maps[level][image : image + 1], [box[None]])[0]
            torch.testing.assert_close(found[number], expected)

    def test_no_boxes(self):
        maps = {str(n): torch.zeros(2, 3, 8, 8) for n in range(4)}
        none = torch.zeros(0, 4)
        assert Align(7, [4, 8, 16, 32])(maps, [none, none], []).shape == (0, 3, 7, 7)
