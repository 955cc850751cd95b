"""Parts of detectors: resizing as Pillow does it, and features of boxes as RoIAlign gives them."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import RoIAlign

from cyborgs.evaluation.detector_parts import Align, Resizing, placed, resized_size

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


def put_back(mask, box, height, width):
    """A mask at the centres of pixels, by loops: linear between cells, with zeros around it."""
    side = len(mask)
    padded = np.pad(mask, 1)
    out = np.zeros((height, width))
    left, top, right, bottom = box
    for y in range(height):
        for x in range(width):
            # In cells of the padded mask, from the centre of its first one.
            v = (y + 0.5 - top) / (bottom - top) * side + 0.5
            u = (x + 0.5 - left) / (right - left) * side + 0.5
            if not (0 <= v < side + 1 and 0 <= u < side + 1):
                continue
            row, col = int(v), int(u)
            b, a = v - row, u - col
            four = padded[row : row + 2, col : col + 2]
            out[y, x] = (1 - b) * ((1 - a) * four[0, 0] + a * four[0, 1]) + b * (
                (1 - a) * four[1, 0] + a * four[1, 1]
            )
    return out


class TestPlaced:
    @pytest.mark.parametrize(
        "box",
        [
            (3.2, 5.7, 22.9, 17.1),
            (0.0, 0.0, 30.0, 24.0),
            # Larger cells than pixels, and smaller ones; a part of the first is outside.
            (-4.0, -3.5, 60.0, 11.0),
            (10.2, 10.4, 12.1, 12.9),
        ],
    )
    def test_by_loops(self, box):
        mask = np.random.default_rng(0).random((6, 6))
        found = placed(torch.tensor(mask)[None, None], torch.tensor([box]), 24, 30)
        assert found.shape == (1, 1, 24, 30)
        np.testing.assert_allclose(found[0, 0], put_back(mask, box, 24, 30), atol=1e-5)

    def test_each_in_its_box(self):
        masks = torch.ones(3, 1, 4, 4)
        boxes = torch.tensor([[2.0, 2, 10, 10], [12, 4, 20, 8], [40, 4, 50, 9]])
        found = placed(masks, boxes, 12, 24) >= 0.5
        assert [int(mask.sum()) for mask in found] == [64, 32, 0]
        assert found[0, 0, 2:10, 2:10].all()
        assert found[1, 0, 4:8, 12:20].all()

    def test_boxes_without_area_hold_nothing(self):
        boxes = torch.tensor([[5.0, 5, 5, 9], [5, 5, 9, 5]])
        assert not placed(torch.ones(2, 1, 4, 4), boxes, 12, 12).any()

    def test_none(self):
        assert placed(torch.ones(0, 1, 4, 4), torch.zeros(0, 4), 12, 14).shape == (0, 1, 12, 14)


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
