"""The workflow on a real SLURM of two nodes, and what goes wrong on clusters.

Each fault ends in the very same bytes as a run on this machine, without SLURM, that nothing
disturbed.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cyborgs.experiments.rows import read_rows
from tests.experiments import experiments
from tests.runs import REPOSITORY, TINY, commands, snakemake, start

CLUSTER = REPOSITORY / "tests/slurm/cluster.sh"

pytestmark = pytest.mark.slurm

CONFIG = TINY | {
    "rounds": 1,
    "seed_masks": {"kind": "grid", "cells": 3},
    "pretrain": TINY["pretrain"] | {"epochs": 6},
    "compute": TINY["compute"] | {"checkpoint_minutes": 0},
}
TWO_PROCESSES = CONFIG | {"compute": CONFIG["compute"] | {"processes": 2}}
TWO_NODES = CONFIG | {"compute": CONFIG["compute"] | {"nodes": 2}}
# Longer than twice the half of a minute that a job of a minute takes before it leaves.
LONG = CONFIG | {"pretrain": TINY["pretrain"] | {"epochs": 150}, "compute": TINY["compute"]}
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

    def __init__(self, folder, *arguments, config=CONFIG, tools=()):
        self.folder = folder
        self.log = folder / "snakemake.log"
        with open(self.log, "a") as log:
            self.process = start(
                folder, *MASKS, *SLURM, *arguments, config=config, stdout=log, tools=tools
            )

    def until(self, condition, seconds=600):
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
        self.until(lambda: list((self.folder / "results/tiny/work").glob("pretrain-*.pt")))
        return number

    def finish(self):
        assert self.process.wait(timeout=900) == 0, self.log.read_text()


def slurm(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


def jobs(rule, state):
    # Where the controller is too busy to answer, there is none yet; who asks will ask again.
    line = ["squeue", "--noheader", "--states", state, "--format", "%i %k"]
    shown = subprocess.run(line, capture_output=True, text=True).stdout
    return [line.split()[0] for line in shown.splitlines() if rule in line]


def log_of(folder):
    return (folder / "results/tiny/logs/pretrain/round-01.log").read_text()


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in (STATE, *MASKS)]


def training_processes(folder):
    """Process ids of those that train in a folder, by rank; None is the rank of one alone."""
    return {
        next((int(e[5:]) for e in environment if e.startswith(b"RANK=")), None): pid
        for pid, words, environment in commands(folder)
        if words[0] == b"pretrain"
    }


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


def test_an_experiment_runs(cluster, tmp_path):
    run = experiments.snakemake(tmp_path, experiments.tiny(), *SLURM)
    assert run.returncode == 0, run.stdout
    rows = read_rows(tmp_path / "results/tiny/rows.jsonl")
    assert len(rows) == 10
    assert "sbatch" in run.stdout or "SLURM" in run.stdout


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


def test_the_time_limit_is_reached_twice(folder, undisturbed_run):
    workflow = Workflow(folder, "--set-resources", "pretrain:runtime=1", config=LONG)
    workflow.finish()
    assert workflow.log.read_text().count("(time limit), all saved") >= 2
    assert bytes_of(folder) == undisturbed_run(LONG)


def test_a_job_on_two_nodes_is_cancelled(folder, undisturbed_by_two):
    workflow = Workflow(folder, config=TWO_NODES)
    slurm("scancel", workflow.training())
    workflow.finish()
    assert bytes_of(folder) == undisturbed_by_two
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


def test_a_training_process_is_killed(folder, undisturbed):
    workflow = Workflow(folder)
    workflow.training()
    os.kill(training_processes(folder)[None], signal.SIGKILL)
    workflow.finish()
    assert bytes_of(folder) == undisturbed
    assert "continuing from step" in log_of(folder)


@pytest.mark.parametrize("config", [TWO_PROCESSES, TWO_NODES], ids=["one-node", "two-nodes"])
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_two_training_processes_is_killed(folder, undisturbed_by_two, config, rank):
    """The other one ends too, and the next try continues."""
    workflow = Workflow(folder, config=config)
    workflow.training()
    os.kill(training_processes(folder)[rank], signal.SIGKILL)
    workflow.finish()
    assert bytes_of(folder) == undisturbed_by_two
    assert "continuing from step" in log_of(folder)


@pytest.fixture
def no_sacct(tmp_path):
    """A folder for PATH, by which Snakemake finds no `sacct`, as on a site without accounting.

    With one that no database answers, it would lose its jobs when the controller is away.
    """
    which = tmp_path / "tools/which"
    which.parent.mkdir()
    which.write_text(f'#!/bin/sh\n[ "$1" != sacct ] && exec {shutil.which("which")} "$@"\n')
    which.chmod(0o755)
    return which.parent


def test_the_controller_is_gone_for_a_while(folder, undisturbed, no_sacct):
    workflow = Workflow(folder, tools=[no_sacct])
    workflow.training()
    # Its process ends after it has answered.
    controller = int(Path("/tmp/cyborgs-slurm/slurmctld.pid").read_text())
    slurm("scontrol", "shutdown", "slurmctld")
    workflow.until(lambda: not Path(f"/proc/{controller}").exists())
    time.sleep(30)
    subprocess.run(["slurmctld"], check=True)
    workflow.finish()
    assert bytes_of(folder) == undisturbed


def test_a_node_goes_down_and_comes_back(folder, undisturbed):
    """SLURM hands its job in again by itself."""
    workflow = Workflow(folder)
    number = workflow.training()
    node = slurm("squeue", "--noheader", "--jobs", number, "--format", "%N").strip()
    slurm("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    # This cluster takes back a node that answers (ReturnToService).  SLURM waits for two minutes
    # before it starts the job again; sooner, the node may still be busy with ending it.
    workflow.until(lambda: jobs("pretrain", "PENDING"))
    workflow.finish()
    assert bytes_of(folder) == undisturbed
    assert "continuing from step" in log_of(folder)


@pytest.fixture
def full_disk():
    """Put a full disk in place of a folder, with its files; returns what makes room on it."""
    mounted = []

    def mount(folder):
        files = folder.rename(folder.with_name("aside"))
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=800m", "tmpfs", folder]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a disk of memory cannot be mounted here")
        mounted.append(folder)
        shutil.copytree(files, folder, dirs_exist_ok=True)
        filler = folder / "filler"
        room = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize
        with open(filler, "wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, room - 4096)
        return filler.unlink

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    ("where", "log"),
    [("work", "pretrain/round-01"), ("masks", "bootstrap/round-01/shard-0000")],
    ids=["checkpoint", "shard"],
)
def test_the_disk_is_full(folder, undisturbed, full_disk, where, log):
    (folder / "results/tiny/work").mkdir(exist_ok=True)
    make_room = full_disk(folder / "results/tiny" / where)
    workflow = Workflow(folder)
    path = folder / "results/tiny/logs" / f"{log}.log"
    workflow.until(
        lambda: path.exists() and "No space left on device" in path.read_text(), seconds=240
    )
    assert "Traceback" not in path.read_text()
    make_room()
    workflow.finish()
    assert bytes_of(folder) == undisturbed


def test_a_shard_is_damaged_between_rounds(folder, undisturbed):
    """Found by name before the first step; one command makes it again."""
    shard = folder / SEEDS[1]
    content, times = shard.read_bytes(), (shard.stat().st_atime_ns, shard.stat().st_mtime_ns)
    half = len(content) // 2
    shard.write_bytes(content[:half] + bytes(len(content) - half))
    os.utime(shard, ns=times)
    workflow = Workflow(folder, "--retries", "0")
    assert workflow.process.wait(timeout=200) != 0
    assert f"error: mask shard {SEEDS[1]} is damaged" in log_of(folder)
    assert "Traceback" not in log_of(folder)
    assert not (folder / STATE).exists()
    assert not list((folder / "results/tiny/work").glob("*.pt"))
    Workflow(folder, "--forcerun", SEEDS[1]).finish()
    assert shard.read_bytes() == content
    assert bytes_of(folder) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_jobs_leave_with_snakemake(folder, number):
    workflow = Workflow(folder, config=LONG)
    workflow.training()
    workflow.until(lambda: "epoch 2:" in log_of(folder))
    workflow.process.send_signal(number)
    assert workflow.process.wait(timeout=120) != 0
    deadline = time.monotonic() + 60
    while slurm("squeue", "--noheader"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "(SIGTERM), all saved" in log_of(folder)
    last = f"Left ({number.name}): the same command continues from here."
    assert workflow.log.read_text().splitlines()[-1] == last


def test_snakemake_is_interrupted(folder, undisturbed):
    workflow = Workflow(folder)
    workflow.training()
    workflow.process.send_signal(signal.SIGINT)
    assert workflow.process.wait(timeout=120) != 0
    Workflow(folder).finish()
    assert bytes_of(folder) == undisturbed


@pytest.mark.parametrize(
    ("made", "lock", "log"),
    [
        (STATE, "work/round-01.lock", "pretrain/round-01.log"),
        (
            MASKS[0],
            "masks/round-01/.shard-0000-of-0002.lock",
            "bootstrap/round-01/shard-0000.log",
        ),
    ],
    ids=["training", "masks"],
)
def test_snakemake_is_killed_while_its_job_lives_on(folder, undisturbed, made, lock, log):
    """The job that lives on makes the file, and the one of the new start waits for it."""
    results = folder / "results/tiny"
    workflow = Workflow(folder)
    workflow.until((results / lock).exists)
    (first,) = [pid for pid, words, _ in commands(folder) if made.encode() in words]
    # It holds on until the second one is there.
    os.kill(first, signal.SIGSTOP)
    workflow.process.kill()
    workflow.process.wait()
    snakemake(folder, "--unlock", config=CONFIG)
    log = results / "logs" / log
    workflow = Workflow(folder)
    workflow.until(lambda: log.exists() and "waiting for it to end" in log.read_text())
    os.kill(first, signal.SIGCONT)
    workflow.finish()
    assert "was made from the same inputs with the same settings, so it is kept" in log.read_text()
    assert bytes_of(folder) == undisturbed


@pytest.mark.parametrize("rule", ["pretrain", "bootstrap"])
def test_snakemake_is_killed_and_its_job_finishes_before_the_next_start(folder, undisturbed, rule):
    workflow = Workflow(folder)
    if rule == "pretrain":
        workflow.training()
    else:
        workflow.job(rule)
    made = folder / (STATE if rule == "pretrain" else MASKS[0])
    workflow.process.kill()
    workflow.process.wait()
    while slurm("squeue", "--noheader"):
        time.sleep(0.2)
    before = made.stat().st_ino
    snakemake(folder, "--unlock", config=CONFIG)
    Workflow(folder).finish()
    assert made.stat().st_ino == before
    assert bytes_of(folder) == undisturbed
