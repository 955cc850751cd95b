"""What an experiment computes, and what its runs share."""

from collections import Counter

from cyborgs.config import Compute
from cyborgs.config.experiment import parse_experiment
from cyborgs.experiments.plan import plan
from tests.experiments.experiments import tiny


def stages(planned):
    return Counter(job.stage for job in planned.jobs)


def outputs(planned):
    return {path for job in planned.jobs for path in job.outputs}


def planned(**changes):
    return plan(parse_experiment(tiny(**changes)))


def test_what_runs_have_in_common_is_computed_once():
    # Two seeds; both variants share the state and masks of round 0, and round 1.
    assert stages(planned()) == {
        "scenes": 1,
        "index": 1,
        "seed-state": 2,
        "seed-masks": 2 * 2,
        "pretrain": 2 * (1 + 2),
        "bootstrap": 2 * 2,
        "evaluate-segmentation": 2 * (1 + 1 + 2),
    }


def test_jobs_come_after_what_they_read_and_write_files_of_their_own():
    made = set()
    for job in planned().jobs:
        assert set(job.inputs) <= made
        assert not made & set(job.outputs)
        made |= set(job.outputs)


def test_a_variant_that_is_added_changes_no_other():
    before = outputs(planned())
    after = outputs(planned(variants={"first": {"views": {"crop": 32}}, **tiny()["variants"]}))
    assert before < after
    assert before == outputs(planned(variants=dict(reversed(tiny()["variants"].items()))))
    added = outputs(planned(seeds=[0, 1, 2]))
    assert before < added


def test_each_setting_gives_other_files():
    before = outputs(planned())
    for changes in (
        {"base": {"pretrain": {"base_learning_rate": 3}}},
        {"base": {"bootstrap": {"clusters": [2, 5]}}},
        {"base": {"seed_masks": {"cells": 3}}},
        {"base": {"data": {"scenes": {"images": 13}}}},
        {"base": {"downstream": {"segmentation": {"cost": 2}}}},
        {"base": {"model": {"hidden": 8}}},
    ):
        assert outputs(planned(**changes)) != before, changes


def test_where_and_how_fast_is_no_part_of_what_is_made():
    changed = planned(base={"compute": {"threads": 3}})
    assert outputs(changed) == outputs(planned())
    job = next(job for job in changed.jobs if job.stage == "pretrain")
    assert job.options(Compute(threads=3, workers=1))[:6] == [
        *("--device", "auto"),
        *("--threads", "3"),
        *("--workers", "1"),
    ]


def test_masks_of_features_begin_with_the_initial_weights():
    found = planned(variants={"features": {"seed_masks": {"kind": "features"}}})
    # Both variants of the file are replaced one by one, not together.
    assert stages(found)["bootstrap"] == 2 * 2 + 2 * 2 * 2


def test_each_round_is_evaluated_or_the_last_alone():
    rounds = [each.round for each in planned().runs[1].evaluations]
    assert rounds == [1, 2]
    last = planned(every_round=False)
    assert [each.round for each in last.runs[1].evaluations] == [2]
    assert [each.round for each in last.runs[0].evaluations] == [0]


def test_scores_are_written_where_the_evaluation_has_such():
    downstream = {"evaluations": ["segmentation", "voc_svm", "voc_segmentation"]}
    found = {job.stage: job for job in planned(base={"downstream": downstream}).jobs}
    for name, own in (("segmentation", True), ("voc-svm", False), ("voc-segmentation", False)):
        job = found[f"evaluate-{name}"]
        assert ("--annotations" in job.command) == own
        assert ("--datasets" in job.command) == (not own)
        scores = [path for path in job.outputs if path.endswith(".npz")]
        assert bool(scores) == (name == "voc-svm")
        assert ("--scores" in job.command) == bool(scores)


def test_a_run_that_is_finished_is_not_planned_again():
    experiment = parse_experiment(tiny())
    whole = plan(experiment)
    done = next(run for run in whole.runs if (run.variant, run.seed) == ("bootstrapped", 1))
    rest = plan(experiment, frozenset(each.key for each in done.evaluations))
    # What the other variant shares with it is still made.
    assert stages(rest)["pretrain"] == 5
    assert stages(rest)["bootstrap"] == 2
    keys = frozenset(each.key for run in whole.runs for each in run.evaluations)
    assert stages(plan(experiment, keys)) == {"scenes": 1, "index": 1}


def test_metrics_of_the_last_round_finish_a_run():
    experiment = parse_experiment(tiny())
    runs = plan(experiment).runs
    last = frozenset(each.key for run in runs for each in run.evaluations if each.round != 1)
    assert stages(plan(experiment, last)) == {"scenes": 1, "index": 1}
    first = frozenset(each.key for run in runs for each in run.evaluations if each.round < 2)
    # Only the initial weights, whose last round is 0, are left out.
    assert stages(plan(experiment, first))["pretrain"] == stages(plan(experiment))["pretrain"]


def test_where_the_images_lie_does_not_matter(tmp_path):
    def keys(images):
        data = {"images": images, "annotations": f"{images}.json"}
        base = tiny()["base"] | {"data": data}
        found = plan(parse_experiment(tiny() | {"base": base}))
        return [each.key for run in found.runs for each in run.evaluations]

    assert keys("here") == keys("there/photos")
