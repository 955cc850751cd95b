"""Which job gets which GPU, with a driver that is made up."""

import os
import select
import subprocess
import sys
import time

import pytest

from cyborgs.runtime.gpus import claimed

# Claims GPUs, says which, and holds them until its input ends.
HOLD = """
import os, sys
from cyborgs.runtime.gpus import claimed
with claimed("cuda", int(sys.argv[1])):
    print(os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def three_gpus(tmp_path, monkeypatch):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\nprintf 'GPU-a\\nGPU-b\\nGPU-c\\n'\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def hold():
    """Start a process that holds so many GPUs."""
    processes = []

    def start(count):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_each_job_has_its_own(three_gpus, hold):
    assert hold(2).stdout.readline().strip() == "GPU-a,GPU-b"
    assert hold(1).stdout.readline().strip() == "GPU-c"


def test_waits_until_enough_are_free_and_takes_those_of_a_killed_job(three_gpus, hold):
    first = hold(2)
    assert first.stdout.readline().strip() == "GPU-a,GPU-b"
    second = hold(2)
    assert "waiting for 2 of 3" in second.stderr.readline()
    # What it could not use, it does not keep.
    third = hold(1)
    assert third.stdout.readline().strip() == "GPU-c"
    first.kill()
    assert second.stdout.readline().strip() == "GPU-a,GPU-b"


def test_two_that_want_all_follow_one_another(three_gpus, hold):
    jobs = [hold(3), hold(3)]
    deadline = time.monotonic() + 600
    while jobs:
        done = [job for job in jobs if select.select([job.stdout], [], [], 0)[0]]
        assert len(done) <= 1
        for job in done:
            shown, _ = job.communicate()
            assert shown.strip() == "GPU-a,GPU-b,GPU-c"
            jobs.remove(job)
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(("device", "count"), [("cpu", 1), ("cuda", 4)])
def test_claims_nothing_for_the_cpu_or_where_there_are_too_few(three_gpus, device, count):
    with claimed(device, count):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize("name", ["RANK", "SLURM_JOB_ID"])
def test_processes_of_torchrun_and_of_slurm_have_theirs(three_gpus, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with claimed("cuda", 1):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_choice_of_the_user_stands(three_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with claimed("cuda", 1):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"


def test_lets_go_at_the_end(three_gpus):
    for _ in range(2):
        with claimed("auto", 3):
            assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b,GPU-c"
        assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_works_without_a_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with claimed("auto", 1):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
