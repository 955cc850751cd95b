"""COCO instance segmentation: a Mask R-CNN, all of whose layers are trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from cyborgs.common.errors import InputError
from cyborgs.common.progress import say
from cyborgs.evaluation.kinds import Trained
from cyborgs.evaluation.settings import Detection, Iterations, Milestones, Sides, Warmup
from cyborgs.models.backbones import stages_of

# Imported here because it loads torch: reading a configuration must stay fast.
if TYPE_CHECKING:
    from cyborgs.evaluation.task import Task


class CocoInstances(Detection):
    """COCO instance segmentation: Mask R-CNN, all layers trained (MoCo, He et al., 2020)."""

    SHORT: ClassVar[dict[str, Any]] = Detection.SHORT | {
        "iterations": 22500,
        "milestones": [15000, 20000],
    }

    iterations: Iterations = 180000
    milestones: Milestones = Field([120000, 160000])
    warmup: Warmup = 1000
    sides: Sides = Field(list(range(640, 801, 32)))


def fits(settings: CocoInstances, architecture: str) -> None:
    """Raise `InputError` where the architecture has no pyramid."""
    strides = [stage.stride for stage in stages_of(architecture)]
    if strides != [4, 8, 16, 32]:
        raise InputError(
            "downstream.coco_instances: its feature pyramid needs stages of strides 4, 8, 16 and "
            f"32, and {architecture} has {', '.join(map(str, strides))}"
        )


def task(settings: CocoInstances, datasets: Path) -> Task:
    """COCO instance segmentation: trained on train2017, scored on val2017.

    Raises `InputError` where ``datasets/coco`` is missing or damaged.
    """
    from cyborgs.evaluation.data.detection import coco_objects
    from cyborgs.evaluation.detection import detection
    from cyborgs.evaluation.detectors import mask_rcnn
    from cyborgs.runtime import distributed

    coco = datasets / "coco"
    train, test = (
        coco_objects(coco / split, coco / f"annotations/instances_{split}.json")
        for split in ("train2017", "val2017")
    )
    if train.classes != test.classes:
        raise InputError(
            f"{coco / 'annotations'}: the categories of train2017 and val2017 are not the same"
        )
    for found in (train, test):
        assert found.truth is not None
        if found.truth.orphaned and distributed.rank() == 0:
            say(
                f"coco_instances: {len(found.truth.orphaned)} annotations are of images that their "
                f"file does not list, {found.truth.orphaned[0]} among them; they are left out"
            )
    assert test.truth is not None
    # Otherwise scoring would fail on this after days of training.
    test.truth.for_scoring()
    # The JSON as a whole: gigabytes, in every process.
    train = replace(train, truth=None)
    return detection("coco_instances", settings, train, test, build=mask_rcnn, ignored=False)


COCO_INSTANCES = Trained(
    name="coco_instances",
    title="COCO instance segmentation: Mask R-CNN",
    about="COCO instance segmentation: train and score a Mask R-CNN",
    metrics={
        "ap": "box AP",
        "ap50": "box AP50",
        "ap75": "box AP75",
        "mask_ap": "mask AP",
        "mask_ap50": "mask AP50",
        "mask_ap75": "mask AP75",
    },
    headline="ap",
    settings=CocoInstances(),
    version=3,
    needed=(
        "coco/train2017",
        "coco/val2017",
        "coco/annotations/instances_train2017.json",
        "coco/annotations/instances_val2017.json",
    ),
    fits=fits,
    task=task,
)
