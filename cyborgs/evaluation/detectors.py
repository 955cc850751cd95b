"""Detectors on a pretrained backbone, of torchvision's parts.

Faster R-CNN (Ren et al., 2015) on layer3's output, with layer4 as its head, and Mask R-CNN (He et
al., 2017) on a feature pyramid (Lin et al., 2017): as Detectron2's R50-C4 and R50-FPN are, with the
normalisation that MoCo (He et al., 2020, section 4.2) adds.  Where torchvision's parts are others
than Detectron2's, `detector_parts` and `detector_heads` have them; docs/evaluation.md says what
remains torchvision's.
"""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from cyborgs.evaluation.data.detection import Example
from cyborgs.evaluation.detector_heads import (
    Heads,
    Proposals,
    box_head,
    box_predictor,
    mask_predictor,
)
from cyborgs.evaluation.detector_parts import RATIOS, SIDES, Align, Anchors, Resizing
from cyborgs.evaluation.settings import Detection
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.models.backbones.family import Statistics
from cyborgs.models.backbones.resnet import LAYERS
from cyborgs.runtime.memory import give_back

# Detections of an image that are kept, and the least score of one (Detectron2's defaults).
KEPT, LEAST = 100, 0.05

# Batches after which memory that was kept is given back; asking for it anew takes time.
_TIDY = 16


class Detector(nn.Module):
    """One of torchvision's detectors, by examples.

    In autocast its convolutions and matrix products are in half precision.  Their outputs become
    float32 again before they meet boxes: torchvision gives boxes the type of what they meet, and
    among pixels beyond 512, bfloat16 knows every fourth.

    Args:
        network: the detector.
    """

    def __init__(self, network: GeneralizedRCNN) -> None:
        super().__init__()
        self.network = network
        self._batches = 0
        heads = network.roi_heads
        for part in (network.backbone, network.rpn.head, heads.box_predictor, heads.mask_predictor):
            if part is not None:
                part.register_forward_hook(_hook)

    def forward(self, batch: list[Example]) -> dict[str, Tensor]:
        """Losses by name, of a batch of `cyborgs.evaluation.data.detection.TrainingExamples`."""
        targets = [
            {name: example[name] for name in ("boxes", "labels", "masks") if name in example}
            for example in batch
        ]
        losses: dict[str, Tensor] = self.network(self._images(batch), targets)
        return losses

    def detect(self, batch: list[Example]) -> list[dict[str, Tensor]]:
        """``boxes``, ``scores``, ``labels`` and ``masks`` of each image, in its own pixels."""
        found: list[dict[str, Tensor]] = self.network(self._images(batch))
        return found

    def _images(self, batch: list[Example]) -> list[Tensor]:
        """uint8 ``(height, width, 3)`` to float32 ``(3, height, width)`` in 0 … 1."""
        self._batches += 1
        if self._batches % _TIDY == 0 and batch[0]["image"].device.type == "cpu":
            # Images of changing sizes fragment the memory, by gigabytes in the long run.
            give_back()
        return [example["image"].permute(2, 0, 1).float() / 255 for example in batch]


def _hook(_module: nn.Module, _arguments: Any, output: Any) -> Any:
    return _as_float32(output)


def _as_float32(output: Any) -> Any:
    """A tensor, or those in lists, tuples and dicts, as float32."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, dict):
        return {name: _as_float32(value) for name, value in output.items()}
    return type(output)(_as_float32(value) for value in output)


def faster_rcnn(backbone: Backbone, classes: int, settings: Detection) -> Detector:
    """Faster R-CNN R50-C4 with an extra BatchNorm behind layer4.

    Args:
        backbone: all of whose layers will be trained.
        classes: number of classes, without background.
        settings: sizes of images.
    """
    width = backbone.stages["layer4"].channels
    return _detector(
        _UpToLayer3(backbone),
        Anchors((SIDES,), (RATIOS,)),
        proposed={"training": 12000, "testing": 6000},
        kept={"training": 2000, "testing": 1000},
        parts={
            "box_roi_pool": Align(14, [16]),
            "box_head": _Layer4Head(backbone.get_submodule("layer4"), width),
            "box_predictor": box_predictor(width, classes),
        },
        settings=settings,
        statistics=backbone.statistics,
    )


def mask_rcnn(backbone: Backbone, classes: int, settings: Detection) -> Detector:
    """Mask R-CNN R50-FPN, with BatchNorm in the pyramid; arguments as `faster_rcnn`."""
    strides, width, channels = [4, 8, 16, 32], 1024, _Pyramid.out_channels
    return _detector(
        _Pyramid(backbone),
        Anchors([(side,) for side in SIDES], [RATIOS] * len(SIDES)),
        # Of each level.
        proposed={"training": 2000, "testing": 1000},
        kept={"training": 1000, "testing": 1000},
        parts={
            "box_roi_pool": Align(7, strides),
            "box_head": box_head(channels * 7**2, width),
            "box_predictor": box_predictor(width, classes),
            "mask_roi_pool": Align(14, strides),
            "mask_head": MaskRCNNHeads(channels, [channels] * 4, dilation=1),
            "mask_predictor": mask_predictor(channels, classes),
        },
        settings=settings,
        statistics=backbone.statistics,
    )


def _detector(
    body: nn.Module,
    anchors: Anchors,
    *,
    proposed: dict[str, int],
    kept: dict[str, int],
    parts: dict[str, nn.Module],
    settings: Detection,
    statistics: Statistics,
) -> Detector:
    """A detector of a body and heads; numbers that are not given are Detectron2's defaults.

    ``proposed`` and ``kept`` are numbers of proposals, in training and testing, before and after
    those that overlap are dropped.
    """
    proposals = Proposals(
        anchors,
        RPNHead(body.out_channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n=proposed,
        post_nms_top_n=kept,
        nms_thresh=0.7,
    )
    heads = Heads(
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=512,
        positive_fraction=0.25,
        bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
        score_thresh=LEAST,
        nms_thresh=0.5,
        detections_per_img=KEPT,
        **parts,
    )
    mean, deviation = ([value / 255 for value in values] for values in statistics)
    resizing = Resizing(settings.sides, settings.longest, mean, deviation)
    return Detector(GeneralizedRCNN(body, proposals, heads, resizing))


def use_test_side(detector: Detector, side: int) -> None:
    """Give images this short side from now on: torchvision would take the largest for training."""
    detector.network.transform.min_size = (side,)


class _UpToLayer3(nn.Module):
    """A backbone without its last layer."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.out_channels = backbone.stages["layer3"].channels
        self.stem = nn.Sequential(
            OrderedDict(
                (name, getattr(backbone, name)) for name in ("conv1", "bn1", "relu", "maxpool")
            )
        )
        self.layers = nn.Sequential(
            OrderedDict((name, getattr(backbone, name)) for name in LAYERS[:3])
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"0": self.layers(self.stem(images))}


class _Layer4Head(nn.Module):
    """layer4, the extra BatchNorm, and the mean: ``(n, channels, 14, 14)`` to ``(n, width)``."""

    def __init__(self, layer4: nn.Module, width: int) -> None:
        super().__init__()
        self.layer4 = layer4
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.layer4(x)).mean((2, 3))
        return out


class _Pyramid(nn.Module):
    """A backbone and a feature pyramid on its four layers, of 256 channels each."""

    out_channels = 256

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = FeaturePyramidNetwork(
            [stage.channels for stage in backbone.stages.values()],
            self.out_channels,
            extra_blocks=LastLevelMaxPool(),
            norm_layer=nn.BatchNorm2d,
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = OrderedDict(enumerate(self.backbone(images).values()))
        # Names that torchvision's RoIAlign of several levels looks for.
        levels: dict[str, Tensor] = self.pyramid(
            OrderedDict((str(number), value) for number, value in features.items())
        )
        return levels


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters for SGD: no weight decay on BatchNorm, as Detectron2 has it."""
    norms = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False)
    }
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if id(p) not in norms], "weight_decay": weight_decay},
        {"params": [p for p in trained if id(p) in norms], "weight_decay": 0.0},
    ]
