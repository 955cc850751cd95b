"""Tables and charts from plain figures."""

import pytest

from cyborgs.images.decoding import Entry
from cyborgs.images.index import Index
from cyborgs.report.sections import (
    Cost,
    Round,
    cost_charts,
    cost_table,
    data_table,
    duration,
    quality_charts,
    training_charts,
    training_table,
)


def epoch(number, loss, seconds=10.0, speed=20.0):
    return {
        "epoch": number, "step": 8 * number, "steps": 8, "loss": loss, "learning_rate": 0.1,
        "seconds": seconds, "images_per_second": speed,
    }  # fmt: skip


ROUNDS = [
    Round(0, masks=Cost(18, 1.3e8, 2)),
    Round(1, [epoch(1, 2.0), epoch(2, 1.5, 12.0, 30.0)], Cost(25, 2.7e9, 1), Cost(20, 1e9, 2)),
    Round(2, [epoch(3, 1.25)], Cost(11, 2.9e9, 1)),
]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (360000, "100:00:00")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_training_has_a_line_a_round():
    table = training_table(ROUNDS[1:])
    assert table.rows == [
        ["1", "2", "2.000", "1.500", "25", "0:00:22"],
        ["2", "1", "1.250", "1.250", "20", "0:00:10"],
    ]
    assert all(len(row) == len(table.header) for row in table.rows)


def test_training_charts_tell_where_they_begin_and_end():
    loss, rate, speed = training_charts(ROUNDS[1:])
    assert loss.description == "loss by epoch: 2 at first, 1.25 at last; new masks after epochs 2"
    assert rate.description.startswith("learning rate")
    assert speed.description.startswith("images/s")
    assert "<svg" in loss.svg


def test_figures_of_some_epochs_are_charted():
    """Such as the vMF term, which may be part of every other epoch."""
    some = Round(2, [epoch(3, 1.25), epoch(4, 1.0) | {"vmf": 3.0}, epoch(6, 1.0) | {"vmf": 2.5}])
    *_, vmf = training_charts([ROUNDS[1], some], new_masks=False)
    assert vmf.description == "vMF term, before its weight by epoch: 3 at first, 2.5 at last"


def test_cost_has_a_line_a_round_with_jobs():
    table = cost_table([*ROUNDS, Round(3)])
    assert table.rows == [
        ["0", "-", "-", "0:00:18", "2", "0.13 GB"],
        ["1", "0:00:25", "2.70 GB", "0:00:20", "2", "1.00 GB"],
        ["2", "0:00:11", "2.90 GB", "-", "0", "-"],
    ]
    (chart,) = cost_charts([*ROUNDS, Round(3)])
    assert "round 1: training 0:00:25, masks 0:00:20" in chart.description
    assert "round 3" not in chart.description


def test_quality_charts_leave_out_what_is_not_known():
    fixed = {"K = 8": {0: {"ari": 0.05, "miou": None}, 1: {"ari": 0.2, "miou": None}}}
    (chart,) = quality_charts(fixed, {"ari": 0.1}, {"ari": "ARI", "miou": "mIoU", "asa": "ASA"})
    assert chart.description == "ARI by round. K = 8: 0.050 in round 0, 0.200 in round 1"


def test_data_are_counted():
    index = Index([Entry("a.jpg", 10, 30, 1000, 0), Entry("b.jpg", 20, 50, 3000, 0)], "abc")
    rows = dict(data_table(index, "photos", "none").rows)
    assert rows["images"] == "2"
    assert rows["height, pixels"] == "10 … 20, median 15"
    assert rows["files"] == "0.0 MB"
    assert rows["index"] == "abc"
