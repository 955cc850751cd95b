"""Records of Snakemake's logger in, lines of a terminal or of a log out."""

import io
import json
import logging
import re

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from cyborgs.common.live import Live, live_path
from cyborgs.progress.follower import Follower
from cyborgs.progress.plan import Plan, PlannedJob
from cyborgs.progress.screen import Screen
from tests.progress.runs_shown import METRICS

TIME = r"\d\d:\d\d:\d\d "


class Workflow:
    """Says what Snakemake says of a run of three jobs, one of which is done before."""

    def __init__(self, folder, terminal=False, **options):
        self.stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        self.stream.isatty = lambda: terminal
        self.clock = 1_000_000.0
        self.folder = folder
        screen = Screen(self.stream, {"TERM": "xterm", "NO_COLOR": "1"})
        self.follower = Follower(screen, now=lambda: self.clock, **options)
        self.log = folder / "pretrain.log"

    def say(self, message, level=logging.INFO, **extra):
        record = logging.LogRecord("snakemake", level, __file__, 1, message, (), None)
        record.__dict__.update(extra)
        self.follower.take(record)

    def planned(self, number, rule, needed=True, **wildcards):
        log = self.log if rule == "pretrain" else self.folder / f"{rule}.log"
        return PlannedJob(number, rule, wildcards, [f"{rule}.out"], str(log), "", needed)

    def begin(self):
        jobs = [
            self.planned(1, "index", needed=False),
            self.planned(2, "pretrain", round="01"),
            self.planned(3, "export"),
        ]
        plan = Plan("results/x", "/", "snakemake", "host", 1, 0.0, self.clock, jobs)
        self.say("Building DAG of jobs...")
        self.say(
            "Job stats:\n…", event=LogEvent.RUN_INFO, stats={"pretrain": 1, "export": 1, "total": 3}
        )
        self.say("Run: results/x", plan=plan)
        self.say("Select jobs to execute...")

    def start(self, number, rule, **wildcards):
        self.say("Execute 1 jobs...", event=LogEvent.JOB_STARTED, jobs=[number])
        self.say(
            f" Rule: {rule}, Jobid: {number}", event=LogEvent.JOB_INFO, jobid=number,
            rule_name=rule, wildcards=wildcards, output=[f"{rule}.out"], log=[str(self.log)],
            benchmark=None, reason="Missing output files: x.out",
        )  # fmt: skip

    def end(self, number):
        self.say(f"Finished jobid: {number}", event=LogEvent.JOB_FINISHED, job_id=number)
        self.say(None, event=LogEvent.PROGRESS, done=1, total=3)

    def fail(self, number, rule):
        text = "RuleException:\nCalledProcessError in file \"x.smk\", line 1:\nCommand 'set …'"
        self.say(text, logging.ERROR, event=LogEvent.ERROR, exception="RuleException")
        self.say(
            f"Error in rule {rule}", logging.ERROR, event=LogEvent.JOB_ERROR, jobid=number,
            rule_name=rule, log=[str(self.log)], output=[], input=[], shellcmd="x", aux={},
        )  # fmt: skip

    def live(self, done):
        live = Live(
            "pretrain", "steps", done, 100, self.clock - done, self.clock, "h", 1, 0.0, "", METRICS
        )
        content = {**live.__dict__, "metrics": dict(live.metrics)}
        live_path(self.log).write_text(json.dumps(content))

    @property
    def shown(self):
        return self.stream.buffer.getvalue().decode()

    @property
    def lines(self):
        return [re.sub(f"^{TIME}", "", line) for line in self.shown.splitlines()]


def test_a_run_in_a_log(tmp_path):
    run = Workflow(tmp_path)
    run.begin()
    run.start(2, "pretrain", round="01")
    run.clock += 200
    run.live(40)
    run.follower.tick()
    run.clock += 200
    run.live(80)
    run.follower.tick()
    run.clock += 60
    run.end(2)
    run.start(3, "export")
    run.clock += 2
    run.end(3)
    run.say("Complete log(s): /x/.snakemake/log/y.log")
    run.follower.close()
    assert run.lines == [
        "results/x: 2 jobs to run, 1 done before",
        f"round 1: pretraining: begins (log: {run.log})",
        "round 1: pretraining: 80/100 steps, epoch 3, loss 5.2345, 61.2 images/s, 0% waiting for "
        "data, 20 s left, run: at least 20 s left",
        "round 1: pretraining: done  7:40 · loss 5.2345 · 61.2 images/s",
        f"backbone: begins (log: {tmp_path / 'export.log'})",
        "backbone: done  0:02",
        "✓ results/x  3 of 3 jobs done · 7:42",
        "  each job's command: /x/.snakemake/log/y.log",
    ]  # fmt: skip
    assert "\x1b" not in run.shown


def test_a_run_in_a_terminal(tmp_path):
    run = Workflow(tmp_path, terminal=True)
    run.begin()
    run.start(2, "pretrain", round="01")
    run.live(40)
    run.clock += 2
    run.follower.tick()
    frame = run.shown.rpartition("\x1b[J")[2].splitlines()
    assert frame[0] == "results/x · 1 of 3 jobs done · 0:02 · at least 58 s left"
    assert frame[3] == "  ▸ pretraining  ━━━━━━──────────  40/100 steps · 58 s left"
    run.clock += 2
    run.end(2)
    assert "✓ round 1: pretraining  0:04 · loss 5.2345 · 61.2 images/s\n" in run.shown
    run.follower.close()
    assert run.shown.endswith("\x1b[J")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_failed_job_has_its_last_words_and_its_log_named(tmp_path, terminal):
    run = Workflow(tmp_path, terminal)
    run.begin()
    run.start(2, "pretrain", round="01")
    run.log.write_text("\n".join(f"line {n}" for n in range(99)) + "\rbar 1\rbar 2\x1b[A\n\n")
    run.clock += 12
    run.fail(2, "pretrain")
    text = "WorkflowError:\nAt least one job did not complete successfully."
    run.say(text, logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    run.say("Complete log(s): y.log")
    run.follower.close()
    assert "✗ round 1: pretraining: failed after 0:12\n" in run.shown
    assert "line 86" not in run.shown
    assert "    line 97\n    bar 2 [A\n" in run.shown
    assert f"    log: {run.log}\n" in run.shown
    assert "✗ results/x  1 of 3 jobs done · 1 failed · 0:12\n" in run.shown
    assert "CalledProcessError" not in run.shown
    assert "WorkflowError" not in run.shown


def test_an_error_of_a_command_needs_no_lines_before_it(tmp_path):
    run = Workflow(tmp_path)
    run.begin()
    run.start(2, "pretrain", round="01")
    run.log.write_text("epoch 7: of an earlier try\ncyborgs pretrain: error: masks are damaged\n")
    run.fail(2, "pretrain")
    assert "earlier try" not in run.shown
    assert "    cyborgs pretrain: error: masks are damaged\n" in run.shown


def test_an_exit_status_that_belongs_to_no_job_is_not_lost(tmp_path):
    run = Workflow(tmp_path)
    run.begin()
    run.say("CalledProcessError: git", logging.ERROR, event=LogEvent.ERROR)
    assert "git" not in run.shown
    run.follower.close()
    assert "CalledProcessError: git\n" in run.shown


def test_what_the_workflow_says_is_shown(tmp_path):
    run = Workflow(tmp_path)
    run.say("Using workflow specific profile profiles/default")
    run.say("data.images: 1 new (a.png)", logging.WARNING)
    run.say("Nothing to be done (all requested files are present and up to date).")
    left = (
        "cyborgs pretrain: left after step 6\nLeft (SIGTERM): the same command continues from here."
    )
    run.say(left, logging.ERROR, event=LogEvent.ERROR)
    run.follower.close()
    assert run.lines == [
        "data.images: 1 new (a.png)",
        "Nothing to be done (all requested files are present and up to date).",
        *left.split("\n"),
    ]


def test_jobs_on_slurm_are_told_by_their_numbers_and_tried_again(tmp_path):
    run = Workflow(tmp_path)
    run.begin()
    run.start(2, "pretrain", round="01")
    run.say("Job 2 has been submitted with SLURM jobid 4711 (log: /x/4711.log).")
    run.fail(2, "pretrain")
    run.say("Trying to restart job 2.")
    assert "round 1: pretraining: SLURM job 4711" in run.lines
    assert any("failed after 0:00 (SLURM job 4711)" in line for line in run.lines)
    assert run.lines[-1] == "round 1: pretraining: is tried again"


def test_words_of_a_job_before_this_one_are_not_taken_for_its_own(tmp_path):
    run = Workflow(tmp_path)
    run.live(40)
    run.clock += 100
    run.begin()
    run.start(2, "pretrain", round="01")
    run.clock += 2
    run.follower.tick()
    assert run.follower.run.jobs[1].live is None


def test_without_a_plan_jobs_are_known_when_they_begin(tmp_path):
    run = Workflow(tmp_path)
    run.say("", event=LogEvent.RUN_INFO, stats={"pretrain": 1, "export": 1, "all": 1, "total": 3})
    run.start(2, "pretrain", round="01")
    run.end(2)
    run.say("Complete log(s): y.log")
    assert run.lines[0].startswith("round 1: pretraining: begins")
    assert run.lines[-2] == "✗ workflow  1 of 2 jobs done · 0:00"


@pytest.mark.parametrize(
    ("quiet", "lines"),
    [({"all"}, 0), ({"rules"}, 0), ({"progress"}, 2)],
)
def test_who_asks_for_quiet_has_it(tmp_path, quiet, lines):
    run = Workflow(tmp_path, quiet=quiet)
    run.begin()
    run.start(2, "pretrain", round="01")
    assert len(run.lines) == lines


def test_a_dry_run_fits_a_screen(tmp_path):
    run = Workflow(tmp_path, dryrun=True)
    reasons = {
        "Missing output files: a, b; Input files updated by another job: c": "not made yet",
        "Params have changed since last execution: x": "settings changed",
        "Input files updated by another job: c": "its input is remade",
    }
    number = 0
    for round_ in range(1, 9):
        for shard in range(500):
            number += 1
            run.say(
                "", event=LogEvent.JOB_INFO, jobid=number, rule_name="bootstrap", log=[], output=[],
                wildcards={"round": f"{round_:02d}", "shard": f"{shard:04d}"}, benchmark=None,
                reason=list(reasons)[round_ == 1],
            )  # fmt: skip
    run.say("This was a dry-run (flag -n). The order of jobs …")
    assert run.lines == [
        "  500  round 1: masks     settings changed",
        " 3500  rounds 2–8: masks  not made yet",
        " 4000  jobs would run",
        "This was a dry run.",
        "--logger-cyborgs-show snakemake lists each job with its files and the reason.",
        "--rerun-triggers mtime skips jobs of which only settings changed.",
    ]


def test_thousands_of_records_take_no_drawing_each(tmp_path):
    run = Workflow(tmp_path, terminal=True)
    run.begin()
    before = len(run.shown)
    for _ in range(5000):
        run.say("Select jobs to execute...")
    assert len(run.shown) == before
