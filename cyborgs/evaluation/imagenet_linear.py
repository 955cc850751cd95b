"""ImageNet classification: a linear layer that is trained on frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from cyborgs.common.errors import InputError
from cyborgs.common.progress import track
from cyborgs.common.section import PRECISION, NonNegative, Positive, Precision, number
from cyborgs.evaluation.kinds import Trained
from cyborgs.evaluation.settings import Cropped, Momentum, require_multiple

# Inside functions as well: whoever reads the configuration does not wait for these.
if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from cyborgs.evaluation.data.classes import Classified
    from cyborgs.evaluation.linear import LinearClassifier
    from cyborgs.evaluation.task import Task

Area = Annotated[float, Field(gt=0, le=1), BeforeValidator(number)]


class ImagenetLinear(Cropped):
    """ImageNet classification: a linear layer on frozen features (VirTex, section 4.2)."""

    SHORT: ClassVar[dict[str, Any]] = {"images_per_class": 130, "epochs": 20}

    images_per_class: int | None = Field(
        None, ge=1, description="training images per class, at most; null: all"
    )
    area: list[Area] = Field(
        [0.08, 1.0],
        min_length=2,
        max_length=2,
        description="area of a training crop as a share of the image",
    )
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(256, ge=1, description="images per step, over all processes")
    learning_rate: Positive = Field(0.3, description="learning rate; a cosine lowers it to 0")
    momentum: Momentum = 0.9
    weight_decay: NonNegative = 0.0
    precision: Precision = Field("auto", description=PRECISION)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.area[0] > self.area[1]:
            raise ValueError("'area' must be [low, high] with low <= high")
        return self


def fits(settings: ImagenetLinear, architecture: str) -> None:
    """Raise `InputError` where crops of this size do not go through the architecture."""
    require_multiple(settings.crop, architecture, "downstream.imagenet_linear.crop")


def task(settings: ImagenetLinear, datasets: Path) -> Task:
    """ImageNet linear classification: ``datasets/imagenet/{train,val}/<class>/``.

    Raises `InputError` where they are missing or do not fit one another.
    """
    import numpy as np
    from torch.utils.data import default_collate

    from cyborgs.evaluation.data.classes import ClassifiedExamples, find_classified
    from cyborgs.evaluation.linear import LinearClassifier
    from cyborgs.evaluation.task import Task, memory_remedy, require_batch
    from cyborgs.training.finetune import Recipe
    from cyborgs.training.schedule import learning_rate

    train = find_classified(datasets / "imagenet/train", settings.images_per_class)
    test = find_classified(datasets / "imagenet/val")
    for one, other in ((train, test), (test, train)):
        missing = sorted(set(one.classes) - set(other.classes))
        if missing:
            raise InputError(
                f"{other.folder}: class {missing[0]} of {one.folder} is missing; see `cyborgs data "
                "imagenet`"
            )
    require_batch(settings.batch_size, len(train.names), "imagenet_linear", train.folder)
    numbers = {name: number for number, name in enumerate(train.classes)}
    labels = np.array([numbers[test.classes[label]] for label in test.labels])
    steps_per_epoch = len(train.names) // settings.batch_size

    def rate(step: int) -> float:
        return learning_rate(
            step,
            base_learning_rate=settings.learning_rate,
            steps_per_epoch=steps_per_epoch,
            warmup_epochs=0,
            horizon_epochs=settings.epochs,
            final_learning_rate=0.0,
        )

    def score(
        network: LinearClassifier, device: torch.device, precision: str, workers: int
    ) -> dict[str, float]:
        return _accuracy(
            network, test, labels, settings, device=device, precision=precision, workers=workers
        )

    return Task(
        inputs={"train": train.digest, "test": test.digest},
        network=lambda backbone: LinearClassifier(backbone, len(train.classes)),
        groups=lambda network: [
            {
                "params": [p for p in network.parameters() if p.requires_grad],
                "weight_decay": settings.weight_decay,
            }
        ],
        recipe=Recipe(
            batch_size=settings.batch_size,
            rate=rate,
            momentum=settings.momentum,
            precision=settings.precision,
            remedy="lower downstream.imagenet_linear.learning_rate",
            memory=memory_remedy("imagenet_linear"),
        ),
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


def _accuracy(
    network: LinearClassifier,
    test: Classified,
    labels: NDArray[np.int64],
    settings: ImagenetLinear,
    *,
    device: torch.device,
    precision: str,
    workers: int,
) -> dict[str, float]:
    import torch

    from cyborgs.evaluation.data.classes import CentralCrops
    from cyborgs.evaluation.task import MEET
    from cyborgs.runtime import distributed
    from cyborgs.runtime.hardware import autocast
    from cyborgs.training.batches import arrived, load_batches
    from cyborgs.training.finetune import moved

    rank, ranks = distributed.rank(), distributed.size()
    own = range(rank, len(test.names), ranks)
    paths = [test.folder / test.names[number] for number in own]
    crops = CentralCrops(paths, labels[own], settings.short_side, settings.crop)
    size = max(1, settings.batch_size // ranks)
    keys = [list(range(i, min(i + size, len(own)))) for i in range(0, len(own), size)]
    batches = arrived(load_batches(crops, keys, workers=workers, pin=device.type == "cuda"))
    batches = distributed.in_step(batches, len(test.names) // ranks // size, MEET, device)
    right = torch.zeros(3, dtype=torch.float64, device=device)  # first, among five, all
    label = "imagenet_linear, test" if rank == 0 else None
    for batch in track(batches, len(keys), label, "batches"):
        batch = moved(batch, device)
        with torch.inference_mode(), autocast(device, precision):
            scores = network.scores(batch["image"])
        best = scores.topk(min(5, scores.shape[1]), dim=1).indices
        hits = best == batch["label"][:, None]
        right[0] += hits[:, 0].sum()
        right[1] += hits.sum()
        right[2] += len(hits)
    first, among, count = distributed.gather(right).sum(0).tolist()
    return {"top1": first / count, "top5": among / count}


IMAGENET_LINEAR = Trained(
    name="imagenet_linear",
    title="ImageNet linear classification, frozen features",
    about="ImageNet classification: train and score a linear layer on frozen features",
    metrics={"top1": "top-1", "top5": "top-5"},
    headline="top1",
    settings=ImagenetLinear(),
    version=4,
    needed=("imagenet/train", "imagenet/val"),
    fits=fits,
    task=task,
)
