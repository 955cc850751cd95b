"""VOC07+12 detection: a Faster R-CNN, all of whose layers are trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.evaluation.kinds import Trained
from cyborgs.evaluation.settings import Detection, Iterations, Milestones, Sides, Warmup
from cyborgs.models.backbones.resnet import BLOCKS

# Imported here because it loads torch: reading a configuration must stay fast.
if TYPE_CHECKING:
    from cyborgs.evaluation.task import Task


class VocDetection(Detection):
    """VOC07+12 detection: Faster R-CNN, all layers trained (MoCo, He et al., 2020)."""

    SHORT: ClassVar[dict[str, Any]] = Detection.SHORT | {
        "iterations": 6000,
        "milestones": [4500, 5500],
    }

    iterations: Iterations = 24000
    milestones: Milestones = Field([18000, 22000])
    warmup: Warmup = 100
    sides: Sides = Field(list(range(480, 801, 32)))


def fits(settings: VocDetection, architecture: str) -> None:
    """Raise `InputError` where the architecture is no ResNet."""
    if architecture not in BLOCKS:
        raise InputError(
            "downstream.voc_detection: its Faster R-CNN (R50-C4) is built of a ResNet's layers, "
            f"and {architecture} is not a ResNet; take coco_instances, or another evaluation"
        )


def task(settings: VocDetection, datasets: Path) -> Task:
    """VOC07+12 detection: trained on trainval of 2007 and 2012, scored on test of 2007.

    Raises `InputError` where ``datasets/VOC2007`` or ``VOC2012`` is missing or damaged.
    """
    from cyborgs.evaluation.data.voc import voc_classes, voc_objects
    from cyborgs.evaluation.detection import detection
    from cyborgs.evaluation.detectors import faster_rcnn

    years = [datasets / "VOC2007", datasets / "VOC2012"]
    classes = voc_classes(years[0])
    return detection(
        "voc_detection",
        settings,
        voc_objects(years, "trainval", classes),
        voc_objects(years[:1], "test", classes),
        build=faster_rcnn,
        # Detectron2 trains on VOC's difficult objects, and not on COCO's crowds.
        ignored=True,
    )


VOC_DETECTION = Trained(
    name="voc_detection",
    title="VOC07+12 detection: Faster R-CNN",
    about="VOC07+12 detection: train and score a Faster R-CNN",
    metrics={
        "ap": "AP",
        "ap50": "AP50",
        "ap75": "AP75",
        "voc_ap": "AP (VOC)",
        "voc_ap50": "AP50 (VOC)",
        "voc_ap75": "AP75 (VOC)",
    },
    headline="ap",
    settings=VocDetection(),
    version=3,
    needed=(
        "VOC2007/ImageSets/Main/trainval.txt",
        "VOC2007/ImageSets/Main/test.txt",
        "VOC2007/JPEGImages",
        "VOC2007/Annotations",
        "VOC2012/ImageSets/Main/trainval.txt",
        "VOC2012/JPEGImages",
        "VOC2012/Annotations",
    ),
    fits=fits,
    task=task,
)
