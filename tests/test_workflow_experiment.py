"""Experiments under Snakemake: what runs, what does not run again, and what they leave."""

import json

import pytest

from cyborgs.experiments.rows import read_rows
from tests.experiments.experiments import snakemake, tiny
from tests.runs import LISTED, TARGETS

pytestmark = pytest.mark.slow


def planned(folder, experiment):
    """Names of the jobs that a dry run would start, with their counts."""
    output = snakemake(folder, experiment, *LISTED).stdout
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[-1].split("\n\n")[0].splitlines()[3:]
    jobs = {name: int(count) for name, count in (line.split() for line in table)}
    return {name: count for name, count in jobs.items() if name not in TARGETS}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    run = snakemake(folder, tiny())
    assert run.returncode == 0, run.stdout
    return folder


def test_a_finished_experiment_has_metrics_differences_and_a_page(finished):
    folder = finished / "results/tiny"
    rows = read_rows(folder / "rows.jsonl")
    assert {(row["variant"], row["seed"], row["round"], row["steps"]) for row in rows} == {
        *(("initial", seed, 0, 0) for seed in (0, 1)),
        *((v, s, r, 3 * r) for v in ("fixed", "bootstrapped") for s in (0, 1) for r in (1, 2)),
    }
    # Round 1 is the same for both: they are one job.
    by_run = {(row["variant"], row["seed"], row["round"]): row for row in rows}
    for seed in (0, 1):
        assert by_run["fixed", seed, 1]["key"] == by_run["bootstrapped", seed, 1]["key"]
        assert by_run["fixed", seed, 2]["key"] != by_run["bootstrapped", seed, 2]["key"]
    assert by_run["fixed", 0, 2]["seconds"]["pretrain"] > 0
    assert by_run["bootstrapped", 0, 2]["changes"] == {}
    log = (folder / "logs/summary.log").read_text()
    assert "95 % over seeds" in log
    page = (folder / "experiment.html").read_text()
    assert "4 of 6" not in page
    assert "6 of 6 runs are finished" in page
    assert planned(finished, tiny()) == {}


def test_a_variant_that_is_added_runs_alone(finished):
    added = tiny(variants={**tiny()["variants"], "global": {"seed_masks": {"kind": "global"}}})
    assert planned(finished, added) == {
        "seed_masks": 4,
        "pretrain": 4,
        "bootstrap": 4,
        "evaluate_segmentation": 4,
        "summary": 1,
    }


def test_runs_that_were_finished_elsewhere_are_taken_from_their_rows(finished, tmp_path):
    rows = [
        line
        for line in (finished / "results/tiny/rows.jsonl").read_text().splitlines()
        if json.loads(line)["variant"] != "bootstrapped"
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows) + "\n")
    experiment = tiny(finished=str(tmp_path / "rows.jsonl"))
    assert planned(tmp_path, experiment) == {
        "scenes": 1,
        "index": 1,
        "seed_state": 2,
        "seed_masks": 4,
        "pretrain": 4,
        "bootstrap": 4,
        "evaluate_segmentation": 4,
        "summary": 1,
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": [0]}, "one seed has no spread"),
        ({"finished": "nowhere.jsonl"}, "nowhere.jsonl"),
        (
            {"variants": {"given": {"seed_masks": {"kind": "file", "masks": "nowhere"}}}},
            "nowhere",
        ),
        ({"variants": {"given": {"model": {"weights": "nowhere.pth"}}}}, "nowhere.pth"),
        ({"variants": {"fixed": {"rounds": 3}}}, "variants.fixed: changes rounds"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(tmp_path, changes, told):
    run = snakemake(tmp_path, tiny(**changes))
    assert run.returncode != 0
    assert told in run.stdout
    assert "Traceback" not in run.stdout
    assert not (tmp_path / "results").exists()
