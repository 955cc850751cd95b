"""What Snakemake says when it was asked to leave, and who is asked to leave with it."""

import logging
import signal
import subprocess
import sys
import threading
import time
from enum import Enum
from pathlib import Path

import psutil
import pytest

from cyborgs.runtime.leaving import _commands, _Leaving, leave_with_jobs


class Event(Enum):
    """As Snakemake has them."""

    JOB_ERROR = "job_error"
    ERROR = "error"
    PROGRESS = "progress"


class Shown(logging.Handler):
    """Keeps what is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def said() -> tuple[logging.Logger, _Leaving, list[str]]:
    logger = logging.Logger("snakemake")
    leaving, shown = _Leaving(), Shown()
    logger.addFilter(leaving)
    logger.addHandler(shown)
    return logger, leaving, shown.lines


LEFT = "cyborgs pretrain: left after step 6 (SIGTERM), all saved; the same command continues"
FAILED = "cyborgs bootstrap: error: image a.jpg cannot be decoded"


def end(logger: logging.Logger, *logs: Path) -> None:
    """What Snakemake says where jobs with these logs failed."""
    for log in logs:
        logger.error("Error in rule", extra={"event": Event.JOB_ERROR, "log": [str(log)]})
        text = "RuleException: CalledProcessError"
        logger.error(text, extra={"event": Event.ERROR, "exception": "RuleException"})
    text = "WorkflowError: At least one job did not complete successfully."
    logger.error(text, extra={"event": Event.ERROR, "exception": "WorkflowError"})


def log(folder: Path, name: str, last: str) -> Path:
    (folder / name).write_text(f"epoch 1\n{last}\n")
    return folder / name


def test_jobs_that_left_in_order_are_no_errors(said, tmp_path):
    logger, leaving, lines = said
    leaving.asked = "SIGTERM"
    logger.info("1 of 3 steps", extra={"event": Event.PROGRESS})
    end(logger, log(tmp_path, "a", LEFT))
    assert lines == [
        "1 of 3 steps",
        f"{LEFT}\nLeft (SIGTERM): the same command continues from here.",
    ]


def test_a_job_that_failed_meanwhile_is_shown(said, tmp_path):
    logger, leaving, lines = said
    leaving.asked = "SIGTERM"
    end(logger, log(tmp_path, "a", LEFT), log(tmp_path, "b", FAILED))
    assert lines[0] == "Error in rule"
    assert lines[1].startswith(f"{LEFT}\n{FAILED}\nLeft (SIGTERM)")


def test_where_nothing_ran_that_is_said(said):
    logger, leaving, lines = said
    leaving.asked = "SIGINT"
    end(logger)
    assert lines == ["finished work is kept\nLeft (SIGINT): the same command continues from here."]


def test_nothing_is_changed_while_nobody_asks(said, tmp_path):
    logger, _, lines = said
    end(logger, log(tmp_path, "a", LEFT))
    assert [line.split()[0] for line in lines] == ["Error", "RuleException:", "WorkflowError:"]


def test_a_job_without_a_log_is_shown(said, tmp_path):
    logger, leaving, lines = said
    leaving.asked = "SIGTERM"
    end(logger, tmp_path / "none")
    assert lines[0] == "Error in rule"


@pytest.mark.skipif(sys.platform != "linux", reason="names of processes are Linux's")
def test_commands_are_found_behind_shells_and_without_what_they_started(tmp_path):
    """As the workflow starts them; the program of that name starts another of its name."""
    program = tmp_path / "cyborgs"
    program.write_text(
        f"#!{sys.executable}\n"
        "import subprocess, sys, time\n"
        "if sys.argv[1:] == ['pretrain']:\n"
        "    subprocess.Popen([sys.executable, sys.argv[0], 'worker'])\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    line = f"true; {program} pretrain > {tmp_path}/log 2>&1 && true"
    shell = subprocess.Popen(["bash", "-c", line])
    other = subprocess.Popen(["sleep", "600"])
    deadline = time.monotonic() + 60
    started = []
    while len(started) < 2:
        started = [
            p
            for p in psutil.Process(shell.pid).children(recursive=True)
            if p.cmdline()[-1:] in (["pretrain"], ["worker"])
        ]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = [p.cmdline()[-1] for p in _commands(psutil.Process())]
    for process in (*started, other):
        process.send_signal(signal.SIGKILL)
    shell.wait()
    other.wait()
    assert found == ["pretrain"]


def test_signals_are_left_alone_in_another_thread(said):
    """As where a program uses Snakemake as a library."""
    logger, _, _ = said
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    thread = threading.Thread(target=leave_with_jobs, args=(logger, lambda: False))
    thread.start()
    thread.join()
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before
    assert len(logger.filters) == 1
