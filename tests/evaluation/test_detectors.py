"""Detectors: what they hold of the backbone, what they learn, and what they give."""

import numpy as np
import pytest
import torch
from torch import nn

from cyborgs.evaluation.coco_instances import CocoInstances
from cyborgs.evaluation.detectors import (
    faster_rcnn,
    mask_rcnn,
    parameter_groups,
    use_test_side,
)
from cyborgs.evaluation.voc_detection import VocDetection
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.resnet import IMAGENET
from cyborgs.models.normalise import normalise
from tests.precision import needs_bfloat16

CLASSES = 4
BOXES = [[8, 8, 48, 56], [50, 4, 90, 40]]
LOSSES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
SIZES = {"sides": [64], "test_side": 64, "longest": 256}


@pytest.fixture(autouse=True)
def _one_thread():
    """More gain nothing on images this small, and get in each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(kind, **changes):
    """A backbone and the detector on it, with few proposals."""
    torch.manual_seed(0)
    backbone = Backbone("resnet18")
    make, section = {
        "faster": (faster_rcnn, VocDetection),
        "mask": (mask_rcnn, CocoInstances),
    }[kind]
    detector = make(backbone, CLASSES, section(**SIZES | changes))
    detector.network.roi_heads.fg_bg_sampler.batch_size_per_image = 8
    detector.network.roi_heads.detections_per_img = 4
    detector.network.rpn._post_nms_top_n = {"training": 16, "testing": 16}
    return backbone, detector


def batch(kind, size=(64, 96)):
    rng = np.random.default_rng(1)
    example = {
        "image": torch.from_numpy(rng.integers(0, 256, (*size, 3), np.uint8)),
        "boxes": torch.tensor(BOXES, dtype=torch.float32),
        "labels": torch.tensor([1, 4]),
        "name": "",
    }
    if kind == "mask":
        masks = torch.zeros((2, *size), dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, BOXES, strict=True):
            mask[top:bottom, left:right] = 1
        example["masks"] = masks
    return [example, example]


def seen_by_backbone(detector):
    """What comes into the backbone from now on."""
    seen = []
    detector.network.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    return seen


both = pytest.mark.parametrize("kind", ["faster", "mask"])


class TestParts:
    @both
    def test_the_very_tensors_of_the_backbone_are_in_it(self, kind):
        backbone, detector = build(kind)
        held = {id(t) for t in (*detector.parameters(), *detector.buffers())}
        for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()):
            assert id(tensor) in held, name
        assert all(p.requires_grad for p in detector.parameters())

    def test_layer4_and_an_extra_norm_are_the_head_of_c4(self):
        backbone, detector = build("faster")
        head = detector.network.roi_heads.box_head
        norms = [m for m in head.modules() if isinstance(m, nn.BatchNorm2d)]
        inside = [m for m in backbone.layer4.modules() if isinstance(m, nn.BatchNorm2d)]
        (extra,) = (m for m in norms if all(m is not other for other in inside))
        assert extra.num_features == 512
        detector.eval()
        nn.init.uniform_(extra.weight)
        nn.init.uniform_(extra.bias)
        nn.init.uniform_(extra.running_mean)
        regions = torch.randn(3, 256, 14, 14)
        with torch.no_grad():
            x = backbone.layer4(regions).mean((2, 3))
            expected = (x - extra.running_mean) / (1 + extra.eps) ** 0.5
            expected = expected * extra.weight + extra.bias
            torch.testing.assert_close(head(regions), expected, rtol=1e-4, atol=1e-4)

    def test_c4_features_are_layer3_at_stride_16(self):
        backbone, detector = build("faster")
        detector.eval()
        images = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            (features,) = detector.network.backbone(images).values()
            assert features.shape == (1, 256, 64 // 16, 96 // 16)
            assert torch.equal(features, backbone(images)["layer3"])

    def test_every_convolution_of_the_pyramid_has_its_norm(self):
        backbone, detector = build("mask")
        inside = {id(m) for m in backbone.modules()}
        kinds = [type(m) for m in detector.network.backbone.modules() if id(m) not in inside]
        # One for each layer's channels, and one for each level.
        assert kinds.count(nn.Conv2d) == 8
        assert kinds.count(nn.BatchNorm2d) == 8

    def test_levels_of_the_pyramid(self):
        _, detector = build("mask")
        with torch.no_grad():
            levels = detector.network.backbone(torch.randn(1, 3, 64, 128))
        shapes = [tuple(level.shape) for level in levels.values()]
        assert shapes == [(1, 256, 64 // s, 128 // s) for s in (4, 8, 16, 32, 64)]

    @pytest.mark.parametrize(("kind", "expected"), [("faster", [15]), ("mask", [3] * 5)])
    def test_anchors_of_a_location(self, kind, expected):
        _, detector = build(kind)
        anchors = detector.network.rpn.anchor_generator
        assert anchors.num_anchors_per_location() == expected

    @both
    def test_sizes_and_shapes_of_anchors(self, kind):
        """As wide as their side over the root of the ratio; edges need not be whole pixels."""
        _, detector = build(kind)
        levels = [cells.tolist() for cells in detector.network.rpn.anchor_generator.cell_anchors]
        sides = [[32, 64, 128, 256, 512]] if kind == "faster" else [[32], [64], [128], [256], [512]]
        for cells, own in zip(levels, sides, strict=True):
            expected = [
                (-w / 2, -h / 2, w / 2, h / 2)
                for side in own
                for w, h in (
                    (side * 2**0.5, side / 2**0.5),
                    (side, side),
                    (side / 2**0.5, side * 2**0.5),
                )
            ]
            cells, expected = (sorted(np.round(c, 3).tolist()) for c in (cells, expected))
            assert np.array(cells) == pytest.approx(np.array(expected), abs=0.002)

    def test_where_features_of_boxes_come_from(self):
        _, faster = build("faster")
        pool = faster.network.roi_heads.box_roi_pool
        assert (pool.output_size, pool.strides) == ((14, 14), [16])
        _, mask = build("mask")
        heads = mask.network.roi_heads
        for pool, side in ((heads.box_roi_pool, 7), (heads.mask_roi_pool, 14)):
            assert (pool.output_size, pool.strides) == ((side, side), [4, 8, 16, 32])

    def test_initial_weights_of_the_heads(self):
        """As in Detectron2's `fast_rcnn.py`, `box_head.py` and `mask_head.py`."""
        _, mask = build("mask")
        _, faster = build("faster")
        for heads in (mask.network.roi_heads, faster.network.roi_heads):
            predictor = heads.box_predictor
            assert predictor.cls_score.weight.shape[0] == CLASSES + 1
            assert predictor.bbox_pred.weight.shape[0] == 4 * (CLASSES + 1)
            assert float(predictor.cls_score.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
            assert float(predictor.bbox_pred.weight.detach().std()) == pytest.approx(0.001, rel=0.1)
        heads = mask.network.roi_heads
        head, masks = heads.box_head, heads.mask_predictor
        assert head.fc6.weight.shape == (1024, 256 * 7 * 7)
        for layer in (head.fc6, head.fc7):
            # Uniform: variance 1 / inputs.
            expected = layer.in_features**-0.5
            assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.02)
            assert float(layer.weight.detach().abs().max()) <= 3**0.5 * expected
        assert float(masks.mask_fcn_logits.weight.detach().std()) == pytest.approx(0.001, rel=0.1)
        assert masks.mask_fcn_logits.weight.shape[0] == CLASSES + 1
        biases = [
            m.bias
            for part in (heads, faster.network.roi_heads)
            for m in part.modules()
            if isinstance(m, nn.Linear | nn.ConvTranspose2d | nn.Conv2d) and m.bias is not None
        ]
        assert len(biases) == 2 + 2 + 4 + 2 + 2
        assert not any(bias.detach().any() for bias in biases)


class TestLearning:
    @both
    @pytest.mark.parametrize(
        "precision", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]
    )
    def test_a_step_reaches_every_layer(self, kind, precision):
        backbone, detector = build(kind)
        detector.train()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            losses = detector(batch(kind))
        assert set(losses) == (LOSSES | {"loss_mask"} if kind == "mask" else LOSSES)
        assert all(loss.isfinite() for loss in losses.values())
        sum(loss.float() for loss in losses.values()).backward()
        for name, parameter in backbone.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            if name.endswith("conv1.weight"):
                assert parameter.grad.abs().max() > 0, name
        missed = [name for name, p in detector.named_parameters() if p.grad is None]
        assert not missed

    @both
    def test_norms_learn_their_statistics(self, kind):
        _, detector = build(kind)
        detector.train()
        before = {k: v.clone() for k, v in detector.named_buffers() if k.endswith("running_mean")}
        detector(batch(kind))
        after = dict(detector.named_buffers())
        assert all(not torch.equal(value, after[name]) for name, value in before.items())

    @both
    def test_every_parameter_is_in_one_group_and_norms_do_not_decay(self, kind):
        _, detector = build(kind)
        frozen = next(detector.parameters()).requires_grad_(False)
        groups = parameter_groups(detector, 0.25)
        listed = [id(p) for group in groups for p in group["params"]]
        assert len(listed) == len(set(listed))
        trained = {id(p) for p in detector.parameters()} - {id(frozen)}
        assert set(listed) == trained
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        for module in detector.modules():
            for parameter in module.parameters(recurse=False):
                if id(parameter) in trained:
                    norm = isinstance(module, nn.BatchNorm2d)
                    assert decay[id(parameter)] == (0 if norm else 0.25)


class TestPrecision:
    """Coordinates keep theirs, whatever the rest is computed in: of bfloat16, every eighth pixel
    is left beyond 1024."""

    @needs_bfloat16
    @both
    def test_boxes_that_are_trained_on_are_those_of_float32(self, kind):
        def targets(precision):
            _, detector = build(kind, sides=[64], longest=1333)
            seen = []
            coder = detector.network.roi_heads.box_coder
            original = coder.encode
            coder.encode = lambda truth, proposals: (
                seen.append(torch.cat(truth)) or original(truth, proposals)
            )
            examples = [batch(kind, (64, 1200))[0]]
            examples[0]["boxes"] = torch.tensor([[1003.3, 5.2, 1090.7, 60.1], [8, 8, 48, 56]])
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                detector.train()(examples)
            (boxes,) = seen
            assert boxes.dtype == torch.float32
            return {tuple(box) for box in boxes.tolist()}

        # Which of them are sampled may differ.
        assert targets(torch.bfloat16) | targets(torch.float32) == targets(torch.float32)

    @needs_bfloat16
    @both
    def test_what_is_found_is_in_float32(self, kind):
        _, detector = build(kind)
        detector.eval()
        use_test_side(detector, 64)
        examples = batch(kind, (64, 1200))[:1]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            (found,) = detector.detect(examples)
        assert len(found["boxes"])
        for name in ("boxes", "scores"):
            assert found[name].dtype == torch.float32
        # Not one of them rounded.
        assert not torch.equal(found["boxes"].bfloat16().float(), found["boxes"])


class TestImages:
    @both
    def test_the_backbone_sees_pixels_as_in_pretraining(self, kind):
        _, detector = build(kind)
        seen = seen_by_backbone(detector)
        examples = batch(kind)
        with torch.no_grad():
            detector.train()(examples)
        expected = normalise(torch.stack([e["image"] for e in examples]), IMAGENET)
        torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)

    def test_short_sides_are_drawn_in_training(self):
        _, detector = build("faster", sides=[64, 96])
        seen = seen_by_backbone(detector)
        torch.manual_seed(0)
        for _ in range(8):
            with torch.no_grad():
                detector.train()(batch("faster")[:1])
        # Padded to a multiple of 32 pixels: 64 x 96 and 96 x 144.
        assert {tuple(x.shape[-2:]) for x in seen} == {(64, 96), (96, 160)}

    @both
    def test_the_side_in_testing(self, kind):
        _, detector = build(kind, sides=[64, 96])
        detector.eval()
        seen = seen_by_backbone(detector)
        examples = batch(kind)[:1]
        with torch.no_grad():
            for side in (None, 128, 32, 250):
                if side is not None:
                    use_test_side(detector, side)
                detector.detect(examples)
        # The last one is held back by the longest side, 256 pixels.
        sizes = [tuple(x.shape[-2:]) for x in seen]
        assert sizes == [(96, 160), (128, 192), (32, 64), (192, 256)]

    @both
    @pytest.mark.parametrize(
        "precision", [torch.float32, pytest.param(torch.bfloat16, marks=needs_bfloat16)]
    )
    def test_detections_are_in_pixels_of_the_image(self, kind, precision):
        _, detector = build(kind)
        detector.eval()
        use_test_side(detector, 128)
        examples = batch(kind)[:1]
        with (
            torch.no_grad(),
            torch.autocast("cpu", precision, enabled=precision != torch.float32),
        ):
            (found,) = detector.detect(examples)
        number = len(found["scores"])
        assert 0 < number <= 4
        assert found["boxes"].shape == (number, 4)
        assert found["boxes"].min() >= 0
        assert found["boxes"][:, 2].max() <= 96
        assert found["boxes"][:, 3].max() <= 64
        assert set(found["labels"].tolist()) <= {1, 2, 3, 4}
        assert found["scores"].min() > 0.05
        if kind == "mask":
            assert found["masks"].shape == (number, 1, 64, 96)
            assert 0 <= found["masks"].min() <= found["masks"].max() <= 1
