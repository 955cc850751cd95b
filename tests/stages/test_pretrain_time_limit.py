"""A job's time limit, as SLURM tells it."""

import os
import subprocess

import pytest

from cyborgs.runtime.slurm import parse_time, seconds_left
from tests.stages.conftest import command


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:07", 7),
        ("59:59", 3599),
        ("1:00:00", 3600),
        ("2-03:04:05", 2 * 86400 + 3 * 3600 + 4 * 60 + 5),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("INVALID", None),
        ("", None),
    ],
)
def test_times_are_read_as_slurm_writes_them(text, seconds):
    assert parse_time(text) == seconds


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A make-believe squeue: a function that says what it does."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def set_answer(script):
        (tmp_path / "squeue").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "squeue").chmod(0o755)

    return set_answer


def test_outside_of_slurm_nobody_is_asked(squeue, monkeypatch):
    squeue("exit 1")
    monkeypatch.delenv("SLURM_JOB_ID")
    assert seconds_left() is None


def test_the_job_is_named_to_slurm(squeue):
    squeue('[ "$*" = "--noheader --jobs 17 --format %L" ] && echo 3:04')
    assert seconds_left() == 184


def test_a_controller_that_does_not_answer_stops_no_job(squeue, capsys):
    squeue("exit 1")
    assert seconds_left() is None
    assert "SLURM does not say when job 17 ends" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--processes", "2")])
def test_training_leaves_before_the_limit_and_ends_in_the_same_bytes(
    tiny, trained, tmp_path, squeue, extra
):
    """A limit so short that the first step is the last of each try."""
    out = tmp_path / "s.pt"
    if extra:
        alone = tmp_path / "undisturbed.pt"
        subprocess.run(command(tiny, alone, *extra), check=True, env=os.environ)
    else:
        alone = trained
    squeue("echo 0:00")
    result = subprocess.run(command(tiny, out, *extra), capture_output=True, text=True)
    assert result.returncode == 75
    assert "(time limit), all saved; the same command continues" in result.stderr
    assert not out.exists()
    squeue("echo UNLIMITED")
    subprocess.run(command(tiny, out, *extra), check=True)
    assert out.read_bytes() == alone.read_bytes()
