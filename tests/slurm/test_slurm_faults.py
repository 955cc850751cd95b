"""The workflow on a real SLURM of two nodes, and what goes wrong on clusters.

Each fault ends in the very same bytes as a run on this machine, without SLURM, that nothing
disturbed.
"""

import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.test_workflow import REPOSITORY, TINY, snakemake, start

CLUSTER = REPOSITORY / "tests/slurm/cluster.sh"

pytestmark = pytest.mark.slurm

CONFIG = TINY | {
    "rounds": 1,
    "seed_masks": {"kind": "grid", "cells": 3},
    "pretrain": TINY["pretrain"] | {"epochs": 12},
    "compute": TINY["compute"] | {"checkpoint_minutes": 0},
}
TWO_PROCESSES = CONFIG | {"compute": CONFIG["compute"] | {"processes": 2}}
TWO_NODES = CONFIG | {"compute": CONFIG["compute"] | {"nodes": 2}}
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
def cluster(request):
    """A SLURM that is up until the tests are over."""
    if request.config.option.markexpr != "slurm":
        pytest.skip("tests that install and start a SLURM run by `make test-slurm`")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a SLURM for tests needs root on Debian or Ubuntu")
    up = subprocess.run([CLUSTER, "up"], capture_output=True, text=True)
    if up.returncode:
        pytest.skip(f"no SLURM here: {up.stderr.strip()}")
    yield
    subprocess.run([CLUSTER, "down"], check=True)


class Workflow:
    """Snakemake at work on SLURM in a folder."""

    def __init__(self, folder, *arguments, config=CONFIG):
        self.folder = folder
        self.log = folder / "snakemake.log"
        with open(self.log, "a") as log:
            self.process = start(folder, *MASKS, *SLURM, *arguments, config=config, stdout=log)

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
        self.until(lambda: list((self.folder / "results/tiny/work").glob("*.pt")))
        return number

    def finish(self):
        assert self.process.wait(timeout=900) == 0, self.log.read_text()


def slurm(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def jobs(rule, state):
    shown = slurm("squeue", "--noheader", "--states", state, "--format", "%i %k").splitlines()
    return [line.split()[0] for line in shown if rule in line]


def log_of(folder):
    return (folder / "results/tiny/logs/pretrain/round-01.log").read_text()


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in (STATE, *MASKS)]


@pytest.fixture(scope="session")
def seeded(tmp_path_factory):
    """A run as it is before its first training; tests must not change it."""
    folder = tmp_path_factory.mktemp("seeded")
    snakemake(folder, "results/tiny/states/round-00.pt", *SEEDS, config=CONFIG)
    return folder


@pytest.fixture(scope="session")
def undisturbed_run(seeded, tmp_path_factory):
    """Bytes of the state and the masks of a configuration, made on this machine without SLURM."""

    def run(config):
        folder = shutil.copytree(seeded, tmp_path_factory.mktemp("undisturbed") / "run")
        snakemake(folder, *MASKS, config=config)
        return bytes_of(folder)

    return run


@pytest.fixture(scope="session")
def undisturbed(undisturbed_run):
    return undisturbed_run(CONFIG)


@pytest.fixture(scope="session")
def undisturbed_by_two(undisturbed_run):
    """The same for two training processes."""
    return undisturbed_run(TWO_PROCESSES)


@pytest.fixture
def folder(cluster, seeded, tmp_path):
    yield shutil.copytree(seeded, tmp_path / "run")
    # Only a test that failed leaves jobs.
    slurm("scancel", "--user", "root")


def test_jobs_are_given_the_gpus_that_they_ask_for(folder, undisturbed):
    """Make-believe ones, which the jobs leave alone."""
    workflow = Workflow(folder, "--set-resources", "pretrain:gpu=2")
    number = workflow.job("pretrain")
    assert "TresPerJob=gres:gpu:2" in slurm("scontrol", "show", "job", number)
    workflow.finish()
    assert bytes_of(folder) == undisturbed


def test_two_nodes_train_together(folder, undisturbed_by_two):
    """One process on each, with the bytes of two processes on one node."""
    gpus = ("--set-resources", "pretrain:gres=gpu:2", "pretrain:tasks_per_gpu=0")
    workflow = Workflow(folder, *gpus, config=TWO_NODES)
    shown = slurm("scontrol", "show", "job", workflow.job("pretrain"))
    assert "NumNodes=2" in shown
    assert "TresPerNode=gres:gpu:2" in shown
    workflow.finish()
    assert "launch: srun --nodes=2" in log_of(folder)
    assert bytes_of(folder) == undisturbed_by_two


@pytest.mark.parametrize("rule", ["pretrain", "bootstrap"])
def test_a_job_is_cancelled(folder, undisturbed, rule):
    workflow = Workflow(folder)
    number = workflow.training() if rule == "pretrain" else workflow.job(rule)
    slurm("scancel", number)
    workflow.finish()
    assert bytes_of(folder) == undisturbed
    if rule == "pretrain":
        assert "(SIGTERM), all saved" in workflow.log.read_text()
        assert "continuing from step" in log_of(folder)


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
    snakemake(folder, "--unlock", config=CONFIG)
    # The first one holds on until the second one is there.
    slurm("scontrol", "suspend", first)
    workflow = Workflow(folder)
    workflow.until(lambda: "waiting for it to end" in log_of(folder))
    slurm("scontrol", "resume", first)
    workflow.finish()
    assert "was made meanwhile" in log_of(folder)
    assert bytes_of(folder) == undisturbed
