"""Metrics of an experiment's variants, and their differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

from cyborgs.common.errors import InputError
from cyborgs.config.experiment import INITIAL, Experiment
from cyborgs.evaluation import BY_NAME
from cyborgs.experiments.plan import Plan
from cyborgs.experiments.rows import Row
from cyborgs.experiments.statistics import (
    Interval,
    over_images,
    paired_over_seeds,
    resampled_map,
    resamples,
)


@dataclass(frozen=True)
class Difference:
    """A variant's headline metric less a baseline's, after the last round.

    Attributes:
        seeds: those that both have.
        over_seeds: None where there is one seed alone.
        over_images: None where scores of the test images are not at hand.
    """

    evaluation: str
    variant: str
    baseline: str
    seeds: tuple[int, ...]
    difference: float
    over_seeds: Interval | None
    over_images: Interval | None


def values_by_round(
    rows: Sequence[Row], evaluation: str, variant: str, name: str
) -> dict[int, list[float]]:
    """Round to the metrics of all seeds; the initial weights are round 0 of each variant."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["evaluation"] == evaluation and row["variant"] in (variant, INITIAL):
            found.setdefault(row["round"], []).append(row["figures"][name])
    return dict(sorted(found.items()))


def percent(values: Sequence[float]) -> str:
    """Mean and standard deviation in percent."""
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def differences(experiment: Experiment, plan: Plan, rows: Sequence[Row]) -> list[Difference]:
    """Each variant against each baseline, for each evaluation.

    Raises `InputError` where rows were measured on different data.
    """
    _require_same_data(rows)
    found = []
    for evaluation in experiment.base.downstream.evaluations:
        resampled = _resampled(experiment, plan, evaluation)
        for baseline in experiment.baselines:
            for variant in experiment.variants:
                ours, theirs = (
                    _last(experiment, rows, evaluation, name) for name in (variant, baseline)
                )
                seeds = tuple(seed for seed in experiment.seeds if seed in ours and seed in theirs)
                if variant == baseline or not seeds:
                    continue
                values = [ours[seed] - theirs[seed] for seed in seeds]
                pairs = [(variant, seed) for seed in seeds], [(baseline, seed) for seed in seeds]
                scored = all(run in resampled for side in pairs for run in side)
                found.append(
                    Difference(
                        evaluation,
                        variant,
                        baseline,
                        seeds,
                        mean(values),
                        paired_over_seeds(values) if len(seeds) > 1 else None,
                        over_images(*([resampled[run] for run in side] for side in pairs))
                        if scored
                        else None,
                    )
                )
    return found


def _last(
    experiment: Experiment, rows: Sequence[Row], evaluation: str, variant: str
) -> dict[int, float]:
    """Seed to the headline metric after the last round."""
    number = _last_round(experiment, variant)
    return {
        row["seed"]: row["figures"][BY_NAME[evaluation].headline]
        for row in rows
        if (row["evaluation"], row["variant"], row["round"]) == (evaluation, variant, number)
    }


def _last_round(experiment: Experiment, variant: str) -> int:
    return 0 if variant == INITIAL else experiment.base.rounds


def _resampled(
    experiment: Experiment, plan: Plan, evaluation: str
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Variant and seed to mAP by resample after the last round, where scores are at hand."""
    found: dict[tuple[str, int], NDArray[np.float64]] = {}
    for run in plan.runs:
        for planned in run.evaluations:
            wanted = (evaluation, _last_round(experiment, run.variant))
            if (planned.evaluation, planned.round) == wanted and planned.scores.exists():
                with np.load(planned.scores) as content:
                    truth, scores = content["truth"], content["scores"]
                found[run.variant, run.seed] = resampled_map(scores, truth, resamples(len(truth)))
    return found


def _require_same_data(rows: Sequence[Row]) -> None:
    first: dict[str, Row] = {}
    for row in rows:
        known = first.setdefault(row["evaluation"], row)
        for key, what in (("data", "measured on other data"), ("index", "trained on other images")):
            if row[key] != known[key]:
                raise InputError(
                    f"experiment: {row['evaluation']} of {row['variant']}, seed {row['seed']}, was "
                    f"{what} than that of {known['variant']}, seed {known['seed']}; run one of "
                    "the two again, or remove its rows (from the file that finished: names, if "
                    "they come from there)"
                )
