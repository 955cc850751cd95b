"""Differences between variants: which rows they take, and when they are refused."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cyborgs.common.errors import InputError
from cyborgs.config.experiment import merged, parse_experiment
from cyborgs.experiments.comparison import differences, percent
from cyborgs.experiments.plan import plan
from tests.experiments.experiments import TINY, tiny
from tests.experiments.test_rows import ROW


def row(variant, seed, number, value, **changes):
    metrics = {"miou": value, "accuracy": 0.5}
    return ROW | {"variant": variant, "seed": seed, "round": number, "figures": metrics} | changes


def compared(rows, **changes):
    experiment = parse_experiment(tiny(**changes))
    return {(d.variant, d.baseline): d for d in differences(experiment, plan(experiment), rows)}


ROWS = [
    *(row("initial", seed, 0, value) for seed, value in enumerate((0.10, 0.12))),
    *(row("fixed", seed, 1, 0.9) for seed in (0, 1)),
    *(row("fixed", seed, 2, value) for seed, value in enumerate((0.20, 0.26))),
    row("bootstrapped", 1, 2, 0.30),
]


def test_differences_are_of_the_last_round_and_paired_by_seed():
    found = compared(ROWS)
    assert set(found) == {
        ("fixed", "initial"),
        ("bootstrapped", "initial"),
        ("bootstrapped", "fixed"),
    }
    one = found["fixed", "initial"]
    assert (one.seeds, one.over_images) == ((0, 1), None)
    assert one.difference == pytest.approx(0.12)
    assert one.over_seeds is not None
    assert one.over_seeds.low < 0.12 < one.over_seeds.high
    alone = found["bootstrapped", "fixed"]
    assert (alone.seeds, alone.over_seeds) == ((1,), None)
    assert alone.difference == pytest.approx(0.04)


def test_metrics_of_other_data_are_refused():
    other = row("bootstrapped", 0, 2, 0.3, data={"index": "another"})
    with pytest.raises(InputError, match="bootstrapped, seed 0, was measured on other data"):
        compared([*ROWS, other])


def test_metrics_of_other_training_images_are_refused():
    other = row("bootstrapped", 0, 2, 0.3, index="another")
    with pytest.raises(InputError, match="bootstrapped, seed 0, was trained on other images"):
        compared([*ROWS, other])


def test_scores_of_the_test_images_give_an_interval_over_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    downstream = {"evaluations": ["voc_svm"], "datasets": "sets"}
    base = {k: v for k, v in TINY["base"].items() if k != "downstream"} | {"downstream": downstream}
    experiment = parse_experiment(merged(TINY | {"base": base}, {"seeds": [0, 1]}))
    planned = plan(experiment)
    rng = np.random.default_rng(0)
    truth = rng.choice([-1, 1], (40, 2)).astype(np.int8)
    rows = []
    for run in planned.runs:
        for each in run.evaluations:
            scores = (truth * (run.variant != "initial") + rng.normal(0, 1, truth.shape)).astype(
                np.float32
            )
            each.scores.parent.mkdir(parents=True, exist_ok=True)
            np.savez(each.scores, truth=truth, scores=scores)
            value = np.mean(
                [average_precision_score(truth[:, c] == 1, scores[:, c]) for c in (0, 1)]
            )
            changes = {"evaluation": "voc_svm", "figures": {"map": value}}
            rows.append(row(run.variant, run.seed, each.round, 0, **changes))
    found = {(d.variant, d.baseline): d for d in differences(experiment, planned, rows)}
    one = found["fixed", "initial"]
    assert one.over_images is not None
    assert one.over_images.mean == pytest.approx(one.difference)
    assert one.over_images.low < one.difference < one.over_images.high
    assert one.over_images.separated


def test_a_mean_has_its_spread_where_there_is_one():
    assert percent([0.1, 0.2]) == "15.0 ± 7.1"
    assert percent([0.1234]) == "12.3"
