"""Runs in Weights & Biases, offline: what would be uploaded, as its own messages have it."""

import json
import struct
import time

import pytest

from cyborgs.cli import main
from tests.tracking.runs import begin, measure, train

wandb = pytest.importorskip("wandb", reason="wandb is not installed (the extra `wandb`)")

BLOCK = 32768


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Where W&B keeps what it would upload."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_PROJECT", "scenes")
    return tmp_path / "wandb"


def messages(path):
    """The messages of a file: LevelDB's log format behind a head of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, message = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield Record.FromString(message)
            message = b""


def recorded(folder):
    """Name, project, id, settings and history of each session, in order."""
    found = []
    for path in sorted(folder.glob("offline-run-*/run-*.wandb")):
        session = {"history": [], "config": {}}
        for record in messages(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                session |= {"name": record.run.display_name, "project": record.run.project}
                session["id"] = record.run.run_id
            if kind == "run":
                updates = record.run.config.update
            elif kind == "config":
                updates = record.config.update
            else:
                updates = []
            for item in updates:
                session["config"][item.key] = json.loads(item.value_json)
            if kind == "history":
                row = {".".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
                session["history"].append({k: json.loads(v) for k, v in row.items()})
        found.append(session)
    return found


def losses(session):
    return [(row["step"], row["loss"]) for row in session["history"] if "loss" in row]


def send(run, status=0):
    """Send from a process that has not read W&B's variables yet."""
    wandb.teardown()
    assert main(["track", str(run.folder), "--to", "wandb"]) == status


def test_a_run_grows_over_rounds_and_each_figure_is_sent_once(offline, tmp_path):
    run = begin(tmp_path / "pictures", pretrain={"epochs": 2})
    train(run, 1, [3.0, 2.0], step=0)
    send(run)
    train(run, 2, [1.5, 1.0], step=20)
    measure(run, 1, 0.25)
    for _ in range(2):
        send(run)
    first, second = recorded(offline)
    assert (first["name"], first["project"]) == ("pictures", "scenes")
    assert first["config"]["pretrain"]["epochs"] == 2
    assert "compute" not in first["config"]
    assert first["id"] == second["id"] == json.loads(run.tracking("wandb").read_text())["run"]
    assert [losses(session) for session in (first, second)] == [
        [(10, 3), (20, 2)],
        [(30, 1.5), (40, 1)],
    ]
    quality = [row for row in second["history"] if "quality/k-8/ari" in row]
    assert [(row["step"], row["quality/k-8/ari"]) for row in quality] == [(20, 0.25)]


def test_another_project_gets_everything(offline, tmp_path, monkeypatch):
    run = begin(tmp_path / "r")
    train(run, 1, [3.0], step=0)
    send(run)
    monkeypatch.setenv("WANDB_PROJECT", "other")
    train(run, 2, [2.0], step=10)
    send(run)
    expected = [[(10, 3)], [(10, 3), (20, 2)]]
    # W&B's own process may still be writing when the run has ended.
    deadline = time.monotonic() + 20
    while (found := [losses(session) for session in recorded(offline)]) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_a_missing_key_is_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    run = begin(tmp_path / "r")
    send(run, status=2)
    lines = [line for line in capfd.readouterr().err.splitlines() if "cyborgs" in line]
    assert lines == [
        "cyborgs track: error: wandb: No API key configured. Use `wandb login` to log in."
    ]
