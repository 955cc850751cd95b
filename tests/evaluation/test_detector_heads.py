"""Losses of detectors, by loops over what they are of."""

import math

import numpy as np
import pytest
import torch
from torchvision.models.detection.rpn import RPNHead

from cyborgs.evaluation.detector_heads import (
    Proposals,
    box_losses,
    mask_loss,
    mask_targets,
)
from cyborgs.evaluation.detector_parts import Anchors


def crossed(logits, label):
    """Cross entropy of one row."""
    return math.log(sum(math.exp(v) for v in logits)) - logits[label]


def binary(logit, wanted):
    """Binary cross entropy of one number."""
    return math.log(1 + math.exp(-logit if wanted else logit))


class TestBoxes:
    def test_by_loops(self):
        torch.manual_seed(0)
        scores, corrections = torch.randn(7, 4), torch.randn(7, 16)
        labels, deltas = torch.tensor([0, 3, 1, 0, 2, 2, 0]), torch.randn(7, 4)
        # Within torchvision's 1/9, where its loss would be another.
        corrections[1, 12:] = deltas[1] + 0.05
        found = box_losses(scores, corrections, labels, deltas)
        classes = [crossed(row, label) for row, label in zip(scores.tolist(), labels, strict=True)]
        distance = sum(
            abs(corrections[n, 4 * label + i] - deltas[n, i]).item()
            for n, label in enumerate(labels.tolist())
            if label
            for i in range(4)
        )
        assert found["loss_classifier"].item() == pytest.approx(np.mean(classes), rel=1e-5)
        assert found["loss_box_reg"].item() == pytest.approx(distance / 7, rel=1e-5)

    def test_background_alone(self):
        found = box_losses(
            torch.zeros(3, 2),
            torch.randn(3, 8),
            torch.zeros(3, dtype=torch.long),
            torch.zeros(3, 4),
        )
        assert found["loss_box_reg"] == 0
        assert found["loss_classifier"].item() == pytest.approx(math.log(2))


class TestProposals:
    @pytest.mark.parametrize("sampled", [256, 6])
    def test_by_loops(self, sampled):
        torch.manual_seed(0)
        top = {"training": 4, "testing": 4}
        network = Proposals(
            Anchors(((32,),), ((1.0,),)), RPNHead(8, 1), 0.7, 0.3, sampled, 0.5, top, top, 0.7
        )
        labels = [torch.tensor([1.0, 0, -1, 0, 1, 0]), torch.tensor([-1.0, 1, 0, 0, 1, 1])]
        logits, deltas = torch.randn(12, 1), torch.randn(12, 4)
        targets = [torch.randn(6, 4), torch.randn(6, 4)]
        # What it draws is drawn once, for both.
        drawn = network.fg_bg_sampler(labels)
        positive, negative = (torch.cat(which).bool().tolist() for which in drawn)
        network.fg_bg_sampler = lambda _: drawn
        objects, boxes = network.compute_loss(logits, deltas, labels, targets)
        every, wanted = torch.cat(labels).tolist(), torch.cat(targets)
        used = [n for n in range(12) if positive[n] or negative[n]]
        assert len(used) == min(10, 2 * sampled)
        entropy = np.mean([binary(logits[n, 0].item(), every[n]) for n in used])
        distance = sum((deltas[n] - wanted[n]).abs().sum().item() for n in used if every[n] == 1)
        assert objects.item() == pytest.approx(entropy, rel=1e-5)
        assert boxes.item() == pytest.approx(distance / len(used), rel=1e-5)


class TestMasks:
    def test_targets_are_majorities_of_cells(self):
        """Boxes whose cells hold whole pixels."""
        torch.manual_seed(0)
        masks = [torch.randint(0, 2, (2, 90, 120), dtype=torch.uint8) for _ in range(2)]
        boxes = [
            torch.tensor([[4.0, 6, 60, 90], [0, 0, 84, 28]]),
            torch.tensor([[8.0, 3, 120, 31]]),
        ]
        matched = [torch.tensor([1, 0]), torch.tensor([1])]
        found = mask_targets(masks, matched, boxes, 28)
        assert found.shape == (3, 28, 28)
        number = 0
        for own, which, at in zip(masks, matched, boxes, strict=True):
            for index, box in zip(which.tolist(), at.int().tolist(), strict=True):
                left, top, right, bottom = box
                cut = own[index, top:bottom, left:right].numpy()
                cells = cut.reshape(28, (bottom - top) // 28, 28, (right - left) // 28)
                expected = cells.mean((1, 3)) >= 0.5
                np.testing.assert_array_equal(found[number].numpy(), expected)
                number += 1

    def test_loss_by_loops(self):
        torch.manual_seed(0)
        logits, wanted = torch.randn(3, 4, 2, 2), torch.tensor([0.0, 1, 1, 0]).expand(3, 4)
        wanted = wanted.reshape(3, 2, 2)
        labels = torch.tensor([2, 1, 3])
        found = mask_loss(logits, labels, wanted).item()
        expected = [
            binary(logits[n, labels[n], y, x].item(), wanted[n, y, x].item())
            for n in range(3)
            for y in range(2)
            for x in range(2)
        ]
        assert found == pytest.approx(np.mean(expected), rel=1e-5)
