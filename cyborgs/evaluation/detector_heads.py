"""Heads of detectors, their losses and initial weights, which are Detectron2's.

Boxes have an L1 loss (torchvision: smooth below 1/9), and targets of masks are zeros and ones.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import roi_align


class Proposals(RegionProposalNetwork):  # type: ignore[misc]
    """A region proposal network with an L1 loss of boxes."""

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Losses of whether there is an object, and of boxes, each over all sampled anchors.

        Args:
            objectness: logit of each anchor of the batch, ``(anchors, 1)``.
            pred_bbox_deltas: ``(anchors, 4)``.
            labels: of each image's anchors: 1, 0, or -1 where they are not used.
            regression_targets: of each image's anchors, ``(n, 4)``.
        """
        positive, negative = (torch.cat(which).bool() for which in self.fg_bg_sampler(labels))
        sampled = positive | negative
        objects = F.binary_cross_entropy_with_logits(
            objectness[sampled, 0], torch.cat(labels)[sampled]
        )
        boxes = F.l1_loss(
            pred_bbox_deltas[positive], torch.cat(regression_targets)[positive], reduction="sum"
        )
        return objects, boxes / sampled.sum()


class Heads(RoIHeads):  # type: ignore[misc]
    """Heads that classify proposals, correct their boxes and, where they have parts for it, draw
    masks."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections of each image, or losses by name in training."""
        if not self.training:
            found: tuple[list[dict[str, Tensor]], dict[str, Tensor]] = super().forward(
                features, proposals, image_shapes
            )
            return found
        assert targets is not None
        boxes, matched, labels, deltas = self.select_training_samples(proposals, targets)
        pooled = self.box_roi_pool(features, boxes, image_shapes)
        scores, corrections = self.box_predictor(self.box_head(pooled))
        losses = box_losses(scores, corrections, torch.cat(labels), torch.cat(deltas))
        if self.has_mask():
            # Only proposals that match an object.  There are always some: true boxes are added to
            # them.
            shown = [own > 0 for own in labels]
            boxes, matched, labels = (
                [part[own] for part, own in zip(parts, shown, strict=True)]
                for parts in (boxes, matched, labels)
            )
            pooled = self.mask_roi_pool(features, boxes, image_shapes)
            logits = self.mask_predictor(self.mask_head(pooled))
            given = [target["masks"] for target in targets]
            wanted = mask_targets(given, matched, boxes, logits.shape[-1])
            losses["loss_mask"] = mask_loss(logits, torch.cat(labels), wanted)
        return [], losses


def box_losses(
    scores: Tensor, corrections: Tensor, labels: Tensor, deltas: Tensor
) -> dict[str, Tensor]:
    """Cross entropy of classes, and the L1 distance of boxes of objects, over all proposals.

    Args:
        scores: logits ``(proposals, classes + 1)``, background first.
        corrections: a box for each class, ``(proposals, 4 * (classes + 1))``.
        labels: ``(proposals,)``, 0 for background.
        deltas: what the corrections should be, ``(proposals, 4)``.
    """
    objects = torch.where(labels > 0)[0]
    own = corrections.view(len(labels), -1, 4)[objects, labels[objects]]
    distance = F.l1_loss(own, deltas[objects], reduction="sum")
    return {
        "loss_classifier": F.cross_entropy(scores, labels),
        "loss_box_reg": distance / len(labels),
    }


def mask_targets(
    masks: Sequence[Tensor], matched: Sequence[Tensor], boxes: Sequence[Tensor], side: int
) -> Tensor:
    """Masks as seen from boxes, 0 or 1: float32 ``(boxes, side, side)``.

    A cell is 1 where half of it or more is inside the mask (Detectron2's `BitMasks`).

    Args:
        masks: of each image, ``(objects, height, width)``, 0 or 1.
        matched: number of the object of each box of an image.
        boxes: of each image, edges in pixels, ``(n, 4)``.
        side: cells along a side.
    """
    found = [
        roi_align(
            own[:, None].float(),
            torch.cat([which[:, None].to(at.dtype), at], dim=1),
            (side, side),
            sampling_ratio=0,
            aligned=True,
        )
        for own, which, at in zip(masks, matched, boxes, strict=True)
    ]
    return (torch.cat(found)[:, 0] >= 0.5).float()


def mask_loss(logits: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross entropy of the masks of the boxes' own classes.

    Args:
        logits: ``(boxes, classes + 1, side, side)``.
        labels: class of each box, from 1.
        wanted: ``(boxes, side, side)``, 0 or 1.
    """
    own = logits[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(own, wanted)


def box_predictor(width: int, classes: int) -> FastRCNNPredictor:
    predictor = FastRCNNPredictor(width, classes + 1)
    for layer, deviation in ((predictor.cls_score, 0.01), (predictor.bbox_pred, 0.001)):
        nn.init.normal_(layer.weight, std=deviation)
        nn.init.zeros_(layer.bias)
    return predictor


def box_head(inputs: int, width: int) -> TwoMLPHead:
    head = TwoMLPHead(inputs, width)
    for layer in (head.fc6, head.fc7):
        nn.init.kaiming_uniform_(layer.weight, a=1)
        nn.init.zeros_(layer.bias)
    return head


def mask_predictor(width: int, classes: int) -> MaskRCNNPredictor:
    predictor = MaskRCNNPredictor(width, width, classes + 1)
    nn.init.normal_(predictor.mask_fcn_logits.weight, std=0.001)
    for layer in (predictor.conv5_mask, predictor.mask_fcn_logits):
        nn.init.zeros_(layer.bias)
    return predictor
