"""Runs on disk that have something to tell, without a training behind them."""

import json

import yaml

from cyborgs.config import parse
from cyborgs.evaluation import EVALUATIONS
from cyborgs.quality.results import COLUMNS
from cyborgs.run.paths import Run
from cyborgs.training.metrics import MetricsLog


def begin(folder, **settings):
    """A run with its configuration alone."""
    run = Run(folder)
    run.folder.mkdir(parents=True, exist_ok=True)
    given = {"run": folder.name, "rounds": 2, "data": {"scenes": {}}, **settings}
    content = parse(given).model_dump(exclude={"compute"})
    run.config.write_text(yaml.safe_dump(content))
    return run


def train(run, number, losses, *, step, kept=0):
    """Epochs of ten steps that follow ``step``, of which the first ``kept`` are there."""
    log = MetricsLog(run.metrics(number), step + 10 * kept)
    for i, loss in list(enumerate(losses, start=1))[kept:]:
        log.write({"epoch": i, "step": step + 10 * i, "loss": loss, "seconds": 1.5})


def measure(run, number, ari, kind="k-8"):
    """Mask quality of a round."""
    path = run.quality(kind, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = dict.fromkeys(COLUMNS) | {"round": number, "best": [], "worst": [], "images": 6}
    path.write_text(json.dumps(values | {"ari": ari}))


def evaluate(run, name, backbone, value, seed=None):
    """An evaluation of a backbone."""
    (evaluation,) = (e for e in EVALUATIONS if e.name == name)
    path = run.evaluation(name, backbone, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    metrics = dict.fromkeys(evaluation.metrics, value)
    path.write_text(
        json.dumps(
            {
                "evaluation": name,
                "backbone": {
                    "name": backbone, "architecture": "resnet18", "layout": "-", "network": "online"
                },
                "classes": 20,
                "commands": ["-"],
                "seeds": [{"seed": seed or 0, "test": 10, **metrics}],
                "mean": metrics,
                "std": dict.fromkeys(metrics),
                "provenance": {
                    "stage_version": 1, "config": {}, "inputs": {}, "libraries": {}, "hardware": {}
                },
            }
        )
    )  # fmt: skip
