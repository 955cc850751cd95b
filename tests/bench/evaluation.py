"""What the published evaluations cost on this machine: seconds an image, and hours from them.

    python tests/bench/evaluation.py [--turns 3] [--threads 2] [--precision bfloat16]

Trains and scores a ResNet-50 from random weights on noise of 640 x 480 pixels, at the published
sizes, one image a step for detectors, 32 for classifiers, and prints medians.  Hours are those of
the published schedule at that speed: estimates, since noise has other proposals than photographs.
"""

import argparse
import time
from functools import partial
from statistics import median

import torch

from cyborgs.config.downstream import Downstream
from cyborgs.evaluation.detectors import faster_rcnn, mask_rcnn, parameter_groups, use_test_side
from cyborgs.evaluation.linear import LinearClassifier
from cyborgs.models.backbones.backbone import Backbone
from cyborgs.runtime.hardware import TRAINING, autocast, best_precision, describe
from cyborgs.runtime.memory import keep_freed_memory
from cyborgs.training.finetune import Finetuner, Recipe

# Images of VOC2007 trainval and test, VOC2012 trainval, ImageNet train and val, COCO val2017.
VOC07, VOC07_TEST, IMAGENET, IMAGENET_VAL, COCO_VAL = 5011, 4952, 1_281_167, 50_000, 5000

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default=best_precision(CPU, TRAINING),
        help="default: what `auto` comes to here, %(default)s",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    settings = Downstream()
    rows = []
    for name, build, classes in (
        ("voc_detection", faster_rcnn, 20),
        ("coco_instances", mask_rcnn, 80),
    ):
        chosen = getattr(settings, name)
        network = build(Backbone("resnet50"), classes, chosen)
        train = seconds(network, detection_batch(classes), parameter_groups, options)
        network.eval()
        use_test_side(network, chosen.test_side)
        test = timed(partial(network.detect, detection_batch(classes)), options)
        images = VOC07_TEST if name == "voc_detection" else COCO_VAL
        hours = (train * chosen.iterations * chosen.batch_size + test * images) / 3600
        rows.append((name, train, test, hours))
    network = LinearClassifier(Backbone("resnet50"), 1000)
    batch = crops(32)
    train = seconds(network, batch, trained_alone, options) / 32
    network.eval()
    test = timed(partial(network.scores, batch["image"]), options) / 32
    linear = settings.imagenet_linear
    hours = (train * IMAGENET * linear.epochs + test * IMAGENET_VAL) / 3600
    rows.append(("imagenet_linear", train, test, hours))
    rows.append(("voc_svm (features)", 0.0, test, test * (VOC07 + VOC07_TEST) / 3600))
    print(f"{describe(CPU)}, ResNet-50, {options.threads} threads, {options.precision}")
    print("| evaluation | training, s an image | scoring, s an image | published schedule, hours |")
    print("|---|---|---|---|")
    for name, train, test, hours in rows:
        print(f"| {name} | {train:.3f} | {test:.3f} | {hours:,.1f} |")


def detection_batch(classes: int) -> list[dict]:
    draw = torch.Generator().manual_seed(0)
    corners = torch.rand(6, 2, generator=draw) * torch.tensor([400.0, 250.0])
    sizes = 60 + torch.rand(6, 2, generator=draw) * 150
    masks = torch.zeros(6, 480, 640, dtype=torch.uint8)
    for mask, (x, y), (w, h) in zip(masks, corners.long(), sizes.long(), strict=True):
        mask[y : y + h, x : x + w] = 1
    return [
        {
            "image": torch.randint(0, 256, (480, 640, 3), dtype=torch.uint8, generator=draw),
            "boxes": torch.cat([corners, corners + sizes], 1),
            "labels": torch.randint(1, classes + 1, (6,), generator=draw),
            "masks": masks,
            "name": "",
        }
    ]


def crops(number: int) -> dict:
    images = torch.randint(0, 256, (number, 224, 224, 3), dtype=torch.uint8)
    return {"image": images, "label": torch.arange(number), "name": [""] * number}


def trained_alone(network: torch.nn.Module, _: float) -> list[dict]:
    return [{"params": [p for p in network.parameters() if p.requires_grad]}]


def seconds(network, batch, groups, options) -> float:
    """A step of training, median of the turns after one to warm up."""
    recipe = Recipe(len(batch), lambda step: 1e-4, 0.9, options.precision, "", "")
    trainer = Finetuner(
        network,
        lambda n: groups(n, 1e-4),
        recipe,
        steps_per_epoch=1,
        seed=0,
        device=CPU,
        state=None,
    )
    return timed(lambda: trainer.train_step(batch), options, grad=True)


def timed(run, options, grad: bool = False) -> float:
    taken = []
    for _ in range(1 + options.turns):
        begin = time.perf_counter()
        with torch.set_grad_enabled(grad):
            if grad:
                run()
            else:
                with autocast(CPU, options.precision):
                    run()
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])


if __name__ == "__main__":
    main()
