"""The workflow on a real SLURM of one node, and what goes wrong on clusters.

Each fault ends in the very same bytes as a run on this machine, without SLURM, that nothing
disturbed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = REPOSITORY / "tests/slurm/cluster.sh"
TOOLS = Path(sys.executable).parent

pytestmark = pytest.mark.slurm

CONFIG = {
    "run": "tiny",
    "rounds": 1,
    "shards": 2,
    "data": {"scenes": {"images": 13, "height": 64, "width": 96}},
    "model": {"architecture": "resnet18", "hidden": 16, "projection": 8},
    "seed_masks": {"kind": "grid", "cells": 3},
    "views": {"crop": 64},
    "pretrain": {"epochs": 12, "batch_size": 4, "masks": 4, "schedule": {"kind": "step"}},
    "bootstrap": {"block": "layer2.1", "group": 3, "clusters": [2, 6], "iterations": 5},
    "compute": {"device": "cpu", "threads": 1, "workers": 0, "checkpoint_minutes": 0},
}
STATE = "results/tiny/states/round-01.pt"
SEEDS = [f"results/tiny/masks/round-00/shard-000{n}-of-0002.h5" for n in range(2)]
MASKS = [f"results/tiny/masks/round-01/shard-000{n}-of-0002.h5" for n in range(2)]
# What a site would not set: waiting that only makes tests longer.
SLURM = [
    "--workflow-profile", REPOSITORY / "workflow/profiles/slurm",
    "--slurm-init-seconds-before-status-checks", "1", "--max-status-checks-per-second", "5",
    "--latency-wait", "10",
]  # fmt: skip


@pytest.fixture(scope="session")
def cluster():
    """A SLURM that is up until the tests are over."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a SLURM for tests needs root on Debian or Ubuntu")
    up = subprocess.run([CLUSTER, "up"], capture_output=True, text=True)
    if up.returncode:
        pytest.skip(f"no SLURM here: {up.stderr.strip()}")
    yield
    subprocess.run([CLUSTER, "down"], check=True)


def command(folder, *arguments, config=CONFIG):
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return [
        TOOLS / "snakemake", *arguments, "--snakefile", REPOSITORY / "Snakefile",
        "--directory", folder, "--configfile", folder / "config.yaml",
    ]  # fmt: skip


def environment():
    return os.environ | {"PATH": f"{TOOLS}:{os.environ['PATH']}"}


def run(folder, *arguments, config=CONFIG):
    """Run Snakemake to its end; returns what it said."""
    result = subprocess.run(
        command(folder, *arguments, config=config),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
    return result.stdout


class Workflow:
    """Snakemake at work on SLURM in a folder."""

    def __init__(self, folder, *arguments, config=CONFIG):
        self.folder = folder
        self.log = folder / "snakemake.log"
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                command(folder, *MASKS, *SLURM, *arguments, config=config),
                stdout=log, stderr=subprocess.STDOUT, env=environment(),
            )  # fmt: skip

    def until(self, condition, seconds=120):
        """Wait until it holds, and return it; Snakemake must be running that long."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return found

    def job(self, rule):
        """Number of the job of a rule, when it runs."""
        return self.until(lambda: jobs(rule, "RUNNING"))[0]

    def training(self):
        """Number of the training job, in the middle of its round."""
        number = self.job("pretrain")
        self.until(lambda: list(self.folder.glob("results/tiny/work/pretrain-*.pt")))
        return number

    def finish(self):
        assert self.process.wait(timeout=400) == 0, self.log.read_text()


def slurm(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def jobs(rule, state):
    shown = slurm("squeue", "--noheader", "--states", state, "--format", "%i %k").splitlines()
    return [line.split()[0] for line in shown if rule in line]


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in (STATE, *MASKS)]


@pytest.fixture(scope="session")
def seeded(tmp_path_factory):
    """A run as it is before its first training; tests must not change it."""
    folder = tmp_path_factory.mktemp("seeded")
    run(folder, "results/tiny/states/round-00.pt", *SEEDS, "--cores", "2")
    return folder


@pytest.fixture(scope="session")
def undisturbed(seeded, tmp_path_factory):
    """Bytes of the state and the masks, made on this machine without SLURM."""
    folder = shutil.copytree(seeded, tmp_path_factory.mktemp("undisturbed") / "run")
    run(folder, *MASKS, "--cores", "2")
    return bytes_of(folder)


@pytest.fixture
def folder(cluster, seeded, tmp_path):
    yield shutil.copytree(seeded, tmp_path / "run")
    # Only a test that failed leaves jobs.
    slurm("scancel", "--user", "root")


def test_nothing_wrong(folder, undisturbed):
    Workflow(folder).finish()
    assert bytes_of(folder) == undisturbed


@pytest.mark.parametrize("rule", ["pretrain", "bootstrap"])
def test_a_job_is_cancelled(folder, undisturbed, rule):
    workflow = Workflow(folder)
    number = workflow.training() if rule == "pretrain" else workflow.job(rule)
    slurm("scancel", number)
    workflow.finish()
    assert bytes_of(folder) == undisturbed
    if rule == "pretrain":
        log = (folder / "results/tiny/logs/pretrain/round-01.log").read_text()
        assert "continuing from step" in log


def test_a_job_is_requeued(folder, undisturbed):
    """As by preemption."""
    workflow = Workflow(folder)
    number = workflow.training()
    slurm("scontrol", "requeue", number)
    # SLURM holds a requeued job back for a while.
    workflow.until(lambda: jobs("pretrain", "PENDING"))
    slurm("scontrol", "update", f"JobId={number}", "StartTime=now")
    workflow.finish()
    assert bytes_of(folder) == undisturbed


def test_snakemake_is_interrupted(folder, undisturbed):
    workflow = Workflow(folder)
    workflow.training()
    workflow.process.send_signal(signal.SIGINT)
    assert workflow.process.wait(timeout=120) != 0
    Workflow(folder).finish()
    assert bytes_of(folder) == undisturbed


def test_snakemake_is_killed_while_its_job_lives_on(folder, undisturbed):
    """The job that lives on makes the state, and the one of the new start waits for it."""
    workflow = Workflow(folder)
    first = workflow.training()
    workflow.process.kill()
    workflow.process.wait()
    run(folder, "--unlock", "--cores", "1")
    workflow = Workflow(folder)
    second = workflow.until(lambda: [n for n in jobs("pretrain", "RUNNING") if n != first])[0]
    assert second != first
    workflow.finish()
    assert bytes_of(folder) == undisturbed
