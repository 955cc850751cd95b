"""Stage `experiment summary`: what the variants of an experiment came to."""

import subprocess
from pathlib import Path
from statistics import mean

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.common.progress import say
from cyborgs.common.tables import aligned
from cyborgs.config.experiment import INITIAL, Experiment
from cyborgs.evaluation import BY_NAME
from cyborgs.evaluation.results import METRICS, TITLES
from cyborgs.experiments.comparison import (
    Difference,
    differences,
    percent,
    values_by_round,
)
from cyborgs.experiments.plan import Plan, plan
from cyborgs.experiments.rows import Row, read_rows, row_of, write_rows
from cyborgs.experiments.statistics import Interval
from cyborgs.images.index import read_index
from cyborgs.report.figures import Line, chart, dots
from cyborgs.report.page import Chart, Table, render
from cyborgs.report.sections import duration


def run(experiment: Experiment, rows_file: Path, page: Path | None) -> str:
    """Collect the rows of all runs that are finished; returns the tables as text.

    Args:
        experiment: which.
        rows_file: file of rows to write (JSON lines).  Rows that it has stay as they are, those of
            variants that are no longer asked for too; but metrics of the same settings on other
            images take their place.
        page: HTML page to write, or None.

    Raises:
        InputError: metrics or rows that are damaged or do not compare.
    """
    planned = plan(experiment)
    path = planned.folder / "index.jsonl"
    index = read_index(path).digest if path.exists() else None
    given = _by_key(Path(experiment.finished)) if experiment.finished is not None else {}
    for row in given.values():
        if index is not None and row["index"] != index:
            raise InputError(
                f"{experiment.finished}: {row['variant']}, seed {row['seed']}, was trained on "
                f"other images than those of {path}; leave 'finished' out to run everything"
            )
    kept = _by_key(rows_file) if rows_file.exists() else {}
    known = given | {k: row for k, row in kept.items() if index in (None, row["index"])}
    commit = _commit()
    rows: list[Row] = []
    missing = 0
    for own in planned.runs:
        for each in own.evaluations:
            if each.key in known:
                # Of a variant that had another name.
                rows.append(known[each.key] | {"variant": own.variant, "seed": own.seed})
            elif each.path.exists():
                made_from = index or read_index(path).digest
                rows.append(row_of(experiment, own, each, index=made_from, commit=commit))
            else:
                missing += 1
    used = {row["key"] for row in rows}
    write_rows(rows_file, [*rows, *(row for key, row in kept.items() if key not in used)])
    if missing:
        say(f"experiment: {missing} of {missing + len(rows)} evaluations are not finished yet")
    found = differences(experiment, planned, rows)
    tables = _tables(experiment, rows, found)
    if page is not None:
        _write_page(page, experiment, planned, rows=rows, tables=tables)
    return "\n\n".join(f"{title}\n{aligned([t.header, *t.rows])}" for title, t in tables)


def _by_key(path: Path) -> dict[str, Row]:
    return {row["key"]: row for row in read_rows(path)}


def _tables(
    experiment: Experiment, rows: list[Row], found: list[Difference]
) -> list[tuple[str, Table]]:
    tables = []
    for evaluation in experiment.base.downstream.evaluations:
        tables.append((f"{TITLES[evaluation]} (percent)", _levels(experiment, rows, evaluation)))
        own = [one for one in found if one.evaluation == evaluation]
        if own:
            title = f"Differences of {METRICS[evaluation][BY_NAME[evaluation].headline]} (points)"
            tables.append((title, _differences(own)))
    tables.append(("Cost of a run", _costs(experiment, rows)))
    return tables


def _levels(experiment: Experiment, rows: list[Row], evaluation: str) -> Table:
    names = METRICS[evaluation]
    table = []
    for variant in (INITIAL, *experiment.variants):
        own = [r for r in rows if (r["variant"], r["evaluation"]) == (variant, evaluation)]
        for number in sorted({row["round"] for row in own}):
            at = [row for row in own if row["round"] == number]
            table.append(
                [
                    variant,
                    str(number),
                    str(at[0]["steps"]),
                    *(percent([row["figures"][name] for row in at]) for name in names),
                    str(len(at)),
                ]
            )
    return Table(
        ["variant", "round", "steps", *names.values(), "seeds"],
        table,
        "Mean and standard deviation over seeds.",
    )


def _differences(found: list[Difference]) -> Table:
    return Table(
        ["variant", "minus", "difference", "95 % over seeds", "95 % over images", "seeds"],
        [
            [
                one.variant,
                one.baseline,
                f"{100 * one.difference:+.1f}",
                _interval(one.over_seeds),
                _interval(one.over_images),
                str(len(one.seeds)),
            ]
            for one in found
        ],
        "After the last round, paired by seed. Over seeds: Student's interval of the mean of the "
        "paired differences. Over images: the test images are resampled, and the seeds stay fixed. "
        "If an interval contains 0, the two are not separated.",
    )


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    mark = "" if interval.separated else " (not separated)"
    return f"{100 * interval.low:+.1f} … {100 * interval.high:+.1f}{mark}"


def _costs(experiment: Experiment, rows: list[Row]) -> Table:
    table = []
    for variant in experiment.variants:
        own = [r for r in rows if r["variant"] == variant and r["round"] == experiment.base.rounds]
        if own:
            table.append(
                [
                    variant,
                    str(own[0]["steps"]),
                    *(
                        duration(mean(row["seconds"][kind] for row in own))
                        for kind in ("pretrain", "masks", "evaluate")
                    ),
                    ", ".join(sorted({row["device"] for row in own})),
                ]
            )
    return Table(
        ["variant", "steps", "training", "masks", "evaluation", "device"],
        table,
        "Wall time of the jobs, mean over seeds; work that variants share counts for each of them.",
    )


def _charts(experiment: Experiment, rows: list[Row]) -> list[Chart]:
    """Of each evaluation: the metrics after the last round, and the curves by round."""
    pictures = []
    for evaluation in experiment.base.downstream.evaluations:
        name = BY_NAME[evaluation].headline
        title = f"{METRICS[evaluation][name]} (percent)"
        curves = {v: values_by_round(rows, evaluation, v, name) for v in experiment.variants}
        initial = values_by_round(rows, evaluation, INITIAL, name)
        last = {INITIAL: initial.get(0, [])}
        last |= {v: found.get(experiment.base.rounds, []) for v, found in curves.items()}
        shown = [(v, [100 * one for one in own]) for v, own in last.items() if own]
        if shown:
            pictures.append(
                Chart(
                    dots(title, shown),
                    f"{TITLES[evaluation]}: {title} after the last round, a point for each seed",
                )
            )
        if experiment.every_round and any(len(found) > 1 for found in curves.values()):
            lines = [
                Line(v, list(found), [100 * mean(own) for own in found.values()], style)
                for style, (v, found) in enumerate(curves.items())
            ]
            pictures.append(
                Chart(
                    chart(title, "round", lines),
                    f"{TITLES[evaluation]}: {title} by round, a line for each variant",
                )
            )
    return pictures


def _write_page(
    page: Path,
    experiment: Experiment,
    planned: Plan,
    *,
    rows: list[Row],
    tables: list[tuple[str, Table]],
) -> None:
    runs = len({(row["variant"], row["seed"]) for row in rows})
    commits = sorted({row["commit"] for row in rows})
    html = render(
        "experiment.html",
        title=f"{experiment.name}: {len(experiment.variants)} variants, "
        f"{len(experiment.seeds)} seeds",
        lead=f"{runs} of {len(planned.runs)} runs are finished. Everything but what a variant "
        "changes is the same: images, splits, steps, seeds.",
        pictures=_charts(experiment, rows),
        tables=tables,
        changes=Table(
            ["variant", "changes"],
            [[name, _as_text(own) or "nothing"] for name, own in experiment.overrides.items()],
        ),
        commits=", ".join(commits),
    )
    with atomic_write(page) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _as_text(changes: dict[str, object], prefix: str = "") -> str:
    words = []
    for key, value in changes.items():
        if isinstance(value, dict):
            words.append(_as_text(value, f"{prefix}{key}."))
        else:
            words.append(f"{prefix}{key}: {value}")
    return ", ".join(words)


def _commit() -> str:
    """Commit of the program that is checked out here, with a + where files were changed."""
    here = Path(__file__).parent
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return shown.stdout.strip()
