"""What a run has to tell so far, read from its files."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyborgs.evaluation.results import METRICS, read_results
from cyborgs.quality.results import COLUMNS, read_quality
from cyborgs.run.paths import Run
from cyborgs.training.metrics import read_metrics


@dataclass(frozen=True)
class Point:
    """Metrics at a step of training, counted over all rounds."""

    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Part:
    """The metrics of one file.

    Attributes:
        name: of the file in the run, without its suffix.
        identity: changes when the work behind the file was done anew, and not when it continued.
        points: in order of their steps.
    """

    name: str
    identity: str
    points: tuple[Point, ...]


def settings_of(run: Run) -> dict[str, Any]:
    """The configuration of a run, without where it is computed."""
    return run.read_config().model_dump(mode="json", exclude={"compute"})


def flattened(settings: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each key of nested settings with its value: ``pretrain.epochs``, 100."""
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{path}{key}.")
        else:
            yield path + key, value


def parts_of(run: Run) -> list[Part]:
    """The metrics of a run so far: of epochs, of masks, of evaluations.

    Masks and evaluations are at the step at which their round ended, backbones that are no round's
    at step 0.

    Raises `InputError` where a file is damaged.
    """
    found = []
    ends = {0: 0}
    for path in sorted(run.folder.glob("metrics/round-[0-9][0-9].jsonl")):
        number = int(path.stem[-2:])
        if part := _of_epochs(path, number):
            found.append(part)
            ends[number] = part.points[-1].step

    def end(number: int) -> int:
        return max(step for known, step in ends.items() if known <= number)

    for path in sorted(run.folder.glob("quality/*/round-[0-9][0-9].json")):
        metrics = read_quality(path)
        values = {f"quality/{path.parent.name}/{k}": metrics[k] for k in COLUMNS if k != "images"}
        found.append(_of_file(run, path, Point(end(metrics["round"]), _numbers(values))))
    for path in _evaluations(run):
        found.append(_of_evaluation(run, path, end))
    return found


def files_of(run: Run) -> list[tuple[str, int, int]]:
    """Name, time and size of each file that `parts_of` and `settings_of` read."""
    patterns = ("config.yaml", "metrics/*.jsonl", "quality/*/*.json")
    paths = [path for pattern in patterns for path in run.folder.glob(pattern)]
    found = []
    for path in sorted([*paths, *_evaluations(run)]):
        status = path.stat()
        found.append((str(path), status.st_mtime_ns, status.st_size))
    return found


def _of_epochs(path: Path, number: int) -> Part | None:
    rows = read_metrics(path)
    if not rows:
        return None
    points = [
        Point(
            int(row["step"]),
            _numbers({k: v for k, v in row.items() if k != "step"} | {"round": number}),
        )
        for row in rows
    ]
    # A round that continues keeps its first epoch, with its times, to the letter.
    return Part(f"metrics/{path.stem}", hash_of(json.dumps(rows[0])), tuple(points))


def _evaluations(run: Run) -> list[Path]:
    found = [
        *run.folder.glob("downstream/*/*.json"),
        *run.folder.glob("downstream/*/*/seed-*.json"),
    ]
    return sorted(path for path in found if not path.name.startswith("."))


def _of_evaluation(run: Run, path: Path, end: Callable[[int], int]) -> Part:
    (result,) = read_results([path])
    # downstream/NAME/BACKBONE.json, or downstream/NAME/BACKBONE/seed-N.json of a trained network
    name, *where = path.relative_to(run.folder / "downstream").with_suffix("").parts
    of_round = re.fullmatch(r"round-(\d\d)", where[0])
    # A curve over rounds; each other backbone is a metric of its own.
    names = ["downstream", name, *where[1:]] if of_round else ["downstream", name, *where]
    (row,) = result["seeds"]
    values = {"/".join([*names, metric]): row[metric] for metric in METRICS[result["evaluation"]]}
    return _of_file(run, path, Point(end(int(of_round[1])) if of_round else 0, _numbers(values)))


def _of_file(run: Run, path: Path, point: Point) -> Part:
    name = str(path.relative_to(run.folder).with_suffix(""))
    return Part(name, hash_of(json.dumps(point.metrics)), (point,))


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """The finite ones, by names that MLflow takes."""
    return {
        re.sub(r"[^A-Za-z0-9_./ -]", "_", name): float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def hash_of(text: str) -> str:
    """A short hash, to notice changes by."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
