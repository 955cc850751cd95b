"""Commands that evaluate backbones by what they do elsewhere."""

import argparse
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyborgs.cli import options as o
from cyborgs.common.errors import InputError
from cyborgs.config import Config, load
from cyborgs.evaluation import EVALUATIONS
from cyborgs.evaluation.datasets import require_datasets
from cyborgs.evaluation.kinds import (
    D,
    Evaluation,
    Frozen,
    OnDatasets,
    OnOwnImages,
    OwnImages,
    Trained,
)
from cyborgs.runtime.gpus import claimed
from cyborgs.runtime.settings import check_batch

if TYPE_CHECKING:
    from cyborgs.evaluation.sources import Source

# Options that choose where and how fast to compute; recorded commands omit them.
_FAST = ("--device", "--threads", "--processes", "--nodes", "--workers", "--checkpoint-minutes",
         "--leave-minutes", "--work", "--metrics")  # fmt: skip


def add(commands: o.Commands) -> None:
    """Add the commands to the parser."""
    evaluate = o.group(commands, "evaluate", "evaluate backbones on downstream tasks")

    for evaluation in EVALUATIONS:
        if isinstance(evaluation, OnOwnImages):
            c = _command(evaluate, evaluation, _on_own_images)
            o.add_images(c)
            o.add_index(c)
            c.add_argument("--annotations", type=Path, required=True, help="COCO instances JSON")
        elif isinstance(evaluation, OnDatasets):
            c = _command(evaluate, evaluation, _on_datasets)
            if evaluation.scores:
                c.add_argument(
                    "--scores",
                    type=Path,
                    metavar="FILE",
                    help="file for the scores of each test image (.npz), for comparing backbones",
                )
            c.add_argument(
                "--workers", type=int, help="loader processes (default: compute.workers)"
            )
        elif isinstance(evaluation, Trained):
            c = _command(evaluate, evaluation, _trained)
            c.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
            o.add_training(c)

    c = o.command(evaluate, "table", _table, "print metrics of several backbones as tables")
    c.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="JSON",
        help="results that evaluations wrote (.json)",
    )
    c.add_argument(
        "--out",
        type=Path,
        help="table of all metrics to write (.tsv), with commands, settings and hashes",
    )
    c.add_argument("--json", type=Path, metavar="FILE", help="JSON file to write, with all results")


def _command(
    commands: o.Commands, evaluation: Evaluation[Any], run: Callable[..., int | None]
) -> argparse.ArgumentParser:
    c = o.command(commands, evaluation.command, partial(run, evaluation), evaluation.about)
    c.add_argument(
        "--backbone",
        required=True,
        metavar="FILE|random|imagenet",
        help="a state of any round, any file that `cyborgs import` reads, random weights, or "
        "the published ones, once `cyborgs data weights` has fetched them",
    )
    c.add_argument("--architecture", help="architecture for random and imagenet, such as resnet50")
    c.add_argument("--network", choices=("online", "target"), default="online")
    c.add_argument(
        "--config",
        default="{}",
        metavar="FILE|JSON",
        help="YAML file of a run, or some of its sections as JSON; uses downstream (default: the "
        "default settings)",
    )
    o.add_out(c, "metrics to write (.json)")
    o.add_compute(c)
    if evaluation.needed:
        c.add_argument(
            "--datasets",
            type=Path,
            help=f"folder with {' and '.join(evaluation.folders)} (default: downstream.datasets)",
        )
    return c


def command_of(given: list[str]) -> str:
    """A command as it can be run again anywhere: without what says where and how fast."""
    kept = []
    skip = False
    for word in given:
        if not (skip or word in _FAST or word.startswith(tuple(f"{flag}=" for flag in _FAST))):
            kept.append(word)
        skip = word in _FAST
    return shlex.join(["cyborgs", *kept])


def _on_own_images(evaluation: OnOwnImages[Any], options: argparse.Namespace) -> None:
    config = load(options.config)
    if not options.images.is_dir():
        raise InputError(f"--images: {options.images} is not a folder")
    data = OwnImages(options.images, options.index, options.annotations)
    _measure(evaluation, options, config, data)


def _on_datasets(evaluation: OnDatasets[Any], options: argparse.Namespace) -> None:
    config = load(options.config)
    data = _datasets(options, config, evaluation)
    _measure(
        evaluation, options, config, data, scores=options.scores if evaluation.scores else None
    )


def _measure(
    evaluation: Frozen[Any, D],
    options: argparse.Namespace,
    config: Config,
    data: D,
    *,
    scores: Path | None = None,
) -> None:
    compute = o.compute(options, config.compute)
    with claimed(compute.device, 1):
        from cyborgs.stages import evaluate_frozen

        evaluate_frozen.run(
            evaluation,
            config.downstream,
            _source(options),
            data,
            compute=compute,
            out=options.out,
            command=command_of(options.given),
            scores=scores,
        )


def _trained(evaluation: Trained[Any], options: argparse.Namespace) -> int | None:
    config = load(options.config)
    compute = o.compute(options, config.compute)
    datasets = _datasets(options, config, evaluation)
    batch_size = config.downstream.settings(evaluation).batch_size
    check_batch(f"downstream.{evaluation.name}", batch_size, compute)

    def run() -> None:
        from cyborgs.stages import evaluate_trained

        evaluate_trained.run(
            evaluation,
            config.downstream,
            _source(options),
            datasets,
            seed=options.seed,
            compute=compute,
            out=options.out,
            work=o.work(options),
            metrics=options.metrics,
            command=command_of(options.given),
        )

    return o.in_processes(options, compute, run)


def _datasets(options: argparse.Namespace, config: Config, evaluation: Evaluation[Any]) -> Path:
    datasets: Path = options.datasets or Path(config.downstream.datasets)
    require_datasets(datasets, [evaluation])
    return datasets


def _source(options: argparse.Namespace) -> "Source":
    from cyborgs.evaluation.sources import find_source

    return find_source(options.backbone, options.architecture, options.network)


def _table(options: argparse.Namespace) -> None:
    from cyborgs.stages import evaluate_table

    print(evaluate_table.run(options.results, options.out, options.json))
