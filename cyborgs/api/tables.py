"""The metrics and costs of a run as records: dictionaries of one kind, a row of a table each."""

import re
from typing import Any

from cyborgs.evaluation.results import METRICS, read_results
from cyborgs.quality.results import COLUMNS, read_quality
from cyborgs.report.cost import read_cost
from cyborgs.run.paths import Run
from cyborgs.training.metrics import read_metrics

Record = dict[str, Any]


def metrics(files: Run) -> list[Record]:
    """See `cyborgs.api.runs.Run.metrics`."""
    return [
        {"round": number, **row}
        for number in range(1, files.read_config().rounds + 1)
        if files.metrics(number).exists()
        for row in read_metrics(files.metrics(number))
    ]


def quality(files: Run) -> list[Record]:
    """See `cyborgs.api.runs.Run.quality`."""
    config = files.read_config()
    kinds = {f"k-{k}": f"K = {k}" for k in config.quality.clusters} | {"made": "as made"}
    found = []
    for kind, title in kinds.items():
        for number in range(config.rounds + 1):
            path = files.quality(kind, number)
            if path.exists():
                measured = read_quality(path)
                found.append(
                    {"masks": title, "round": number, **{key: measured[key] for key in COLUMNS}}
                )
    return found


def evaluations(files: Run) -> list[Record]:
    """See `cyborgs.api.runs.Run.evaluations`."""
    found = []
    for name, backbone, result in results(files):
        for metric in METRICS[name]:
            found.append(
                {
                    "evaluation": name,
                    "backbone": backbone,
                    "round": _round_of(backbone),
                    "architecture": result["backbone"]["architecture"],
                    "metric": metric,
                    "mean": result["mean"][metric],
                    "std": result["std"][metric],
                    "values": [row[metric] for row in result["seeds"]],
                    "seeds": [row["seed"] for row in result["seeds"]],
                    "tested": result["seeds"][0]["test"],
                    "classes": result["classes"],
                }
            )
    return found


def results(files: Run) -> list[tuple[str, str, Record]]:
    """Each evaluation, each backbone, and what was found, seeds joined, as far as it is there."""
    config = files.read_config()
    by_backbone: dict[tuple[str, str], list[Any]] = {}
    for path in files.evaluations(config):
        if path.exists():
            # downstream/NAME/BACKBONE.json, or downstream/NAME/BACKBONE/seed-N.json
            name, backbone = path.relative_to(files.folder / "downstream").with_suffix("").parts[:2]
            by_backbone.setdefault((name, backbone), []).append(path)
    return [
        (name, backbone, result)
        for (name, backbone), paths in by_backbone.items()
        for result in read_results(paths)
    ]


def cost(files: Run) -> list[Record]:
    """See `cyborgs.api.runs.Run.cost`."""
    found = []
    for number in range(files.read_config().rounds + 1):
        training, masks = map(read_cost, files.costs(number))
        if training.jobs or masks.jobs:
            found.append(
                {
                    "round": number,
                    "training_seconds": training.seconds if training.jobs else None,
                    "training_bytes": training.memory if training.jobs else None,
                    "masks_seconds": masks.seconds if masks.jobs else None,
                    "masks_bytes": masks.memory if masks.jobs else None,
                    "masks_jobs": masks.jobs,
                }
            )
    return found


def _round_of(backbone: str) -> int | None:
    number = re.fullmatch(r"round-(\d+)", backbone)
    return int(number[1]) if number else None
