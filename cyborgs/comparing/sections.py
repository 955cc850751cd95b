"""Tables and charts of several runs."""

import json
from collections.abc import Mapping, Sequence
from statistics import mean, median, stdev
from typing import Any

from cyborgs.api.runs import Run
from cyborgs.api.tables import Record
from cyborgs.evaluation import BY_NAME
from cyborgs.experiments.statistics import paired_over_seeds
from cyborgs.quality.results import COLUMNS
from cyborgs.report.figures import Line, chart
from cyborgs.report.page import Chart, Table
from cyborgs.report.sections import duration

# Metrics of mask quality that get a chart.
CHARTED = ("ari", "mbo_instances", "asa", "boundary_recall")


def settings_table(runs: Mapping[str, Run]) -> Table:
    """Each key whose value is not the same in all runs, and its values."""
    flat = {
        name: _flat(run.config.model_dump(exclude={"run", "compute"})) for name, run in runs.items()
    }
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    rows = [
        [key, *(values.get(key, "-") for values in flat.values())]
        for key in keys
        if len({values.get(key) for values in flat.values()}) > 1
    ]
    return Table(["setting", *flat], rows, "" if rows else "All settings are the same.")


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def progress_table(runs: Mapping[str, Run]) -> Table:
    """How far each run got, and what it cost."""
    rows = []
    for name, run in runs.items():
        epochs, costs = run.metrics(), run.cost()
        done, wanted = max(run.trained(), default=0), run.config.rounds
        memory = [c["training_bytes"] for c in costs if c["training_bytes"]]
        rows.append(
            [
                name,
                str(done) if done == wanted else f"{done} of {wanted}, under way",
                str(len(epochs)),
                f"{epochs[-1]['loss']:.4f}" if epochs else "-",
                f"{median(e['images_per_second'] for e in epochs):.1f}" if epochs else "-",
                _time(costs, "training_seconds"),
                _time(costs, "masks_seconds"),
                f"{max(memory) / 1e9:.2f} GB" if memory else "-",
            ]
        )
    return Table(
        ["run", "rounds", "epochs", "loss, last epoch", "images/s (median)", "training",
         "making masks", "peak memory"],
        rows,
        "Wall time of jobs, summed, and peak memory of a training job, as recorded by Snakemake.",
    )  # fmt: skip


def _time(costs: Sequence[Record], key: str) -> str:
    known = [c[key] for c in costs if c[key] is not None]
    return duration(sum(known)) if known else "-"


def quality_table(runs: Mapping[str, Run], clusters: Sequence[int]) -> Table:
    """The last round of each run that was measured at each K."""
    rows = []
    for k in clusters:
        for name, run in runs.items():
            measured = [r for r in run.quality() if r["masks"] == f"K = {k}"]
            if measured:
                last = measured[-1]
                shown = [_shown(last[key]) for key in COLUMNS]
                rows.append([f"K = {k}", name, str(last["round"]), *shown])
    return Table(["masks", "run", "round", *COLUMNS.values()], rows)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def evaluations_table(runs: Mapping[str, Run]) -> Table:
    """Each metric of each backbone, a column a run, and differences from the first run.

    Where the last rounds of runs have different numbers, they get a row together as well.
    """
    found = {name: run.evaluations() for name, run in runs.items()}
    keys = dict.fromkeys(_key(r) for records in found.values() for r in records)
    rows = [
        _row(key, [next((r for r in own if _key(r) == key), None) for own in found.values()])
        for key in keys
    ]
    for evaluation, metric in dict.fromkeys((key[0], key[2]) for key in keys):
        last = [_last(own, evaluation, metric) for own in found.values()]
        if len({r["round"] for r in last if r is not None}) > 1:
            rows.append(_row((evaluation, "last round", metric), last))
    first, *others = runs
    return Table(
        ["evaluation", "backbone", "metric", *runs, *(f"{name} minus {first}" for name in others)],
        rows,
        "Percent: mean ± standard deviation over seeds, and Student's 95 % interval of the mean. "
        "Differences use the seeds that both runs have.",
    )


def _key(record: Record) -> tuple[str, str, str]:
    return record["evaluation"], record["backbone"], record["metric"]


def _last(records: Sequence[Record], evaluation: str, metric: str) -> Record | None:
    """The record of the last round that was evaluated."""
    own = [
        r
        for r in records
        if (r["evaluation"], r["metric"]) == (evaluation, metric) and r["round"] is not None
    ]
    return max(own, key=lambda r: r["round"], default=None)


def _row(key: tuple[str, str, str], records: Sequence[Record | None]) -> list[str]:
    evaluation, backbone, metric = key
    first, *others = records
    return [
        evaluation,
        backbone,
        BY_NAME[evaluation].metrics[metric],
        *("-" if r is None else _spread(r["values"]) for r in records),
        *("-" if r is None or first is None else _difference(r, first) for r in others),
    ]


def _spread(values: Sequence[float]) -> str:
    shown = f"{100 * mean(values):.1f}"
    if len(values) == 1:
        return shown
    return f"{shown} ± {100 * stdev(values):.1f} {_interval(values)}"


def _difference(ours: Record, theirs: Record) -> str:
    mine, other = (dict(zip(r["seeds"], r["values"], strict=True)) for r in (ours, theirs))
    values = [mine[seed] - other[seed] for seed in mine if seed in other]
    if not values:
        return "-"
    shown = f"{100 * mean(values):+.1f}"
    return shown if len(values) == 1 else f"{shown} {_interval(values)}"


def _interval(values: Sequence[float]) -> str:
    interval = paired_over_seeds(values)
    return f"({100 * interval.low:.1f} … {100 * interval.high:.1f})"


def curves(runs: Mapping[str, Run], clusters: Sequence[int]) -> list[Chart]:
    """Loss by epoch, mask quality at each K and headline metrics by round; a line a run."""
    charts = [_chart("loss", "epoch", {n: run.metrics() for n, run in runs.items()}, "loss")]
    quality = {name: run.quality() for name, run in runs.items()}
    for k in clusters:
        own = {n: [r for r in rows if r["masks"] == f"K = {k}"] for n, rows in quality.items()}
        charts += [_chart(f"{COLUMNS[key]}, K = {k}", "round", own, key) for key in CHARTED]
    evaluated = {name: run.evaluations() for name, run in runs.items()}
    for evaluation in dict.fromkeys(r["evaluation"] for rows in evaluated.values() for r in rows):
        metric = BY_NAME[evaluation].headline
        own = {
            name: [
                {"round": r["round"], "percent": 100 * r["mean"]}
                for r in rows
                if (r["evaluation"], r["metric"]) == (evaluation, metric) and r["round"] is not None
            ]
            for name, rows in evaluated.items()
        }
        title = f"{evaluation}: {BY_NAME[evaluation].metrics[metric]}, percent"
        charts.append(_chart(title, "round", own, "percent"))
    return [c for c in charts if c is not None]


def _chart(title: str, across: str, runs: Mapping[str, Sequence[Record]], key: str) -> Chart | None:
    """A line a run, of the same colour in each chart; None where no run has any value."""
    lines = []
    for style, (name, records) in enumerate(runs.items()):
        known = [r for r in records if r.get(key) is not None]
        if known:
            x, y = [r[across] for r in known], [r[key] for r in known]
            lines.append(Line(name, x, y, style))
    if not lines:
        return None
    marked = all(len(line.x) <= 40 for line in lines)
    told = "; ".join(f"{line.name}: {line.y[0]:.4g} … {line.y[-1]:.4g}" for line in lines)
    return Chart(chart(title, across, lines, markers=marked), f"{title} by {across}. {told}")
