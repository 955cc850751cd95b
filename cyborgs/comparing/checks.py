"""Whether runs compare: of the same images, and measured alike."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyborgs.api.runs import Run, open_run
from cyborgs.api.tables import results
from cyborgs.common.errors import InputError
from cyborgs.masks.shards import Shard
from cyborgs.quality.results import read_quality


def open_all(folders: Sequence[Path]) -> dict[str, Run]:
    """Runs by what tables call them: the folder's name, or its path where two share a name.

    Raises `InputError` where there are fewer than two, one is given twice, or one is no run.
    """
    if len(folders) < 2:
        only = f"only {folders[0]} is given" if folders else "none is given"
        raise InputError(f"RUN: {only}; give two runs or more")
    seen: dict[str, Path] = {}
    for folder in folders:
        real = os.path.realpath(folder)
        if real in seen:
            raise InputError(f"run {folder} is given twice; give each once")
        seen[real] = folder
    runs = [open_run(folder) for folder in folders]
    names = [Path(real).name for real in seen]
    return {
        str(folder) if names.count(name) > 1 else name: run
        for folder, name, run in zip(folders, names, runs, strict=True)
    }


def require_comparable(runs: Mapping[str, Run]) -> None:
    """Refuse runs that do not compare, with everything that differs, in one line.

    Runs can be compared if they have the same images, and if everything that several of them have
    measured was measured in the same way: masks against the same annotations and at a common K,
    and each evaluation on the same data with the same settings.  A run may lack measurements.

    Raises:
        InputError: they do not.
    """
    wrong = [*_images(runs), *_annotations(runs), *_clusters(runs), *_evaluations(runs)]
    if wrong:
        raise InputError(
            f"these runs cannot be compared: {'; '.join(wrong)}. Give runs of the same images "
            "that were measured in the same way, or measure one again"
        )


def common_clusters(runs: Mapping[str, Run]) -> tuple[list[int], list[str]]:
    """Each K at which the masks of all runs were measured on the same images; and what is left out.

    Only some images are clustered at a fixed K (`quality.images`), and another seed draws others.
    """
    first, *others = runs
    kept, left_out = [], []
    for k in _in_common(runs):
        samples = {name: _sample(run, k) for name, run in runs.items()}
        odd = [name for name in others if None not in (samples[name], samples[first])]
        odd = [name for name in odd if samples[name] != samples[first]]
        if odd:
            left_out.append(
                f"quality at K = {k} is left out: {' and '.join(odd)} measured other images than "
                f"{first} (seed, quality.images or bootstrap.group differ)"
            )
        else:
            kept.append(k)
    return kept, left_out


def _images(runs: Mapping[str, Run]) -> list[str]:
    (first, ours), *others = runs.items()
    wrong = []
    for name, run in others:
        if run.index.digest == ours.index.digest:
            continue
        theirs, mine = set(run.names), set(ours.names)
        if alone := sorted(theirs - mine):
            detail = f"{alone[0]} is not in {first}"
        elif alone := sorted(mine - theirs):
            detail = f"{alone[0]} of {first} is missing"
        else:
            detail = "with the same names"
        wrong.append(
            f"{name} has other images than {first} ({len(run.names)} and {len(ours.names)}; "
            f"{detail})"
        )
    return wrong


def _annotations(runs: Mapping[str, Run]) -> list[str]:
    known = {name: digest for name, run in runs.items() if (digest := _measured_against(run))}
    if len(set(known.values())) < 2:
        return []
    (first, ours), *others = known.items()
    return [
        f"masks of {name} were measured against other annotations than those of {first}"
        for name, digest in others
        if digest != ours
    ]


def _measured_against(run: Run) -> str | None:
    """The digest of the annotations that masks were last measured against."""
    kinds = ["made", *(f"k-{k}" for k in run.config.quality.clusters)]
    for kind in kinds:
        for number in reversed(range(run.config.rounds + 1)):
            path = run.files.quality(kind, number)
            if path.exists():
                return str(read_quality(path)["annotations"])
    return None


def _clusters(runs: Mapping[str, Run]) -> list[str]:
    measured = _measured_clusters(runs)
    if len(measured) < 2 or set.intersection(*map(set, measured.values())):
        return []
    found = ", ".join(f"{name} {ks}" for name, ks in measured.items())
    return [f"quality.clusters have no K in common ({found})"]


def _measured_clusters(runs: Mapping[str, Run]) -> dict[str, list[int]]:
    """Each K of each run at which some round was measured; runs without any are left out."""
    found = {
        name: [
            k
            for k in run.config.quality.clusters
            if any(run.files.quality(f"k-{k}", n).exists() for n in range(run.config.rounds + 1))
        ]
        for name, run in runs.items()
    }
    return {name: ks for name, ks in found.items() if ks}


def _in_common(runs: Mapping[str, Run]) -> list[int]:
    measured = list(_measured_clusters(runs).values())
    return [k for k in measured[0] if all(k in ks for ks in measured)] if measured else []


def _sample(run: Run, k: int) -> list[int] | None:
    """Numbers of the images that were clustered at a fixed K."""
    for number in range(run.config.rounds + 1):
        path = run.files.fixed_k(k, number)
        if path.exists():
            with Shard(path) as shard:
                return sorted(shard.positions.tolist())
    return None


def _evaluations(runs: Mapping[str, Run]) -> list[str]:
    wrong = []
    first: dict[str, tuple[str, dict[str, str]]] = {}
    for name, run in runs.items():
        told = set()
        for evaluation, _, result in results(run.files):
            behind = _behind(result)
            other, expected = first.setdefault(evaluation, (name, behind))
            for key in sorted(behind.keys() | expected.keys()):
                if behind.get(key) == expected.get(key) or (evaluation, key) in told:
                    continue
                told.add((evaluation, key))
                wrong.append(
                    f"{evaluation}: {name} has {key} {behind.get(key, 'unset')}, {other} has "
                    f"{expected.get(key, 'unset')}"
                )
    return wrong


def _behind(result: Mapping[str, Any]) -> dict[str, str]:
    """What must be the same for metrics to be comparable: settings, and digests of data."""
    record = result["provenance"]
    found = {"version": str(record["stage_version"])}
    for section, values in record["config"].items():
        # The number of repetitions changes the spread alone.
        if section != "seeds":
            items = values.items() if isinstance(values, dict) else [(section, values)]
            found |= {key: json.dumps(value) for key, value in items}
    inputs = record["inputs"].items()
    return found | {f"data ({role})": digest[:8] for role, digest in inputs if role != "backbone"}
