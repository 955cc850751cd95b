"""The estimate of a run's time."""

import pytest

from cyborgs.progress.jobs import Jobs, Left, State, time_left
from cyborgs.progress.words import about, clock, left
from tests.progress.runs_shown import NOW, job, live


def trained(number, seconds=100.0):
    return job("pretrain", State.DONE, seconds, None, round=f"{number:02d}")


def test_nothing_is_said_before_there_is_something_to_base_it_on():
    assert time_left(Jobs("r", [job("pretrain", round="01")]), NOW) is None
    begun = job("pretrain", State.RUNNING, None, 990.0, live("starting", 0, 0), round="01")
    assert time_left(Jobs("r", [begun]), NOW) is None
    assert time_left(Jobs("r", [trained(1)]), NOW) is None


def test_jobs_to_come_take_as_long_as_those_before_them():
    jobs = [trained(1, 100.0), trained(2, 200.0), *(job("pretrain", round=n) for n in ("03", "04"))]
    assert time_left(Jobs("r", jobs), NOW) == Left(300.0, True)


def test_a_job_under_way_counts_by_what_it_says_of_itself():
    running = job("pretrain", State.RUNNING, None, 950.0, live("pretrain", 40, 100), round="02")
    # 40 steps in 40 s: 60 s for the rest; with its start 110 s in all, which the next will take.
    jobs = [running, job("pretrain", round="03")]
    assert time_left(Jobs("r", jobs), NOW) == Left(60.0 + 110.0, True)


def test_a_job_that_says_nothing_takes_what_others_took():
    running = job("pretrain", State.RUNNING, None, 970.0, round="02")
    assert time_left(Jobs("r", [trained(1), running]), NOW) == Left(70.0, True)
    running.began = 500.0
    assert time_left(Jobs("r", [trained(1), running]), NOW) == Left(0.0, True)


def test_jobs_at_a_time_share_the_time():
    """Two at a time until now, so two at a time from now on."""
    done = [
        job("bootstrap", State.DONE, 50.0, began, round="01", shard="0000")
        for began in (900.0, 900.0, 950.0, 950.0)
    ]
    todo = [job("bootstrap", round="01", shard="0001") for _ in range(4)]
    assert time_left(Jobs("r", done + todo, began=900.0), NOW) == Left(100.0, True)


def test_rounds_wait_for_each_other_whatever_else_ran_at_a_time():
    done = [trained(1), *(job("bootstrap", State.DONE, 100.0, 900.0, shard="0") for _ in range(4))]
    todo = [job("pretrain", round="02"), job("pretrain", round="03")]
    assert time_left(Jobs("r", done + todo, began=900.0), NOW).seconds == 200.0


def test_kinds_of_jobs_that_were_not_seen_yet_make_it_a_lower_bound():
    jobs = [trained(1), job("pretrain", round="02"), job("export")]
    estimate = time_left(Jobs("r", jobs), NOW)
    assert estimate == Left(100.0, False)
    assert left(estimate) == "at least 2 min left"
    assert left(time_left(Jobs("r", jobs[:2]), NOW)) == "about 2 min left"


@pytest.mark.parametrize(
    ("seconds", "taken", "estimated"),
    [(0, "0:00", "1 s"), (41.4, "0:41", "41 s"), (725, "12:05", "12 min"),
     (10_927, "3:02:07", "3 h"), (12_000, "3:20:00", "3 h 20 min"),
     (187_200, "52:00:00", "2 d 4 h")],
)  # fmt: skip
def test_times_as_words(seconds, taken, estimated):
    assert clock(seconds) == taken
    assert about(seconds) == estimated
