"""Runs as `cyborgs status` finds them."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict

import psutil
import pytest
import yaml

from cyborgs.cli import main
from cyborgs.common.errors import CONTINUES
from cyborgs.common.live import Live, live_path
from cyborgs.progress.alive import Alive, Process, at_work
from cyborgs.progress.jobs import State
from cyborgs.progress.looking import look
from cyborgs.progress.plan import Plan, PlannedJob, plan_path
from cyborgs.stages import status
from tests.runs import TINY

HERE = socket.gethostname()


def shown(run, **options):
    """What `cyborgs status` says in a pipe."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    status.run(run, stream, **options)
    return stream.buffer.getvalue().decode()


@pytest.fixture(scope="module")
def gone():
    """A process of this machine that ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    created = psutil.Process(process.pid).create_time()
    process.communicate(b"\n")
    return process.pid, created


class Folder:
    """A run of a seed, two rounds with a shard each, and a backbone."""

    def __init__(self, where, process):
        self.where, self.process = where, process
        self.run = where / "results/x"
        self.began = time.time() - 100
        self.jobs = []
        self.add("seed_state", "states/round-00.pt", "seed-state")
        for number in ("01", "02"):
            self.add("pretrain", f"states/round-{number}.pt", f"pretrain-{number}", round=number)
            self.add("bootstrap", f"masks/{number}-of-0001.h5", f"masks-{number}", round=number,
                     shard="0000")  # fmt: skip
        self.add("export", "backbone.pth", "export")
        self.plan()

    def add(self, rule, output, log, **wildcards):
        path = "results/x"
        self.jobs.append(
            PlannedJob(len(self.jobs), rule, wildcards, [f"{path}/{output}"],
                       f"{path}/logs/{log}.log", "", True)
        )  # fmt: skip

    def plan(self, host=HERE):
        pid, created = self.process
        plan = Plan("results/x", str(self.where), "snakemake --cores 2", host, pid, created,
                    self.began, self.jobs)  # fmt: skip
        plan_path(self.run).parent.mkdir(parents=True, exist_ok=True)
        plan_path(self.run).write_text(json.dumps(asdict(plan)))

    def make(self, *numbers, ago=50):
        for number in numbers:
            path = self.where / self.jobs[number].outputs[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (time.time() - ago,) * 2)
            self.say(number, "done", ago=ago)

    def say(self, number, *lines, ago=50):
        log = self.where / self.jobs[number].log
        log.write_text("\n".join(lines) + "\n")
        os.utime(log, (time.time() - ago,) * 2)

    def live(self, number, process, host=HERE, ago=0.0, slurm=""):
        now = time.time()
        metrics = {"loss": 5.25, "images_per_second": 60.0}
        live = Live("pretrain", "steps", 40, 80, now - 40 - ago, now - ago, host, *process, slurm,
                    metrics)  # fmt: skip
        live_path(self.where / self.jobs[number].log).write_text(json.dumps(asdict(live)))

    def lock(self):
        (self.where / ".snakemake/locks").mkdir(parents=True)
        (self.where / ".snakemake/locks/0.input.lock").touch()

    @property
    def states(self):
        return [job.state.name[0] for job in look(self.run).jobs.jobs]

    def shown(self):
        return shown(self.run)


def me():
    return os.getpid(), psutil.Process().create_time()


def test_a_run_at_work(tmp_path):
    folder = Folder(tmp_path, me())
    folder.make(0)
    folder.live(1, me())
    assert "".join(folder.states) == "DRWWWW"
    told = folder.shown()
    assert "▸ round 1" in told
    assert "40/80 steps · 40 s left" in told
    assert "loss 5.2500 · 60.0 images/s" in told
    assert told.endswith("\nRunning.\n")


def test_a_run_that_is_finished(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    folder.make(*range(6))
    assert "".join(folder.states) == "DDDDDD"
    assert "Finished." in folder.shown()
    (tmp_path / "results/x/states/round-01.pt").unlink()
    told = folder.shown()
    assert "Finished." in told
    assert "Deleted since:" in told
    assert "states/round-01.pt. To make a file again: `snakemake FILE`" in told


def test_a_run_that_was_killed_with_its_jobs(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    folder.make(0)
    folder.live(1, gone)
    folder.lock()
    assert "".join(folder.states) == "DFWWWW"
    told = folder.shown()
    assert "round 1: pretraining: was killed: its process is gone" in told
    assert "Stopped. To continue, run `snakemake --unlock`, then start it again:\n" in told
    assert told.endswith("    snakemake --cores 2\n")


def test_a_run_whose_snakemake_was_killed_and_whose_job_goes_on(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    folder.make(0)
    folder.live(1, me())
    folder.lock()
    assert "Its Snakemake is gone, but 1 of its jobs is running.\n" in folder.shown()


def test_a_run_that_failed(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    folder.make(0)
    folder.say(1, "epoch 1", "cyborgs pretrain: error: masks are damaged; delete them")
    assert "".join(folder.states) == "DFWWWW"
    told = folder.shown()
    assert "    cyborgs pretrain: error: masks are damaged; delete them\n" in told
    assert f"    log: {folder.run}/logs/pretrain-01.log\n" in told
    assert "Stopped. Fix the error, then start it again:\n" in told


def test_a_run_that_left_when_it_was_asked_to(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    folder.make(0)
    folder.say(
        1, f"cyborgs pretrain: left after step 6 (SIGTERM), all saved; {CONTINUES} continues"
    )
    assert "".join(folder.states) == "DWWWWW"
    assert (
        "Stopped (on request; everything is saved). To continue, start it again:" in folder.shown()
    )


def test_results_before_the_plan_are_to_be_made_again(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    folder.make(*range(6), ago=1000)
    assert "".join(folder.states) == "WWWWWW"


def test_a_folder_that_was_moved_is_read_where_it_is(tmp_path, gone):
    folder = Folder(tmp_path / "a", gone)
    folder.make(*range(6))
    moved = tmp_path / "copy of x"
    folder.run.rename(moved)
    assert look(moved).finished


def test_a_run_of_another_machine(tmp_path):
    folder = Folder(tmp_path, (1, 0.0))
    folder.plan(host="elsewhere")
    folder.lock()
    folder.live(1, (1, 0.0), host="node7")
    told = folder.shown()
    assert (
        "Started on elsewhere, where its Snakemake may still run; 1 of its jobs is running." in told
    )
    folder.live(1, (1, 0.0), host="node7", ago=3600)
    assert look(folder.run).jobs.jobs[1].state is not State.RUNNING


def test_slurm_is_asked_for_jobs_of_other_machines(tmp_path, monkeypatch):
    from cyborgs.progress import alive

    monkeypatch.setattr(alive, "_slurm_jobs", lambda: frozenset({"4711"}))
    folder = Folder(tmp_path, (1, 0.0))
    folder.live(1, (1, 0.0), host="node7", ago=90, slurm="4711")
    assert look(folder.run).jobs.jobs[1].note == "SLURM job 4711"
    folder.live(1, (1, 0.0), host="node7", ago=0, slurm="4712")
    assert look(folder.run).jobs.jobs[1].state is not State.RUNNING


def test_a_number_that_another_process_has_now_is_not_taken_for_it():
    pid, created = me()
    assert Process(HERE, pid, created).alive() is Alive.YES
    assert Process(HERE, pid, created - 60).alive() is Alive.NO
    assert Process("elsewhere", pid, created).alive() is Alive.UNKNOWN
    live = Live("x", "", 0, 0, 0.0, 1000.0, "elsewhere", pid, created)
    assert at_work(live, 1010.0)
    assert not at_work(live, 9000.0)


def test_a_run_of_an_earlier_version_is_judged_by_its_files(tmp_path):
    run = tmp_path / "results/tiny"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(TINY))
    for name in ("index.jsonl", "states/round-00.pt", "states/round-01.pt",
                 *(f"masks/round-00/shard-000{n}-of-0002.h5" for n in range(2))):  # fmt: skip
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    assert shown(run).splitlines() == [
        f"{run} · 5 of 10 jobs done",
        "✓ data           index",
        "✓ seed           weights · masks",
        "· round 1",
        "  ✓ pretraining",
        "  · masks        0 of 2 shards",
        "· round 2        pretraining",
        "· end            backbone, report",
        "",
        "Not finished. Start it again: it continues from the files that exist.",
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: None, "run: {run} does not exist"),
        (lambda run: run.touch(), "run: {run} is a file; name a folder"),
        (
            lambda run: run.mkdir(),
            "run: {run} is not a run: it has neither logs/plan.json nor config.yaml",
        ),
        (
            lambda run: (run / "logs").mkdir(parents=True),
            "run: {run} has logs, but neither logs/plan.json nor config.yaml: start its workflow",
        ),
        (
            lambda run: (
                (run / "logs").mkdir(parents=True),
                plan_path(run).write_text('{"jobs": 3}'),
            ),
            "{run}/logs/plan.json is damaged; delete it",
        ),
    ],
)
def test_what_is_no_run_is_told_in_one_line(tmp_path, capsys, make, message):
    run = tmp_path / "x"
    make(run)
    assert main(["status", str(run)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"cyborgs status: error: {message.format(run=run)}")
    assert told.count("\n") == 1


def test_a_watch_ends_when_nothing_is_at_work(tmp_path, gone):
    folder = Folder(tmp_path, gone)
    assert shown(folder.run, watch=True).count("results/x · ") == 1
