"""What evaluations write: metrics of each seed, with what is behind them; and tables of those."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write, require_file
from cyborgs.evaluation import EVALUATIONS

# Imported here because it loads torch: reading results must stay fast.
if TYPE_CHECKING:
    from cyborgs.evaluation.sources import Source

Result = dict[str, Any]

# Evaluations in the order of tables, and what readers call them.
TITLES = {evaluation.name: evaluation.title for evaluation in EVALUATIONS}

# Metrics of each, which are shares in 0 … 1, and their headings; tables show them in percent.
METRICS = {evaluation.name: evaluation.metrics for evaluation in EVALUATIONS}


def write_result(
    out: Path,
    evaluation: str,
    source: "Source",
    *,
    seeds: Sequence[Mapping[str, Any]],
    command: str,
    provenance: Mapping[str, Any],
    classes: int,
) -> Result:
    """Write the metrics of a backbone as JSON, and return them.

    Args:
        out: the file.
        evaluation: one of `TITLES`.
        source: the backbone.
        seeds: a row for each: ``seed``, ``test`` (how many were tested), and the metrics.
        command: that makes the file again.
        provenance: settings and hashes, without the seed.
        classes: how many are told apart.
    """
    result = _summed_up(
        {
            "evaluation": evaluation,
            "backbone": {
                "name": source.name,
                "architecture": source.architecture,
                "layout": source.layout,
                "network": source.network,
            },
            "classes": classes,
            "commands": [command],
            "seeds": list(seeds),
            "provenance": provenance,
        }
    )
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _summed_up(result: Result) -> Result:
    """With ``mean`` and ``std`` (of the sample; null for one seed) over the seeds."""
    rows, names = result["seeds"], METRICS[result["evaluation"]]
    values = {name: [row[name] for row in rows] for name in names}
    return result | {
        "mean": {name: mean(own) for name, own in values.items()},
        "std": {n: stdev(own) if len(own) > 1 else None for n, own in values.items()},
    }


def read_results(paths: Sequence[Path]) -> list[Result]:
    """What `write_result` wrote, those of one backbone's seeds joined, by evaluation.

    Raises `InputError` where a file is missing or is none of them, or has a seed that another one
    has too.
    """
    joined: dict[str, Result] = {}
    for path in paths:
        require_file(path, "result")
        try:
            result = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"result {path} is damaged ({error}); make it again") from None
        if not isinstance(result, dict) or result.get("evaluation") not in TITLES:
            raise InputError(
                f"result {path} is damaged or is not the result of an evaluation; make it again "
                "or leave it out"
            )
        try:
            key = json.dumps(
                [result["evaluation"], result["backbone"], _behind(result)], sort_keys=True
            )
            if "deviation" in result:
                # As earlier versions called it.
                result["std"] = result.pop("deviation")
            _summed_up(result)
            seeds = {row["seed"] for row in result["seeds"]}
            rows_of([result])
            long_rows([result])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise InputError(f"result {path} is damaged ({error}); make it again") from None
        if key not in joined:
            joined[key] = result
            continue
        other = joined[key]
        again = seeds & {row["seed"] for row in other["seeds"]}
        if again:
            raise InputError(
                f"result {path}: seed {min(again)} of {result['backbone']['name']} is in another "
                "file too; give each once"
            )
        joined[key] = _summed_up(
            other
            | {
                "seeds": sorted(other["seeds"] + result["seeds"], key=lambda row: row["seed"]),
                "commands": other["commands"] + result["commands"],
            }
        )
    order = list(TITLES)
    return sorted(joined.values(), key=lambda result: order.index(result["evaluation"]))


def _behind(result: Result) -> Any:
    record = result["provenance"]
    return record["stage_version"], record["config"], record["inputs"]


def tables(results: Sequence[Result]) -> dict[str, list[list[str]]]:
    """Title of each evaluation to its table, as `rows_of` has it."""
    return {
        title: rows_of([r for r in results if r["evaluation"] == name])
        for name, title in TITLES.items()
        if any(r["evaluation"] == name for r in results)
    }


def rows_of(results: Sequence[Result]) -> list[list[str]]:
    """A heading, and a row for each result of one evaluation: percent, mean ± std.

    A column ``settings`` tells what is not the same behind all of them.
    """
    names = METRICS[results[0]["evaluation"]]
    header = ["backbone", "network", *names.values(), "seeds", "tested", "classes"]
    rows = [
        [
            f"{r['backbone']['name']} ({r['backbone']['architecture']})",
            r["backbone"]["network"],
            *(_percent(r["mean"][k], r["std"][k]) for k in names),
            str(len(r["seeds"])),
            str(r["seeds"][0]["test"]),
            str(r["classes"]),
        ]
        for r in results
    ]
    differences = _differences(results)
    if any(differences):
        header.append("settings")
        for row, own in zip(rows, differences, strict=True):
            row.append(own)
    return [header, *rows]


def _percent(value: float, std: float | None) -> str:
    spread = "" if std is None else f" ± {100 * std:.1f}"
    return f"{100 * value:.1f}{spread}"


def _differences(results: Sequence[Result]) -> list[str]:
    """What is behind each result and not behind all of them, but for their backbones."""
    behind = [_settings(r["provenance"]) for r in results]
    known = dict.fromkeys(key for own in behind for key in own)
    keys = [key for key in known if len({own.get(key) for own in behind}) > 1]
    return [", ".join(f"{key}={own[key]}" for key in keys if key in own) for own in behind]


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    """Settings of an evaluation, and the beginnings of hashes of its data."""
    found = {}
    for section, values in record["config"].items():
        for key, value in (values if isinstance(values, dict) else {section: values}).items():
            found[key] = json.dumps(value)
    # What `auto` came to.
    if "precision" in found and "hardware" in record:
        found["precision"] = json.dumps(record["hardware"]["precision"])
    inputs = record["inputs"].items()
    return found | {role: digest[:8] for role, digest in inputs if role != "backbone"}


# Columns of `long_rows`.
LONG = (
    "evaluation", "backbone", "architecture", "network", "figure", "mean", "std", "seeds",
    "command", "settings", "inputs (SHA-256)", "libraries", "hardware",
)  # fmt: skip


def long_rows(results: Sequence[Result]) -> list[list[str]]:
    """A heading, and a row for each metric, with the commands, settings and hashes behind it."""
    rows = [list(LONG)]
    for r in results:
        record = r["provenance"]
        for name in METRICS[r["evaluation"]]:
            rows.append(
                [
                    r["evaluation"],
                    r["backbone"]["name"],
                    r["backbone"]["architecture"],
                    r["backbone"]["network"],
                    name,
                    f"{r['mean'][name]:.6f}",
                    "" if r["std"][name] is None else f"{r['std'][name]:.6f}",
                    ",".join(str(row["seed"]) for row in r["seeds"]),
                    # A cell has no line ends and no tabs; JSON does not need them.
                    re.sub(r"[\t\r\n]+", " ", "; ".join(r["commands"])),
                    json.dumps(record["config"], sort_keys=True),
                    json.dumps(record["inputs"], sort_keys=True),
                    json.dumps(record["libraries"], sort_keys=True),
                    json.dumps(record.get("hardware", {}), sort_keys=True),
                ]
            )
    return rows
