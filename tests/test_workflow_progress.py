"""What a run shows while it runs: in a terminal, in a pipe, and to `cyborgs status`."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cyborgs.progress.looking import look
from cyborgs.progress.plan import Plan
from tests.runs import REPOSITORY, changed, commands, snakemake, start

ESCAPES = re.compile(r"\x1b\[[\d;]*[A-Za-z]")


def rewound(folder, *names):
    """A finished run without some of its files."""
    for name in names:
        path = folder / "results/tiny" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


def in_terminal(folder, columns, *targets, **environment):
    """Run the workflow in a terminal; what that was sent."""
    leader, follower = pty.openpty()
    here = Path(sys.executable).parent
    process = subprocess.Popen(
        ["sh", "-c", f'stty cols {columns} rows 24; exec "$0" "$@"', here / "snakemake",
         "--snakefile", REPOSITORY / "workflow/Snakefile", "--directory", folder,
         "--cores", "2", *targets, "--configfile", folder / "config.yaml"],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
        env=os.environ | {"PATH": f"{here}:{os.environ['PATH']}", "TERM": "xterm"} | environment,
    )  # fmt: skip
    os.close(follower)
    sent = bytearray()
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the terminal has no other end any more
            break
        if not part:
            break
        sent += part
    os.close(leader)
    assert process.wait() == 0, sent.decode()
    return sent.decode()


def frames(sent):
    """The trees that were drawn: what lies between a drawing and its removal."""
    return [
        ESCAPES.sub("", frame).replace("\r", "").splitlines()
        for frame in re.findall(
            r"(?<=\x1b\[J)([^\x1b].*?|\x1b\[1m.*?)\r\x1b\[\d+A\x1b\[J", sent, re.S
        )
    ]


LONGER = changed(pretrain={"epochs": [1, 12]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "environment"),
    [(40, {"NO_COLOR": "1"}), (100, {})],
    ids=["40 columns, no colour", "100 columns"],
)
def test_a_terminal_shows_the_run_as_a_tree(finished, tmp_path, columns, environment):
    folder = rewound(shutil.copytree(finished, tmp_path / "run"), "states/round-02.pt")
    snakemake(folder, "--dry-run", config=LONGER)  # leaves that configuration
    sent = in_terminal(folder, columns, "results/tiny/states/round-02.pt", **environment)
    trees = [frame for frame in frames(sent) if frame and frame[0].startswith("results/tiny")]
    assert len(trees) > 5
    assert all(len(line) < columns for frame in trees for line in frame)
    training = ["\n".join(frame) for frame in trees if any("steps" in line for line in frame)]
    assert training, trees
    assert re.search(r"▸ round 2\n  ▸ pretraining .*\d+/36 steps", training[-1])
    assert re.search(r"loss \d\.\d{4}", training[-1])
    assert re.search(r"[\d.]+ images/s", training[-1])
    assert "waiting for data" in training[-1]
    assert any("left" in frame for frame in training)
    assert ("\x1b[32m" in sent) is (not environment)
    said = ESCAPES.sub("", sent)
    assert re.search(r"✓ round 2: pretraining  \d+:\d\d · loss", said)
    assert re.search(r"✓ results/tiny  (\d+) of \1 jobs done", said)
    # Commands are where they are said to be.
    (log,) = re.findall(r"each job's command: (\S+)", said.replace("\r\n", "\n"))
    assert "cyborgs pretrain --config" in Path(log).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{}, {"TERM": "dumb"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["pipe", "dumb", "ASCII"],
)
def test_where_there_is_no_terminal_jobs_have_lines(finished, tmp_path, environment):
    folder = rewound(shutil.copytree(finished, tmp_path / "run"), "report.html")
    if environment.get("TERM") == "dumb":
        snakemake(folder, "--dry-run")
        shown = in_terminal(folder, 80, **environment).replace("\r", "")
    else:
        shown = snakemake(folder, environment=environment).stdout
    assert "\x1b" not in shown
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in shown.splitlines()]
    assert "results/tiny: 1 jobs to run, 20 done before" in lines
    assert "report: begins (log: results/tiny/logs/report.log)" in lines
    assert any(re.fullmatch(r"report: done  \d+:\d\d", line) for line in lines)
    mark = "+" if "LC_ALL" in environment else "✓"
    assert any(line.startswith(f"{mark} results/tiny  21 of 21 jobs done") for line in lines)


@pytest.mark.slow
def test_the_plan_is_that_of_the_workflow(finished):
    plan = Plan.read(finished / "results/tiny")
    rules = [job.rule for job in plan.jobs]
    assert len(rules) == 21
    assert (rules.count("pretrain"), rules.count("bootstrap"), rules.count("seed_masks")) == (
        2,
        2,
        2,
    )
    assert all((finished / job.log).exists() for job in plan.jobs)
    assert all((finished / path).exists() for job in plan.jobs for path in job.outputs)
    assert look(finished / "results/tiny").finished
    assert not list(finished.rglob("*.live"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the job's process through /proc")
def test_a_killed_run_is_seen_as_that(finished, tmp_path):
    from cyborgs.progress.alive import Alive
    from cyborgs.progress.jobs import State

    folder = rewound(shutil.copytree(finished, tmp_path / "run"), "states/round-02.pt")
    run = folder / "results/tiny"
    target = "results/tiny/states/round-02.pt"
    workflow = start(folder, target, config=LONGER, stdout=subprocess.DEVNULL)

    def training():
        found = [job for job in look(run).jobs.jobs if job.rule == "pretrain" and job.live]
        return [job for job in found if job.live.doing == "pretrain" and job.live.done]

    deadline = time.monotonic() + 300
    while not (found := training()):
        assert workflow.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert found[0].live.total == 36
    assert set(found[0].live.metrics) == {"epoch", "loss", "images_per_second", "waiting"}
    assert look(run).workflow is Alive.YES
    workflow.kill()
    workflow.wait()
    seen = look(run)
    assert seen.workflow is Alive.NO
    assert seen.locked
    assert seen.running >= 1
    for process, _, _ in commands(folder):
        os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (seen := look(run)).running:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (failed,) = [job for job in seen.failures if job.rule == "pretrain"]
    assert failed.state is State.FAILED
    assert "killed" in failed.note
