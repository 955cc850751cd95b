"""Runs in MLflow: what was sent, as MLflow reads it."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from cyborgs.cli import main
from tests.tracking.runs import begin, evaluate, measure, train

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (the extra `mlflow`)")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A client of the store that the variables name: files, for its tables take seconds to make."""
    address = f"file://{tmp_path}/store"
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "scenes")
    return mlflow.MlflowClient(address)


def runs(store):
    experiment = store.get_experiment_by_name("scenes")
    return store.search_runs([experiment.experiment_id])


def history(store, name):
    (run,) = runs(store)
    return [(m.step, m.value) for m in store.get_metric_history(run.info.run_id, name)]


def send(run):
    assert main(["track", str(run.folder), "--to", "mlflow"]) == 0


def test_a_run_grows_over_rounds_and_each_figure_is_sent_once(store, tmp_path, capsys):
    run = begin(tmp_path / "pictures", pretrain={"epochs": 2})
    train(run, 1, [3.0, 2.0], step=0)
    measure(run, 0, 0.125)
    send(run)
    (found,) = runs(store)
    assert (found.info.run_name, found.info.status) == ("pictures", "KILLED")
    assert found.data.params["pretrain.epochs"] == "2"
    assert found.data.params["model.architecture"] == "resnet50"
    train(run, 2, [1.5, 1.0], step=20)
    measure(run, 1, 0.25)
    evaluate(run, "voc_svm", "round-01", 0.5)
    run.backbone.touch()
    for _ in range(2):
        send(run)
    assert history(store, "loss") == [(10, 3), (20, 2), (30, 1.5), (40, 1)]
    assert history(store, "round") == [(10, 1), (20, 1), (30, 2), (40, 2)]
    assert history(store, "quality/k-8/ari") == [(0, 0.125), (20, 0.25)]
    assert history(store, "downstream/voc_svm/map") == [(20, 0.5)]
    (found,) = runs(store)
    assert found.info.status == "FINISHED"
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("mlflow: ")] == [
        f"mlflow: {count} points sent, run {found.info.run_id}" for count in (3, 4, 0)
    ]

    # A round that continues writes its last epochs again; one that is redone is sent again.
    train(run, 2, [1.5, 1.25, 0.75], step=20, kept=1)
    send(run)
    assert history(store, "loss")[3:] == [(40, 1), (50, 0.75)]
    train(run, 2, [9.0], step=20)
    send(run)
    assert history(store, "loss")[5:] == [(30, 9)]

    # The sender was killed before it noted what it had sent.
    note = json.loads(run.tracking("mlflow").read_text())
    for part in note["sent"].values():
        part[1] = 0
    run.tracking("mlflow").write_text(json.dumps(note))
    send(run)
    assert len(history(store, "loss")) == 6


def test_settings_that_changed_are_tags_beside_parameters(store, tmp_path):
    send(begin(tmp_path / "r", rounds=2))
    for rounds, expected in ((3, "3"), (2, "2")):
        send(begin(tmp_path / "r", rounds=rounds))
        (found,) = runs(store)
        assert (found.data.params["rounds"], found.data.tags["rounds"]) == ("2", expected)
    assert "seed" not in found.data.tags


def test_another_store_gets_everything(store, tmp_path, monkeypatch):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0], step=0)
    send(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/other")
    train(run, 2, [2.0], step=10)
    send(run)
    assert history(store, "loss") == [(10, 3)]
    other = mlflow.MlflowClient(f"file://{tmp_path}/other")
    assert history(other, "loss") == [(10, 3), (20, 2)]
    assert str(tmp_path) not in run.tracking("mlflow").read_text()


def test_two_senders_take_turns(store, tmp_path):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0, 2.0], step=0)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(send, [run, run]))
    assert history(store, "loss") == [(10, 3), (20, 2)]


@pytest.mark.parametrize("address", ["nonsense://", "http://127.0.0.1:9"])
def test_a_store_that_is_not_there_is_one_line(tmp_path, monkeypatch, capfd, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = begin(tmp_path / "r")
    assert main(["track", str(run.folder), "--to", "mlflow"]) == 2
    error = capfd.readouterr().err
    assert "cyborgs track: error: mlflow: " in error
    assert "Traceback" not in error
