"""Schedules against reference values and at their corners."""

import json
from pathlib import Path

import pytest

from cyborgs.training.schedule import learning_rate, target_decay

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors" / "lr_schedule.json"

PUBLISHED = {"warmup_epochs": 10, "milestones": [768, 784], "gamma": 0.1}
COSINE = {"warmup_epochs": 10, "horizon_epochs": 200, "final_learning_rate": 1e-6}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("step_800_w10_d768_784_g0.1", PUBLISHED), ("cosine_200_w10", COSINE)],
)
def test_every_step_of_the_reference(name, settings):
    if not VECTORS.exists():
        pytest.skip("reference values are not there: lr_schedule.json in ../shared/vectors")
    reference = json.loads(VECTORS.read_text())
    for step, expected in enumerate(reference[name]):
        rate = learning_rate(
            step,
            base_learning_rate=reference["base_lr"],
            steps_per_epoch=reference["steps_per_epoch"],
            **settings,
        )
        assert rate == pytest.approx(expected, abs=1e-9), step


def test_warm_up_begins_at_a_hundredth_and_ends_at_the_base_rate():
    def rate(step):
        return learning_rate(step, base_learning_rate=2.0, steps_per_epoch=3, warmup_epochs=2)

    assert rate(0) == pytest.approx(0.02)
    assert rate(5) < 2.0
    assert rate(6) == 2.0


@pytest.mark.parametrize("divisor", [1.0, 4.0])
def test_warm_up_begins_where_the_divisor_says(divisor):
    def rate(step):
        return learning_rate(
            step, base_learning_rate=2.0, steps_per_epoch=3, warmup_epochs=2, warmup_divisor=divisor
        )

    assert rate(0) == pytest.approx(2.0 / divisor)
    assert rate(3) == pytest.approx(1.0 + 1.0 / divisor)
    assert rate(6) == 2.0


def test_no_warm_up_begins_at_the_base_rate():
    assert learning_rate(0, base_learning_rate=2.0, steps_per_epoch=3, warmup_epochs=0) == 2.0


def test_cosine_stays_at_the_final_rate_after_its_horizon():
    for step in (60, 61, 600):
        rate = learning_rate(
            step, base_learning_rate=1.0, steps_per_epoch=3, warmup_epochs=1, horizon_epochs=20
        )
        assert rate == pytest.approx(1e-6)


def test_target_decay_is_constant_without_a_horizon():
    for step in (0, 10**6):
        assert target_decay(step, decay=0.9, steps_per_epoch=5, horizon_epochs=None) == 0.9


@pytest.mark.parametrize(("step", "expected"), [(0, 0.996), (250, 0.998), (500, 1.0), (900, 1.0)])
def test_target_decay_rises_to_one_by_a_cosine(step, expected):
    decay = target_decay(step, decay=0.996, steps_per_epoch=5, horizon_epochs=100)
    assert decay == pytest.approx(expected)
