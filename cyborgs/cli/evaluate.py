"""Commands that evaluate backbones by what they do elsewhere."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cyborgs.cli import options as o
from cyborgs.config import Config, check_batch, load
from cyborgs.config.downstream import Downstream
from cyborgs.data.datasets import require_datasets
from cyborgs.errors import InputError
from cyborgs.gpus import claimed

if TYPE_CHECKING:
    from cyborgs.evaluation.sources import Source
    from cyborgs.evaluation.tasks import Task

# What says where and how fast, and is no part of the command that is kept beside a figure.
_FAST = ("--device", "--threads", "--processes", "--nodes", "--workers", "--checkpoint-minutes",
         "--leave-minutes", "--work", "--metrics")  # fmt: skip


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    evaluate = o.group(commands, "evaluate", "evaluate backbones by what they do elsewhere")

    c = o.command(evaluate, "objects", _objects, "classify annotated objects on frozen features")
    _add_probe(c)
    c = o.command(
        evaluate, "segmentation", _segmentation, "classify pixels linearly on frozen features"
    )
    _add_probe(c)

    c = o.command(evaluate, "voc-svm", _voc_svm, "VOC07 classification: SVMs on frozen features")
    _add_backbone(c)
    _add_datasets(c, "VOC2007")
    c.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="file for the scores of each test image (.npz), to compare backbones by",
    )
    c.add_argument("--workers", type=int, help="loader processes (default: compute.workers)")

    c = o.command(
        evaluate,
        "voc-detection",
        _voc_detection,
        "VOC07+12 detection: train and score a Faster R-CNN",
    )
    _add_trained(c, "VOC2007 and VOC2012")
    c = o.command(
        evaluate,
        "imagenet-linear",
        _imagenet_linear,
        "ImageNet classification: train and score a linear layer on frozen features",
    )
    _add_trained(c, "imagenet")
    c = o.command(
        evaluate,
        "coco-instances",
        _coco_instances,
        "COCO instance segmentation: train and score a Mask R-CNN",
    )
    _add_trained(c, "coco")

    c = o.command(evaluate, "table", _table, "print figures of several backbones as tables")
    c.add_argument("results", type=Path, nargs="+", metavar="JSON", help="what evaluations wrote")
    c.add_argument(
        "--out", type=Path, help="file for all figures as tab-separated values, with what is behind"
    )
    c.add_argument("--json", type=Path, metavar="FILE", help="file for the same as JSON")


def _add_probe(c: argparse.ArgumentParser) -> None:
    _add_backbone(c)
    o.add_images(c)
    o.add_index(c)
    c.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON")


def _add_trained(c: argparse.ArgumentParser, needed: str) -> None:
    _add_backbone(c)
    _add_datasets(c, needed)
    c.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")
    o.add_training(c)


def _add_backbone(c: argparse.ArgumentParser) -> None:
    c.add_argument(
        "--backbone",
        required=True,
        metavar="FILE|random|imagenet",
        help="a state of any round, any file that `cyborgs import` takes, random weights, or "
        "torchvision's where its cache has them",
    )
    c.add_argument("--architecture", help="of random and imagenet, such as resnet50")
    c.add_argument("--network", choices=("online", "target"), default="online")
    c.add_argument(
        "--config",
        default="{}",
        metavar="FILE|JSON",
        help="YAML file of a run, or JSON of some sections; uses downstream (default: defaults)",
    )
    o.add_out(c, "figures to write (.json)")
    o.add_compute(c)


def _add_datasets(c: argparse.ArgumentParser, needed: str) -> None:
    c.add_argument(
        "--datasets",
        type=Path,
        help=f"folder with {needed} (default: downstream.datasets)",
    )


def command_of(given: list[str]) -> str:
    """A command as it can be run again anywhere: without what says where and how fast."""
    kept = []
    skip = False
    for word in given:
        if not (skip or word in _FAST or word.startswith(tuple(f"{flag}=" for flag in _FAST))):
            kept.append(word)
        skip = word in _FAST
    return shlex.join(["cyborgs", *kept])


def _objects(options: argparse.Namespace) -> None:
    from cyborgs.stages import evaluate_objects

    _probe(options, evaluate_objects.run)


def _segmentation(options: argparse.Namespace) -> None:
    from cyborgs.stages import evaluate_segmentation

    _probe(options, evaluate_segmentation.run)


def _probe(options: argparse.Namespace, run: Callable[..., object]) -> None:
    config = load(options.config)
    compute = o.compute(options, config.compute)
    if not options.images.is_dir():
        raise InputError(f"--images: {options.images} is no folder")
    with claimed(compute.device, 1):
        run(
            config.downstream,
            _source(options),
            options.images,
            options.index,
            options.annotations,
            compute,
            options.out,
            command_of(options.given),
        )


def _voc_svm(options: argparse.Namespace) -> None:
    config = load(options.config)
    compute = o.compute(options, config.compute)
    datasets = _datasets(options, config, "voc_svm")
    with claimed(compute.device, 1):
        from cyborgs.stages import evaluate_voc_svm

        evaluate_voc_svm.run(
            config.downstream,
            _source(options),
            datasets,
            compute,
            options.out,
            command_of(options.given),
            options.scores,
        )


def _voc_detection(options: argparse.Namespace) -> int | None:
    from cyborgs.evaluation.tasks import voc_detection

    return _trained(options, "voc_detection", voc_detection)


def _imagenet_linear(options: argparse.Namespace) -> int | None:
    from cyborgs.evaluation.tasks import imagenet_linear

    return _trained(options, "imagenet_linear", imagenet_linear)


def _coco_instances(options: argparse.Namespace) -> int | None:
    from cyborgs.evaluation.tasks import coco_instances

    return _trained(options, "coco_instances", coco_instances)


def _trained(
    options: argparse.Namespace, name: str, task: "Callable[[Downstream, Path], Task]"
) -> int | None:
    config = load(options.config)
    compute = o.compute(options, config.compute)
    datasets = _datasets(options, config, name)
    check_batch(f"downstream.{name}", getattr(config.downstream, name).batch_size, compute)

    def run() -> None:
        from cyborgs.stages import evaluate_trained

        evaluate_trained.run(
            task(config.downstream, datasets),
            _source(options),
            options.seed,
            compute,
            options.out,
            o.work(options),
            options.metrics,
            command_of(options.given),
        )

    return o.in_processes(options, compute, run)


def _datasets(options: argparse.Namespace, config: Config, name: str) -> Path:
    datasets: Path = options.datasets or Path(config.downstream.datasets)
    require_datasets(datasets, [name])
    return datasets


def _source(options: argparse.Namespace) -> "Source":
    from cyborgs.evaluation.sources import find_source

    return find_source(options.backbone, options.architecture, options.network)


def _table(options: argparse.Namespace) -> None:
    from cyborgs.stages import evaluate_table

    print(evaluate_table.run(options.results, options.out, options.json))
