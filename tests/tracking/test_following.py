"""Sending while a run goes on: failures, ends, and a workflow that is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from cyborgs.stages import track
from cyborgs.tracking.following import start_trackers
from cyborgs.tracking.sending import require_trackers
from tests.runs import REPOSITORY, changed, planned, snakemake
from tests.tracking.runs import begin, train


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A client of the store that the variables name."""
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed (the extra `mlflow`)")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/store")
    return mlflow.MlflowClient(f"file://{tmp_path}/store")


def losses(store):
    (run,) = store.search_runs(["0"])
    return [(m.step, m.value) for m in store.get_metric_history(run.info.run_id, "loss")]


def following(folder, **variables):
    """A process that follows a run, and ends with its standard input."""
    return subprocess.Popen(
        [sys.executable, "-m", "cyborgs", "track", folder, "--to", "mlflow", "--follow"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | variables,
    )  # fmt: skip


def test_what_was_there_before_the_end_is_sent_and_nothing_is_said(store, tmp_path):
    process = following(tmp_path / "r")
    run = begin(tmp_path / "r")
    train(run, 1, [3.0], step=0)
    assert process.communicate() == ("", "")
    assert process.returncode == 0
    assert losses(store) == [(10, 3)]


@pytest.mark.slow
def test_a_signal_ends_it_as_well(store, tmp_path):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0], step=0)
    process = following(run.folder)
    while not run.tracking("mlflow").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    process.stdin.close()
    (found,) = store.search_runs(["0"])
    assert found.info.status == "KILLED"


@pytest.mark.slow
def test_a_store_that_fails_is_one_line_and_no_failure(store, tmp_path):
    run = begin(tmp_path / "r")
    variables = {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"
    }  # fmt: skip
    process = following(run.folder, **variables)
    output, errors = process.communicate()
    assert (process.returncode, output) == (0, "")
    (line,) = errors.splitlines()
    assert line.startswith("track: mlflow: ")
    assert f"the run continues without it and tries again; `cyborgs track {run.folder}" in line


def test_a_tracker_that_works_again_is_told_and_gets_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(track, "_LOOK", 0.01)
    monkeypatch.setattr(track, "_AGAIN", 0.01)
    run = begin(tmp_path / "r")
    ended, told, turns = threading.Event(), [], []

    class Failing:
        """Fails at its second and third turn, and the run ends with its fifth."""

        def __init__(self, folder, name):
            assert (folder, name) == (run.folder, "mlflow")

        def send(self):
            turns.append("send")
            if len(turns) in (2, 3):
                raise OSError("no network\nand more of it")
            if len(turns) == 4:
                ended.set()

        def close(self):
            turns.append("close")

    monkeypatch.setattr(track, "Sender", Failing)
    track._send_until(ended, run.folder, "mlflow", say=told.append, command="`command`")
    assert turns == [*["send"] * 5, "close"]
    assert told == [
        "no network (the run continues without it and tries again; `command` sends what is "
        "missing)",
        "works again",
    ]


@pytest.mark.slow
def test_what_was_written_before_a_workflow_is_killed_is_sent(store, tmp_path):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0], step=0)
    code = (
        "import os, signal\nfrom pathlib import Path\n"
        "from cyborgs.tracking.following import start_trackers\n"
        f"start_trackers(['mlflow', 'mlflow'], Path({str(run.folder)!r}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE)
    # Its standard error ends with the last process that has it.
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, b"")
    assert losses(store) == [(10, 3)]


def test_nothing_starts_where_no_tracker_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    start_trackers([], tmp_path)


def test_a_tracker_that_is_not_installed_is_told_with_its_extra(refused, monkeypatch):
    monkeypatch.setattr("cyborgs.tracking.sending.find_spec", lambda name: None)
    with refused("compute.trackers", "wandb is not installed", "cyborgs[wandb]"):
        require_trackers(["wandb"])


def test_it_is_told_before_anything_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'wandb' else found(name, *a)\n"
    )
    result = snakemake(
        tmp_path, "--dry-run", config=changed(compute={"trackers": ["wandb"]}), check=False,
        environment={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
    )  # fmt: skip
    assert result.returncode != 0
    assert "config: compute.trackers: wandb is not installed; install the extra" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_workflow_sends_its_run_over_rounds_and_restarts(store, tmp_path):
    pytest.importorskip("wandb", reason="wandb is not installed (the extra `wandb`)")
    both = changed(compute={"trackers": ["mlflow", "wandb"]})
    offline = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path)}
    state = "results/tiny/states/round-01.pt"
    snakemake(tmp_path, state, config=both, environment=offline)
    (run,) = store.search_runs(["0"])
    assert (run.info.run_name, run.info.status) == ("tiny", "KILLED")
    made = (tmp_path / state).read_bytes()
    output = snakemake(tmp_path, config=both, environment=offline).stdout
    assert "track:" not in output
    (run,) = store.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert [step for step, _ in losses(store)] == [3, 6]
    history = store.get_metric_history(run.info.run_id, "quality/k-4/ari")
    # Seed masks may be measured when round 1 has been sent already.
    assert sorted(metric.step for metric in history) == [0, 3, 6]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    # Trackers rerun nothing, and change nothing.
    assert planned(tmp_path) == {}
    plain = tmp_path / "plain"
    plain.mkdir()
    snakemake(plain, state)
    assert (plain / state).read_bytes() == made


@pytest.mark.slow
def test_a_workflow_whose_tracker_fails_goes_on(store, tmp_path):
    broken = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    config = changed(compute={"trackers": ["mlflow"]})
    target = "results/tiny/states/round-01.pt"
    output = snakemake(tmp_path, target, config=config, environment=broken).stdout
    assert output.count("track: mlflow: ") == 1
    assert (tmp_path / target).exists()
