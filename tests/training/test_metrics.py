"""Metrics of epochs that survive an interruption."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from torch.utils.tensorboard import SummaryWriter

from cyborgs.training.metrics import MetricsLog, read_metrics


def row(epoch, loss=1.0):
    return {"epoch": epoch, "step": 10 * epoch, "loss": loss}


def written(path, *rows, step=0):
    log = MetricsLog(path, step)
    for r in rows:
        log.write(r)
    return path


def test_rows_come_back_in_order(tmp_path):
    path = written(tmp_path / "new/folder/m.jsonl", row(1), row(2, 0.25))
    assert read_metrics(path) == [row(1), row(2, 0.25)]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [row(1), row(2, 0.25)]


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl", 0)
    assert read_metrics(tmp_path / "m.jsonl") == []
    log.write(row(1))
    assert read_metrics(tmp_path / "m.jsonl") == [row(1)]


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (9, 0), (10, 1), (15, 1), (20, 2), (99, 3)])
def test_continuing_keeps_what_was_done_and_writes_the_rest_again(tmp_path, step, kept):
    path = written(tmp_path / "m.jsonl", row(1), row(2), row(3))
    written(path, row(kept + 1, 0.5), step=step)
    expected = [*(row(e + 1) for e in range(kept)), row(kept + 1, 0.5)]
    # As they were, to the letter.
    assert path.read_text() == "".join(json.dumps(each) + "\n" for each in expected)


def test_a_line_cut_short_is_left_out(tmp_path):
    path = written(tmp_path / "m.jsonl", row(1), row(2))
    path.write_text(path.read_text()[:-9])
    assert read_metrics(path) == [row(1)]
    written(path, row(2), step=10)
    assert read_metrics(path) == [row(1), row(2)]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"step": "a"}', "null"])
def test_another_damaged_line_is_named(tmp_path, refused, line):
    path = written(tmp_path / "m.jsonl", row(1))
    path.write_text(f"{line}\n{path.read_text()}")
    with refused("m.jsonl", "line 1", "delete it"):
        read_metrics(path)


def events(folder):
    """Steps and values of each metric, as TensorBoard reads them."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_shows_the_same_metrics(tmp_path):
    written(tmp_path / "m.jsonl", row(1), row(2, 0.25))
    assert events(tmp_path / "m") == {"epoch": [(10, 1), (20, 2)], "loss": [(10, 1), (20, 0.25)]}


def test_tensorboard_shows_each_epoch_once_after_an_interruption(tmp_path):
    written(tmp_path / "m.jsonl", row(1), row(2), row(3))
    written(tmp_path / "m.jsonl", row(2, 0.5), step=10)
    assert events(tmp_path / "m")["loss"] == [(10, 1), (20, 0.5)]


def shown(folder):
    """Steps and losses of each series that TensorBoard finds in a folder and below it."""
    found = EventMultiplexer().AddRunsFromDirectory(str(folder))
    found.Reload()
    return {
        series: [(event.step, event.value) for event in found.Scalars(series, "loss")]
        for series in found.Runs()
    }


def test_tensorboard_shows_one_series_over_all_rounds(tmp_path):
    written(tmp_path / "metrics/round-01.jsonl", row(1), row(2))
    written(tmp_path / "metrics/round-02.jsonl", row(3, 0.5), row(4, 0.25), step=20)
    written(tmp_path / "metrics/downstream/voc/random/seed-0.jsonl", row(1, 7.0))
    assert shown(tmp_path) == {
        "metrics": [(10, 1), (20, 1), (30, 0.5), (40, 0.25)],
        "metrics/downstream/voc/random/seed-0": [(10, 7)],
    }


def test_a_round_that_continues_or_is_done_again_replaces_its_own_events_alone(tmp_path):
    written(tmp_path / "round-01.jsonl", row(1), row(2), row(3))
    written(tmp_path / "round-02.jsonl", row(4), step=30)
    written(tmp_path / "round-01.jsonl", row(2, 0.5), row(3, 0.5), step=10)
    assert shown(tmp_path) == {".": [(10, 1), (20, 0.5), (30, 0.5), (40, 1)]}
    written(tmp_path / "round-01.jsonl", row(1, 0.25), row(2, 0.25), row(3, 0.25))
    assert shown(tmp_path) == {".": [(10, 0.25), (20, 0.25), (30, 0.25), (40, 1)]}


def test_an_open_tensorboard_follows_a_round_that_continues(tmp_path):
    written(tmp_path / "round-01.jsonl", row(1))
    written(tmp_path / "round-02.jsonl", row(2), row(3), step=10)
    found = EventAccumulator(str(tmp_path))
    found.Reload()
    written(tmp_path / "round-02.jsonl", row(3, 0.5), row(4, 0.25), step=20)
    found.Reload()
    steps = [(event.step, event.value) for event in found.Scalars("loss")]
    assert steps == [(10, 1), (20, 1), (30, 0.5), (40, 0.25)]


def test_rounds_of_an_earlier_version_join_the_series(tmp_path):
    for number in (1, 2):
        path = tmp_path / f"round-{number:02d}.jsonl"
        path.write_text(json.dumps(row(number)) + "\n")
        with SummaryWriter(str(path.with_suffix(""))) as events:
            events.add_scalar("loss", 1.0, 10 * number)
    written(tmp_path / "round-02.jsonl", row(2, 0.5), step=10)
    assert shown(tmp_path) == {".": [(10, 1), (20, 0.5)]}


def test_the_damaged_figures_of_another_round_stop_no_training(tmp_path):
    (tmp_path / "round-01.jsonl").write_text("nonsense\n{}\n")
    written(tmp_path / "round-02.jsonl", row(2), step=10)
    assert shown(tmp_path) == {".": [(20, 1)]}
