"""The evaluations that train a detector: what they share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as run_lengths
from torch import Tensor

from cyborgs.common.errors import InputError
from cyborgs.common.progress import track
from cyborgs.evaluation.average_precision import Detections, coco_ap, voc_ap
from cyborgs.evaluation.data.detection import DetectionSet, TestImages, TrainingExamples
from cyborgs.evaluation.detectors import Detector, parameter_groups, use_test_side
from cyborgs.evaluation.settings import Detection
from cyborgs.evaluation.task import MEET, Task, memory_remedy, require_batch
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.runtime import distributed
from cyborgs.runtime.hardware import autocast
from cyborgs.training.batches import arrived, load_batches
from cyborgs.training.finetune import Recipe, moved
from cyborgs.training.schedule import learning_rate


def detection(
    name: str,
    settings: Detection,
    train: DetectionSet,
    test: DetectionSet,
    *,
    build: Callable[[Backbone, int, Detection], Detector],
    ignored: bool,
) -> Task:
    """How the detector that ``build`` makes is trained, and scored.

    ``ignored`` says whether training sees objects that scoring ignores.  Raises `InputError` where
    there is nothing to be found in testing, or less than a batch to train on.
    """
    count = len(TrainingExamples(train, 0, ignored))
    if not any((~image.ignored).any() for image in test.images):
        raise InputError(
            f"downstream.{name}: none of the {len(test.images)} images for testing has an object "
            "that counts; is this the right data set?"
        )
    require_batch(settings.batch_size, count, name, train.images[0].path.parent)

    def rate(step: int) -> float:
        return learning_rate(
            step,
            base_learning_rate=settings.learning_rate,
            steps_per_epoch=1,
            warmup_epochs=settings.warmup,
            milestones=settings.milestones,
            warmup_divisor=1000,
        )

    def score(
        network: Detector, device: torch.device, precision: str, workers: int
    ) -> dict[str, Any]:
        found = detect(network, test, settings, device=device, precision=precision, workers=workers)
        if distributed.rank() != 0:
            return {}
        scores = coco_ap(test, found)
        return scores | voc_ap(test, found) if test.truth is None else scores

    return Task(
        inputs={"train": train.digest, "test": test.digest},
        network=lambda backbone: build(backbone, len(train.classes), settings),
        groups=lambda network: parameter_groups(network, settings.weight_decay),
        recipe=Recipe(
            batch_size=settings.batch_size,
            rate=rate,
            momentum=settings.momentum,
            precision=settings.precision,
            remedy=f"lower downstream.{name}.learning_rate, or raise downstream.{name}.warmup",
            memory=memory_remedy(name),
        ),
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


@torch.inference_mode()
def detect(
    network: Detector,
    images: DetectionSet,
    settings: Detection,
    *,
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
    batches = arrived(
        load_batches(own, keys, workers=workers, pin=device.type == "cuda", collate=list)
    )
    batches = distributed.in_step(batches, len(images.images) // ranks, MEET, device)
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
