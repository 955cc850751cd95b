"""The section of evaluations: schedules, and what it refuses."""

import json

import pytest

from cyborgs.config import parse

SHORT = ("voc_svm", "voc_detection", "imagenet_linear", "coco_instances")


@pytest.mark.parametrize("name", SHORT)
def test_a_short_schedule_fills_what_is_not_given(name):
    published = getattr(parse({}).downstream, name)
    given = {"schedule": "short", "backbones": ["random"]}
    short = getattr(parse({"downstream": {name: given}}).downstream, name)
    assert short.backbones == ["random"]
    assert {key: getattr(short, key) for key in short.SHORT} == short.SHORT
    assert all(getattr(published, key) != value for key, value in short.SHORT.items())


@pytest.mark.parametrize("name", SHORT)
def test_a_value_stands_before_that_of_the_short_schedule(name):
    published = getattr(parse({}).downstream, name)
    key = next(iter(published.SHORT))
    given = {"schedule": "short", key: getattr(published, key)}
    config = parse({"downstream": {name: given}})
    again = parse(json.loads(config.only_evaluation(name)))
    for one in (config, again):
        assert getattr(getattr(one.downstream, name), key) == getattr(published, key)
    assert again.downstream == config.downstream


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("voc_detection", {"schedule": "tiny"}, "'published' or 'short'"),
        (
            "voc_detection",
            {"milestones": [30000]},
            "'milestones' must be in ascending order and below",
        ),
        ("voc_detection", {"milestones": [5, 5]}, "'milestones' must be in ascending order"),
        ("coco_instances", {"sides": [16]}, "must lie in 32 … 'longest'"),
        ("coco_instances", {"test_side": 2000}, "must lie in 32 … 'longest'"),
        ("imagenet_linear", {"crop": 320}, "'crop' must not be larger than 'short_side'"),
        ("imagenet_linear", {"area": [0.5, 0.2]}, "'area' must be [low, high] with low <= high"),
        ("imagenet_linear", {"area": [0, 1]}, "downstream.imagenet_linear.area"),
        ("imagenet_linear", {"area": [0.2]}, "downstream.imagenet_linear.area"),
        ("voc_svm", {"cost": [1]}, "did you mean 'costs'"),
        ("objects", {"backbones": ["last", "last"]}, "'backbones' lists a backbone twice"),
        ("objects", {"backbones": []}, "downstream.objects.backbones"),
    ],
)
def test_what_evaluations_refuse(name, settings, told, refused):
    with refused(f"config: downstream.{name}", told):
        parse({"downstream": {name: settings}})


def test_which_backbones_are_evaluated_changes_no_metric():
    changed = parse({"downstream": {"objects": {"backbones": ["random"]}, "datasets": "elsewhere"}})
    assert changed.only_evaluation("objects") == parse({}).only_evaluation("objects") == "{}"
