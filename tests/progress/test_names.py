"""Names of jobs."""

import pytest

from cyborgs.progress.names import name_of


@pytest.mark.parametrize(
    ("rule", "wildcards", "outputs", "name"),
    [
        ("pretrain", {"round": "02"}, [], "round 2: pretraining"),
        (
            "bootstrap", {"round": "02", "shard": "0002"},
            ["results/a-of-9/masks/round-02/shard-0002-of-0008.h5"],
            "round 2: masks, shard 3 of 8",
        ),
        ("bootstrap", {"round": "00", "shard": "0000"}, [], "seed: masks, shard 1"),
        ("seed_masks", {"shard": "0001"}, ["s-of-0002.h5"], "seed: masks, shard 2 of 2"),
        ("seed_state", {}, [], "seed: weights"),
        ("fixed_k", {"k": "8", "round": "00"}, [], "seed: quality, masks at K = 8"),
        ("quality_fixed", {"k": "8", "round": "03"}, [], "round 3: quality, at K = 8"),
        ("quality_made", {"round": "12"}, [], "round 12: quality, as made"),
        ("index", {}, [], "index"),
        ("report", {}, [], "report"),
        (
            "evaluate_voc_detection", {"backbone": "round-03", "seed": "1"}, [],
            "evaluations: voc_detection, round-03, seed 1",
        ),
        (
            "bootstrap", {"key": "1a2b", "shard": "0000"}, ["shard-0000-of-0004.h5"],
            "experiment: masks, 1a2b, shard 1 of 4",
        ),
        ("some_rule_of_yours", {"x": "1"}, [], "jobs: some rule of yours, 1"),
    ],
)  # fmt: skip
def test_jobs_have_names_that_people_use(rule, wildcards, outputs, name):
    assert str(name_of(rule, wildcards, outputs)) == name


def test_parts_of_a_run_come_in_their_order():
    rules = [("report", ""), ("pretrain", "10"), ("pretrain", "02"), ("seed_state", ""),
             ("evaluate_objects", ""), ("scenes", "")]  # fmt: skip
    names = [name_of(rule, {"round": n} if n else {}) for rule, n in rules]
    assert [name.group for name in sorted(names, key=lambda name: name.order)] == [
        "data", "seed", "round 2", "round 10", "evaluations", "end",
    ]  # fmt: skip
