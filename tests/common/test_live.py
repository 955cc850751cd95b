"""What a job says of itself while it runs."""

import json
import os
import subprocess
import sys
import time

import psutil

from cyborgs.common.live import ASKED, Live, live_path

JOB = """
import time
from cyborgs.common import live
from cyborgs.common.live import alive
from cyborgs.common.progress import track
live._INTERVAL = 0.0
with alive("starting"):
    input()
    for n in track(range(4), 4, "bootstrap", "groups", metrics=lambda: {"loss": 2.5}):
        input()
"""


def job(log, asked=True):
    environment = os.environ | ({ASKED: "1"} if asked else {})
    return subprocess.Popen(
        [sys.executable, "-c", JOB], stdin=subprocess.PIPE, stderr=open(log, "w"), env=environment
    )


def until(condition):
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_a_job_says_what_it_does_until_it_ends(tmp_path):
    log = tmp_path / "shard.log"
    process = job(log)
    first = until(lambda: Live.read(log))
    assert (first.doing, first.total, first.share) == ("starting", 0, None)
    assert first.process == process.pid
    assert abs(first.created - psutil.Process(process.pid).create_time()) < 1
    for done in range(3):
        process.stdin.write(b"\n")
        process.stdin.flush()
        told = until(
            lambda d=done: (x := Live.read(log)) and x.doing != "starting" and x.done == d and x
        )
        assert (told.doing, told.unit, told.total) == ("bootstrap", "groups", 4)
        assert told.share == done / 4
        assert dict(told.metrics) == ({"loss": 2.5} if done else {})
    process.communicate(b"\n\n")
    assert process.returncode == 0
    assert os.listdir(tmp_path) == ["shard.log"]


def test_a_killed_job_leaves_its_word(tmp_path):
    log = tmp_path / "shard.log"
    process = job(log)
    until(lambda: Live.read(log))
    process.kill()
    process.wait()
    assert Live.read(log).process == process.pid


def test_a_command_by_hand_leaves_nothing(tmp_path):
    process = job(tmp_path / "log", asked=False)
    process.communicate(b"\n" * 5)
    assert process.returncode == 0
    assert os.listdir(tmp_path) == ["log"]


def test_a_job_does_not_fail_where_its_word_cannot_be_written(tmp_path):
    log = tmp_path / "logs/log"
    log.parent.mkdir()
    # In place of the file, a folder that cannot be replaced.
    (live_path(log) / "x").mkdir(parents=True)
    process = job(log)
    process.communicate(b"\n" * 5)
    assert "bootstrap: 4 groups" in log.read_text()


def test_time_left_is_that_of_the_rest_at_the_same_pace():
    live = Live("x", "steps", 10, 40, since=100.0, at=120.0, host="h", process=1, created=0.0)
    assert live.seconds_left(120.0) == 60
    assert live.seconds_left(130.0) == 50
    assert live.seconds_left(500.0) == 0
    assert Live("x", "", 0, 40, 0.0, 0.0, "h", 1, 0.0).seconds_left(1.0) is None
    assert Live("x", "", 5, 0, 0.0, 0.0, "h", 1, 0.0).seconds_left(1.0) is None


def test_what_is_no_word_of_a_job_is_none(tmp_path):
    log = tmp_path / "log"
    assert Live.read(log) is None
    for content in ("", "{", "[]", "null", json.dumps({"doing": "x"})):
        live_path(log).write_text(content)
        assert Live.read(log) is None
