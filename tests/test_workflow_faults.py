"""A workflow whose jobs, or which itself, are killed or asked to leave."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cyborgs.pretraining.state import load_state
from tests.runs import changed, commands, planned, snakemake, start


def running(folder, name):
    """Process ids of this program's running commands in a folder, by the file they write."""
    return [pid for pid, words, _ in commands(folder) if name.encode() in b" ".join(words)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the job's process through /proc")
@pytest.mark.parametrize("job", ["states/round-01.pt", "masks/round-01/shard-0001-of-0002.h5"])
def test_a_killed_job_runs_again_to_the_same_end(finished, interrupted, job):
    """kill -9 of one job in mid-run; the next start makes up for it."""
    results = interrupted / "results/tiny"
    shutil.rmtree(results / "masks/round-01")
    (results / "states/round-01.pt").unlink()
    workflow = start(interrupted, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (found := running(interrupted, f"--out results/tiny/{job}")):
        assert workflow.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for process in found:
        os.kill(process, signal.SIGKILL)
    workflow.wait()
    assert workflow.returncode != 0
    assert not (results / job).exists()
    assert (results / "states/round-00.pt").exists()
    snakemake(interrupted)
    for kind in ("states", "masks/round-00", "masks/round-01"):
        for path in sorted((finished / "results/tiny" / kind).iterdir()):
            assert (results / kind / path.name).read_bytes() == path.read_bytes(), path.name
    assert planned(interrupted) == {}


def until(workflow, condition, seconds=600):
    """Wait until it holds, for as long as the workflow runs, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert workflow.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the job's process through /proc")
@pytest.mark.parametrize("runs_on", [False, True], ids=["done before", "still running"])
@pytest.mark.parametrize(
    ("job", "lock", "log"),
    [
        ("states/round-01.pt", "work/round-01.lock", "pretrain/round-01.log"),
        (
            "masks/round-01/shard-0001-of-0002.h5",
            "masks/round-01/.shard-0001-of-0002.lock",
            "bootstrap/round-01/shard-0001.log",
        ),
    ],
    ids=["training", "masks"],
)
def test_a_job_that_outlives_its_workflow_is_not_done_twice(
    finished, interrupted, job, lock, log, runs_on
):
    """kill -9 of Snakemake; its job goes on, and ends before or after the workflow's next start."""
    results = interrupted / "results/tiny"
    shutil.rmtree(results / "masks/round-01")
    (results / "states/round-01.pt").unlink()
    target = f"results/tiny/{job}"
    workflow = start(interrupted, target, stdout=subprocess.DEVNULL)
    until(workflow, (results / lock).exists)
    (orphan,) = running(interrupted, f"--out results/tiny/{job}")
    os.kill(orphan, signal.SIGSTOP)
    workflow.kill()
    workflow.wait()
    others = [pid for pid, _, _ in commands(interrupted) if pid != orphan]
    for other in others:
        os.kill(other, signal.SIGKILL)
    snakemake(interrupted, "--unlock")
    if not runs_on:
        os.kill(orphan, signal.SIGCONT)
        while running(interrupted, f"--out results/tiny/{job}"):
            time.sleep(0.05)
        made = (results / job).stat().st_ino
    again = start(interrupted, target, stdout=subprocess.DEVNULL)
    if runs_on:
        waits = "another process makes"
        until(again, lambda: (p := results / "logs" / log).exists() and waits in p.read_text())
        os.kill(orphan, signal.SIGCONT)
    assert again.wait(timeout=900) == 0
    assert f"results/tiny/{job} is complete and was made from the same inputs" in (
        (results / "logs" / log).read_text()
    )
    if not runs_on:
        assert (results / job).stat().st_ino == made
    assert (results / job).read_bytes() == (finished / target).read_bytes()
    assert planned(interrupted, target) == {}
    # Its second name has served.
    assert not (results / job).with_name(f".{Path(job).name}").exists()


@pytest.mark.slow
def test_what_is_forced_is_made_anew_after_a_kill_too(finished, tmp_path):
    """Second names are there until Snakemake ends, and for good where it is killed."""
    folder = shutil.copytree(finished, tmp_path / "run")
    target = "results/tiny/masks/round-01/shard-0000-of-0002.h5"
    shard = folder / target
    second = shard.with_name(f".{shard.name}")
    os.link(shard, second)
    snakemake(folder, target, "--forcerun", target)
    log = folder / "results/tiny/logs/bootstrap/round-01/shard-0000.log"
    assert "is complete and was made" not in log.read_text()
    assert not second.exists()
    # As a job has it that still runs.
    temporary = shard.with_name(f".{shard.stem}-abc.part.h5")
    temporary.touch()
    shard.unlink()
    snakemake(folder, target)
    assert temporary.exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the job's process through /proc")
def test_what_outlived_its_workflow_is_made_anew_where_settings_changed_since(interrupted):
    results = interrupted / "results/tiny"
    workflow = start(interrupted, stdout=subprocess.DEVNULL)
    until(workflow, (results / "work/round-02.lock").exists)
    workflow.kill()
    workflow.wait()
    while running(interrupted, "--out results/tiny/states/round-02.pt"):
        time.sleep(0.05)
    first = load_state(results / "states/round-02.pt")
    snakemake(interrupted, "--unlock")
    config = changed(pretrain={"epochs": [1, 2]})
    snakemake(interrupted, "results/tiny/states/round-02.pt", config=config)
    second = load_state(results / "states/round-02.pt")
    assert (first.step, second.step) == (6, 9)


# Round 1, long enough to be interrupted.
LONGER = changed(rounds=1, pretrain={"epochs": 8})


@pytest.fixture(scope="session")
def longer(finished, tmp_path_factory):
    """Bytes of the state that nothing disturbed."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("longer") / "run")
    snakemake(folder, "results/tiny/states/round-01.pt", config=LONGER)
    return (folder / "results/tiny/states/round-01.pt").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="jobs are found through /proc")
@pytest.mark.parametrize(
    ("number", "send"),
    [(signal.SIGTERM, os.kill), (signal.SIGHUP, os.killpg), (signal.SIGINT, os.killpg)],
    ids=["container", "terminal", "Ctrl-C"],
)
def test_a_workflow_that_is_asked_to_leave_takes_its_jobs_along(
    finished, longer, tmp_path, number, send
):
    """A container that is stopped asks Snakemake alone, a terminal all processes."""
    folder = shutil.copytree(finished, tmp_path / "run")
    log = folder / "results/tiny/logs/pretrain/round-01.log"
    target = "results/tiny/states/round-01.pt"
    before = log.read_text()
    with open(tmp_path / "shown", "w") as shown:
        workflow = start(folder, target, config=LONGER, stdout=shown, group=True)
        until(workflow, lambda: log.exists() and "epoch 2:" in log.read_text()[len(before) :])
        send(workflow.pid, number)
        assert workflow.wait() == 1
    assert not list(commands(folder))
    told = (tmp_path / "shown").read_text()
    assert "Error in rule" not in told
    assert "WorkflowError" not in told
    assert "Traceback" not in told
    last = [line for line in told.splitlines() if line][-2:]
    assert re.fullmatch(
        r"cyborgs pretrain: left after step \d+ \(SIG(TERM|INT|HUP)\), all saved; the same command "
        "continues",
        last[0],
    )
    asked = "SIGTERM" if number == signal.SIGHUP else number.name
    assert last[1] == f"Left ({asked}): the same command continues from here."
    snakemake(folder, target, config=LONGER)
    said = log.read_text()
    assert said.startswith(before)
    assert said.count("continuing from step") == 1
    # Of the whole round, not of what was left of it.
    assert "pretrain: round 1, 8 epochs" in said
    assert (folder / target).read_bytes() == longer
