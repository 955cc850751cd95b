"""Rows of an experiment: a line of JSON for each metric of each run, kept in a repository."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write, require_file
from cyborgs.config.experiment import Experiment
from cyborgs.evaluation.results import METRICS, read_results
from cyborgs.experiments.plan import PlannedEvaluation, PlannedRun
from cyborgs.report.cost import read_cost
from cyborgs.training.metrics import read_metrics

Row = dict[str, Any]

# What each row has, and of which type.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "experiment": str,
    "variant": str,
    "seed": int,
    "round": int,
    "evaluation": str,
    "figures": dict,
    "tested": int,
    "steps": int,
    "seconds": dict,
    "device": str,
    "commit": str,
    "changes": dict,
    "data": dict,
    "index": str,
    "key": str,
}


def row_of(
    experiment: Experiment, run: PlannedRun, planned: PlannedEvaluation, *, index: str, commit: str
) -> Row:
    """The row of metrics whose file is there.

    It has the run (`experiment`, `variant`, `seed`), what was measured when (`evaluation`,
    `round`, `steps` of training until then), the `figures` (shares in 0 ... 1), how many images or
    objects were `tested`, `seconds` of training, masks and evaluation, the `device`, the `commit`
    of the program, what the variant `changes`, hashes of the `data` that it was measured on and of
    the `index` of the images that it was trained on, and the `key` of its settings.

    Raises `InputError` where the file is damaged.
    """
    (result,) = read_results([planned.path])
    (measured,) = result["seeds"]
    record = result["provenance"]
    seconds = {
        "pretrain": read_cost(planned.trained).seconds,
        "masks": read_cost(planned.clustered).seconds,
        "evaluate": read_cost([planned.evaluated]).seconds,
    }
    epochs = [row for path in planned.metrics for row in read_metrics(path)]
    return {
        "experiment": experiment.name,
        "variant": run.variant,
        "seed": run.seed,
        "round": planned.round,
        "evaluation": planned.evaluation,
        "figures": {name: measured[name] for name in METRICS[planned.evaluation]},
        "tested": measured["test"],
        "steps": int(epochs[-1]["step"]) if epochs else 0,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "device": record["hardware"]["device"],
        "commit": commit,
        "changes": experiment.overrides.get(run.variant, {}),
        "data": {k: v for k, v in record["inputs"].items() if k != "backbone"},
        "index": index,
        "key": planned.key,
    }


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, one a line."""
    with atomic_write(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file.  Raises `InputError` where it is missing, or a line is damaged."""
    require_file(path, "rows of an experiment")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number} is not JSON ({error})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number} is not a row of an experiment")
        for key, kind in _KEYS.items():
            if not isinstance(row.get(key), kind):
                raise InputError(
                    f"{path}: line {number} is not a row of an experiment (its '{key}')"
                )
        if row["evaluation"] not in METRICS:
            raise InputError(f"{path}: line {number} names an unknown evaluation")
        wanted = METRICS[row["evaluation"]]
        if not all(isinstance(row["figures"].get(name), int | float) for name in wanted):
            raise InputError(f"{path}: line {number} lacks metrics of {row['evaluation']}")
        rows.append(row)
    return rows
