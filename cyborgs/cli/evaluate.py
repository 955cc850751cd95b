"""Commands that evaluate backbones by what they do elsewhere."""

import argparse
from pathlib import Path

from cyborgs.cli import options as o
from cyborgs.config import load
from cyborgs.gpus import claimed


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    evaluate = o.group(commands, "evaluate", "evaluate backbones by what they do elsewhere")

    c = o.command(evaluate, "objects", _objects, "classify annotated objects on frozen features")
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
    o.add_images(c)
    o.add_index(c)
    c.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON")
    o.add_out(c, "figures to write (.json)")
    o.add_compute(c)

    c = o.command(evaluate, "table", _table, "print figures of several backbones as one table")
    c.add_argument("results", type=Path, nargs="+", metavar="JSON", help="what evaluations wrote")
    c.add_argument("--out", type=Path, help="file for the same as tab-separated values")


def _objects(options: argparse.Namespace) -> None:
    config = load(options.config)
    compute = o.compute(options, config.compute)
    with claimed(compute.device, 1):
        from cyborgs.stages import evaluate_objects

        evaluate_objects.run(
            config.downstream,
            options.backbone,
            options.images,
            options.index,
            options.annotations,
            compute,
            options.out,
            options.architecture,
            options.network,
        )


def _table(options: argparse.Namespace) -> None:
    from cyborgs.stages import evaluate_objects

    print(evaluate_objects.table(options.results, options.out))
