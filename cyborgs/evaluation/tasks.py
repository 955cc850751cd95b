"""The evaluations that train: what each one trains, on what, and how it is scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as run_lengths
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from cyborgs import distributed
from cyborgs.config.downstream import Detection, Downstream, ImagenetLinear
from cyborgs.data.classes import CentralCrops, Classified, ClassifiedExamples, find_classified
from cyborgs.data.dataset import arrived, load_batches
from cyborgs.data.detection import (
    Annotated,
    DetectionSet,
    TestImages,
    TrainingExamples,
    coco_objects,
)
from cyborgs.data.voc import voc_classes, voc_objects
from cyborgs.errors import InputError
from cyborgs.evaluation.average_precision import Detections, coco_ap, voc_ap
from cyborgs.evaluation.detectors import (
    Detector,
    faster_rcnn,
    mask_rcnn,
    parameter_groups,
    use_test_side,
)
from cyborgs.evaluation.linear import LinearClassifier
from cyborgs.hardware import autocast
from cyborgs.models.backbones import Backbone
from cyborgs.progress import say, track
from cyborgs.training.finetune import Recipe, moved
from cyborgs.training.schedule import learning_rate

# Batches of scoring after which processes wait for one another.
_MEET = 16

# Of a trained network, a device, a precision and a number of loader processes; figures in the first
# process.
Score = Callable[[Any, torch.device, str, int], dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What an evaluation trains and how it is scored.

    Attributes:
        name: of the evaluation.
        config: its settings, as provenance has them.
        inputs: hashes of its data, by role.
        network: what is trained, from a backbone; heads are drawn from torch's generator.
        groups: its parameters, as SGD takes them.
        recipe: how it is trained.
        steps: how many.
        batchnorm: steps after those that measure BatchNorm's statistics.
        examples: for training, by ``(epoch, position)``, from a seed.
        collate: makes a batch of examples.
        count: number of positions.
        inspected: annotated images that are looked at before training begins.
        score: figures on the test images.
        tested: number of test images.
        classes: number of classes.
    """

    name: str
    config: dict[str, Any]
    inputs: dict[str, str]
    network: Callable[[Backbone], nn.Module]
    groups: Callable[[nn.Module], list[dict[str, Any]]]
    recipe: Recipe
    steps: int
    batchnorm: int
    examples: Callable[[int], Dataset[Any]]
    collate: Callable[[list[Any]], Any]
    count: int
    inspected: tuple[Sequence[Annotated], ...]
    score: Score
    tested: int
    classes: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps an epoch; what is left over at its end is left out."""
        return self.count // self.recipe.batch_size


def imagenet_linear(config: Downstream, datasets: Path) -> Task:
    """ImageNet linear classification: ``datasets/imagenet/{train,val}/<class>/``.

    Raises `InputError` where they are missing or do not fit one another.
    """
    settings = config.imagenet_linear
    train = find_classified(datasets / "imagenet/train", settings.images_per_class)
    test = find_classified(datasets / "imagenet/val")
    for one, other in ((train, test), (test, train)):
        missing = sorted(set(one.classes) - set(other.classes))
        if missing:
            raise InputError(
                f"{other.folder}: class {missing[0]} of {one.folder} is missing; see `cyborgs data "
                "imagenet`"
            )
    _require_batch(settings.batch_size, len(train.names), "imagenet_linear", train.folder)
    numbers = {name: number for number, name in enumerate(train.classes)}
    labels = np.array([numbers[test.classes[label]] for label in test.labels])
    steps_per_epoch = len(train.names) // settings.batch_size

    def rate(step: int) -> float:
        return learning_rate(
            step,
            base_rate=settings.rate,
            steps_per_epoch=steps_per_epoch,
            warmup_epochs=0,
            horizon_epochs=settings.epochs,
            final_rate=0.0,
        )

    def score(
        network: LinearClassifier, device: torch.device, precision: str, workers: int
    ) -> dict[str, float]:
        return _accuracy(network, test, labels, settings, device, precision, workers)

    return Task(
        name="imagenet_linear",
        config=config.used_by("imagenet_linear"),
        inputs={"train": train.digest, "test": test.digest},
        network=lambda backbone: LinearClassifier(backbone, len(train.classes)),
        groups=lambda network: [
            {
                "params": [p for p in network.parameters() if p.requires_grad],
                "weight_decay": settings.weight_decay,
            }
        ],
        recipe=_recipe("imagenet_linear", settings, rate, "lower downstream.imagenet_linear.rate"),
        steps=settings.epochs * steps_per_epoch,
        batchnorm=0,
        examples=lambda seed: ClassifiedExamples(train, settings.crop, settings.area, seed),
        collate=default_collate,
        count=len(train.names),
        inspected=(),
        score=score,
        tested=len(test.names),
        classes=len(train.classes),
    )


def voc_detection(config: Downstream, datasets: Path) -> Task:
    """VOC07+12 detection: trained on trainval of 2007 and 2012, scored on test of 2007.

    Raises `InputError` where ``datasets/VOC2007`` or ``VOC2012`` is missing or damaged.
    """
    years = [datasets / "VOC2007", datasets / "VOC2012"]
    classes = voc_classes(years[0])
    return _detection(
        "voc_detection",
        config,
        config.voc_detection,
        voc_objects(years, "trainval", classes),
        voc_objects(years[:1], "test", classes),
        faster_rcnn,
        # Detectron2 trains on VOC's difficult objects, and not on COCO's crowds.
        ignored=True,
    )


def coco_instances(config: Downstream, datasets: Path) -> Task:
    """COCO instance segmentation: trained on train2017, scored on val2017.

    Raises `InputError` where ``datasets/coco`` is missing or damaged.
    """
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
    # What scoring would find in days from now.
    test.truth.for_scoring()
    # The JSON as a whole: gigabytes, in every process.
    train = replace(train, truth=None)
    return _detection(
        "coco_instances", config, config.coco_instances, train, test, mask_rcnn, ignored=False
    )


def _detection(
    name: str,
    config: Downstream,
    settings: Detection,
    train: DetectionSet,
    test: DetectionSet,
    build: Callable[[Backbone, int, Detection], Detector],
    ignored: bool,
) -> Task:
    count = len(TrainingExamples(train, 0, ignored))
    if not any((~image.ignored).any() for image in test.images):
        raise InputError(
            f"downstream.{name}: none of the {len(test.images)} images for testing has an object "
            "that counts; is this the right data set?"
        )
    remedy = f"lower downstream.{name}.rate, or raise downstream.{name}.warmup"
    _require_batch(settings.batch_size, count, name, train.images[0].path.parent)

    def rate(step: int) -> float:
        return learning_rate(
            step,
            base_rate=settings.rate,
            steps_per_epoch=1,
            warmup_epochs=settings.warmup,
            milestones=settings.milestones,
            warmup_divisor=1000,
        )

    def score(
        network: Detector, device: torch.device, precision: str, workers: int
    ) -> dict[str, Any]:
        found = detect(network, test, settings, device, precision, workers)
        if distributed.rank() != 0:
            return {}
        scores = coco_ap(test, found)
        return scores | voc_ap(test, found) if test.truth is None else scores

    return Task(
        name=name,
        config=config.used_by(name),
        inputs={"train": train.digest, "test": test.digest},
        network=lambda backbone: build(backbone, len(train.classes), settings),
        groups=lambda network: parameter_groups(network, settings.weight_decay),
        recipe=_recipe(name, settings, rate, remedy),
        steps=settings.iterations,
        batchnorm=settings.batchnorm,
        examples=lambda seed: TrainingExamples(train, seed, ignored),
        collate=list,
        count=count,
        inspected=(train.images, test.images),
        score=score,
        tested=len(test.images),
        classes=len(train.classes),
    )


def _recipe(
    name: str,
    settings: Detection | ImagenetLinear,
    rate: Callable[[int], float],
    remedy: str,
) -> Recipe:
    return Recipe(
        batch_size=settings.batch_size,
        rate=rate,
        momentum=settings.momentum,
        precision=settings.precision,
        remedy=remedy,
        memory=f"lower downstream.{name}.batch_size, or share the batch among more GPUs "
        "(compute.processes)",
    )


def _require_batch(batch_size: int, images: int, name: str, folder: Path) -> None:
    if images < batch_size:
        raise InputError(
            f"downstream.{name}.batch_size: {batch_size} images a step, but {folder} has only "
            f"{images} to train on"
        )


@torch.inference_mode()
def _accuracy(
    network: LinearClassifier,
    test: Classified,
    labels: NDArray[np.int64],
    settings: ImagenetLinear,
    device: torch.device,
    precision: str,
    workers: int,
) -> dict[str, float]:
    rank, ranks = distributed.rank(), distributed.size()
    own = range(rank, len(test.names), ranks)
    paths = [test.folder / test.names[number] for number in own]
    crops = CentralCrops(paths, labels[own], settings.short_side, settings.crop)
    size = max(1, settings.batch_size // ranks)
    keys = [list(range(i, min(i + size, len(own)))) for i in range(0, len(own), size)]
    batches = arrived(load_batches(crops, keys, workers, device.type == "cuda"))
    batches = distributed.in_step(batches, len(test.names) // ranks // size, _MEET, device)
    right = torch.zeros(3, dtype=torch.float64, device=device)  # first, among five, all
    label = "imagenet_linear, test" if rank == 0 else None
    for batch in track(batches, len(keys), label, "batches"):
        batch = moved(batch, device)
        with autocast(device, precision):
            scores = network.scores(batch["image"])
        best = scores.topk(min(5, scores.shape[1]), dim=1).indices
        hits = best == batch["label"][:, None]
        right[0] += hits[:, 0].sum()
        right[1] += hits.sum()
        right[2] += len(hits)
    first, among, count = distributed.gather(right).sum(0).tolist()
    return {"top1": first / count, "top5": among / count}


@torch.inference_mode()
def detect(
    network: Detector,
    images: DetectionSet,
    settings: Detection,
    device: torch.device,
    precision: str,
    workers: int,
) -> list[Detections]:
    """What a trained detector finds in every image, in their order, in every process."""
    network.eval()
    use_test_side(network, settings.test_side)
    rank, ranks = distributed.rank(), distributed.size()
    own = TestImages(images, rank, ranks)
    label = "detect" if rank == 0 else None
    keys = [[number] for number in range(len(own))]
    batches = arrived(load_batches(own, keys, workers, device.type == "cuda", list))
    batches = distributed.in_step(batches, len(images.images) // ranks, _MEET, device)
    found: dict[int, Detections] = {}
    for batch in track(batches, len(keys), label, "images"):
        with autocast(device, precision):
            (result,) = network.detect(moved(batch, device))
        found[batch[0]["position"]] = detections(result)
    everywhere = {k: v for part in distributed.gather_objects(found) for k, v in part.items()}
    return [everywhere[position] for position in range(len(images.images))]


def detections(result: dict[str, Tensor]) -> Detections:
    """What torchvision's detectors give for an image; masks are those of a half or more."""
    masks = None
    if "masks" in result:
        bits = (result["masks"][:, 0] >= 0.5).permute(1, 2, 0).to(torch.uint8).cpu().numpy()
        masks = run_lengths.encode(np.asfortranarray(bits))
    return Detections(
        boxes=result["boxes"].float().cpu().numpy(),
        scores=result["scores"].float().cpu().numpy(),
        labels=result["labels"].cpu().numpy(),
        masks=masks,
    )
