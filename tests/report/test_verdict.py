"""Whether a run worked: every combination of what may be known."""

import itertools
from dataclasses import replace

import pytest

from cyborgs.report.facts import (
    Backbone,
    Costs,
    Difference,
    Facts,
    Health,
    Judgement,
    Masks,
    Progress,
)
from cyborgs.report.verdict import Outcome, collapse_of, duration, outcome_of, signed, verdict

B, W, E, U = Judgement.BETTER, Judgement.WORSE, Judgement.EVEN, Judgement.UNKNOWN
DONE = Progress(3, 3)
HEALTHY = Health([0.8, 0.84], 10.6, 2.5)


def difference(judgement, value=0.2):
    """One that comes to a judgement, or None."""
    delta = {B: 0.1, W: -0.1, E: 0.01, U: None}[judgement]
    if delta is None:
        return None
    half = 0.02
    return Difference(value, value - delta, (delta - half, delta + half), "256 images")


def facts(seed=U, before=U, made=U, random=U, initial=U, **others):
    masks = Masks(
        labelled=True, round=3, kind="K = 8",
        seed=difference(seed), before=difference(before), made=difference(made),
    )  # fmt: skip
    backbone = Backbone(
        "VOC07, mAP", 3, difference(random, 50.0), difference(initial, 50.0), hint="x: y"
    )
    return replace(Facts(DONE, masks, backbone, HEALTHY), **others)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.01, 0.2), B), ((-0.2, -0.01), W), ((-0.1, 0.1), E), ((0.0, 0.1), E), (None, U)],
)
def test_a_difference_is_judged_by_its_interval(interval, expected):
    assert Difference(0.5, 0.4, interval, "").judgement is expected


@pytest.mark.parametrize(
    ("seed", "before", "made", "expected"),
    [
        (B, B, B, Outcome.WORKED), (B, B, U, Outcome.WORKED), (B, E, U, Outcome.WORKED),
        (B, B, W, Outcome.PARTLY), (B, W, U, Outcome.PARTLY), (E, B, U, Outcome.PARTLY),
        (E, E, U, Outcome.FAILED), (E, W, U, Outcome.FAILED), (W, B, U, Outcome.FAILED),
        (W, W, U, Outcome.FAILED), (W, E, B, Outcome.FAILED), (U, B, U, Outcome.WORKED),
        (U, W, U, Outcome.FAILED), (U, U, U, Outcome.UNKNOWN),
    ],
)  # fmt: skip
def test_masks_alone(seed, before, made, expected):
    assert outcome_of(facts(seed, before, made)) is expected


@pytest.mark.parametrize(
    ("random", "initial", "expected"),
    [
        (B, U, Outcome.WORKED), (B, B, Outcome.WORKED), (B, E, Outcome.PARTLY),
        (B, W, Outcome.FAILED), (E, U, Outcome.FAILED), (W, U, Outcome.FAILED),
        (U, B, Outcome.WORKED), (U, U, Outcome.UNKNOWN),
    ],
)  # fmt: skip
def test_backbone_alone(random, initial, expected):
    assert outcome_of(facts(random=random, initial=initial)) is expected


@pytest.mark.parametrize(
    ("seed", "random", "expected"),
    [
        (B, B, Outcome.WORKED), (B, W, Outcome.PARTLY), (W, B, Outcome.PARTLY),
        (W, W, Outcome.FAILED),
    ],
)  # fmt: skip
def test_masks_and_backbone(seed, random, expected):
    assert outcome_of(facts(seed, B, random=random)) is expected


@pytest.mark.parametrize(
    ("spreads", "masks", "expected"),
    [
        ([0.8], 9.0, B), ([0.8, 0.4], 9.0, E), ([0.8, 0.1], 9.0, W), ([0.1, 0.8], 9.0, B),
        ([0.8], 1.1, W), ([], None, U), ([], 9.0, U),
    ],
)  # fmt: skip
def test_collapse(spreads, masks, expected):
    assert collapse_of(Health(spreads, masks, 2.5)) is expected


def test_a_run_that_begins_with_one_mask_an_image_has_not_collapsed():
    assert collapse_of(Health([0.8], 1.0, 1.0)) is B


@pytest.mark.parametrize("seed", [B, W, U])
def test_a_collapse_comes_before_all_else(seed):
    found = verdict(facts(seed, B, random=B, health=Health([0.8, 0.15, 0.03], 9.0, 2.5)))
    assert (found.word, found.tone) == ("Collapsed", "worse")
    assert "Since epoch 2" in " ".join(found.sentences)


def test_better_than_before_training_is_not_better_than_the_seed():
    """The sentence that used to mislead."""
    masks = Masks(
        True, 3, "K = 8",
        seed=Difference(0.089, 0.123, (-0.05, -0.02), "256 images"),
        before=Difference(0.089, 0.051, (0.02, 0.05), "256 images"),
    )  # fmt: skip
    found = verdict(Facts(DONE, masks, Backbone(hint="x"), HEALTHY))
    assert found.word == "Did not work (masks only)"
    assert "the seed masks are better" in found.headline
    assert (
        "score 0.089 in agreement with the annotated objects: worse than the seed masks (0.123) "
        "but better than the masks before training (0.051)." in " ".join(found.sentences)
    )
    first, second = found.tiles[0].entries
    assert (first.number, first.word) == ("\N{MINUS SIGN}0.034", "worse")
    assert (second.number, second.word) == ("+0.038", "better")


@pytest.mark.parametrize("judgements", list(itertools.product([B, W, E, U], repeat=4)))
def test_each_comparison_is_told_by_its_word(judgements):
    seed, before, random, initial = judgements
    found = verdict(facts(seed, before, random=random, initial=initial))
    text = " ".join(found.sentences)
    words = {B: "better than", W: "worse than", E: "not separable from"}
    for judgement, name in (
        (seed, "the seed masks"), (before, "the masks before training"),
        (random, "random weights"), (initial, "the weights that it was given"),
    ):  # fmt: skip
        assert (name in text) == (judgement is not U)
        if judgement is not U:
            assert f"{words[judgement]} {name} (" in text
    assert [tile.name for tile in found.tiles] == ["Masks", "Backbone", "Collapse", "Cost"]


def test_one_seed_is_no_interval():
    one = Difference(50.0, 40.0, None, "one seed")
    found = verdict(facts(backbone=Backbone("VOC07, mAP", 3, random=one, hint="x")))
    assert found.word == "Not known"
    assert "no interval: one seed" in found.tiles[1].entries[0].detail


def test_without_labels():
    found = verdict(Facts(DONE, Masks(agreement=0.71), Backbone(hint="x"), HEALTHY))
    assert found.word == "Not known"
    assert "There are no annotations" in " ".join(found.sentences)
    assert "0.71" in " ".join(found.sentences)
    assert "not how good" in " ".join(found.sentences).replace("and not", "not")


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (Progress(3, 1, 2, 4), "round 2 of 3 under way, 2 of 4 epochs"),
        (Progress(3, 0), "round 1 of 3 under way"),
        (Progress(3, 3, missing=["mask quality"]), "mask quality still missing"),
    ],
)
def test_a_run_under_way_says_where_it_is(progress, words):
    known = verdict(facts(B, B, progress=progress))
    assert known.headline.startswith("Not finished")
    assert words in known.headline
    assert known.word == "So far: worked (masks only)"
    assert verdict(facts(progress=progress)).word == "Under way"


def test_seed_masks_that_are_the_annotations_cannot_be_beaten():
    masks = replace(facts(W, B).masks, oracle=True)
    found = verdict(facts(masks=masks))
    assert found.word == "Worked (masks only)"
    assert "worse than the annotations, which were its seed masks" in found.sentences[1]


def test_what_is_not_known_says_how_to_know():
    found = verdict(facts())
    assert found.tiles[1].entries[0].detail == "to measure it, set in the configuration: x: y"


def test_cost():
    costs = Costs(3600, 360, [10.0, 30.0, 20.0], 2.5e9, 7e9)
    time, speed = verdict(facts(costs=costs)).tiles[3].entries
    assert (time.number, time.detail) == ("1 h 6 min", "training 1 h 0 min, making masks 6 min 0 s")
    assert speed.number == "20"
    assert (
        speed.detail == "10 … 30 over the epochs · peak: 2.5 GB of memory · peak: 7.0 GB of the GPU"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0614, "+0.061"), (-0.0614, "\N{MINUS SIGN}0.061"), (0.0001, "0.000"), (-0.0001, "0.000")],
)
def test_signs(value, text):
    assert signed(value, 3) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (250, "4 min 10 s"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text
