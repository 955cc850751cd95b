"""A run as its jobs and their states."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from statistics import mean

from cyborgs.common.live import Live
from cyborgs.progress.names import Name


class State(Enum):
    """Of a job."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Job:
    """A job of a run.

    Attributes:
        rule: of the workflow.
        name: as people call it.
        outputs: files that it makes.
        log: what it says, or None.
        cost: what Snakemake notes of it when it is done, or None.
        state: where it stands.
        began: when it began, in seconds since 1970; None where that is not known.
        seconds: that it took, where it is done and that is known.
        live: what it does now, or did last.
        note: a word on its state: where it runs, or why it ended.
    """

    rule: str
    name: Name
    outputs: list[Path] = field(default_factory=list)
    log: Path | None = None
    cost: Path | None = None
    state: State = State.WAITING
    began: float | None = None
    seconds: float | None = None
    live: Live | None = None
    note: str = ""

    def read_cost(self) -> None:
        """Take the seconds from what Snakemake noted, where that is there."""
        try:
            head, row = self.cost.read_text().splitlines()[:2] if self.cost else ("", "")
            self.seconds = float(dict(zip(head.split("\t"), row.split("\t"), strict=False))["s"])
        except (OSError, ValueError, KeyError):
            return


@dataclass
class Jobs:
    """All jobs of a run.

    Attributes:
        title: what the run is called: its folder.
        jobs: those that are done too; without rules that are names for several files.
        began: when Snakemake began, in seconds since 1970, or None.
        unknown: jobs that are to come, and of which no more is known than that.
    """

    title: str
    jobs: list[Job] = field(default_factory=list)
    began: float | None = None
    unknown: int = 0

    def count(self, state: State) -> int:
        """Jobs of a state."""
        return sum(job.state == state for job in self.jobs)

    @property
    def total(self) -> int:
        """Of jobs."""
        return len(self.jobs) + self.unknown


@dataclass(frozen=True)
class Left:
    """An estimate of the time that a run still takes.

    Attributes:
        seconds: that are left.
        whole: whether every job to come is like one that was seen; else there is more to it.
    """

    seconds: float
    whole: bool


def seconds_left(job: Job, usual: float | None, now: float) -> float | None:
    """Of a job that runs: by what it tells of itself, else by what such jobs take usually."""
    if job.live is not None and (left := job.live.seconds_left(now)) is not None:
        return left
    if usual is None or job.began is None:
        return None
    return max(0.0, usual - (now - job.began))


def time_left(run: Jobs, now: float) -> Left | None:
    """The time that a run still takes, if the jobs to come take as long as those before them.

    Jobs at a time are as many as until now.  None where nothing is known: no job of a rule that is
    still to come has ended, or is far enough to tell.
    """
    todo = [job for job in run.jobs if job.state in (State.RUNNING, State.WAITING)]
    if not todo:
        return None
    usual = {rule: _usual([j for j in run.jobs if j.rule == rule], now) for rule in _rules(todo)}
    work: dict[str, float] = dict.fromkeys(usual, 0.0)
    whole = run.unknown == 0
    known = False
    for job in todo:
        if job.state is State.RUNNING:
            left = seconds_left(job, usual[job.rule], now)
        else:
            left = usual[job.rule]
        if left is None:
            whole = False
        else:
            known = True
            work[job.rule] += left
    if not known:
        return None
    # Rounds wait for each other.
    return Left(max(sum(work.values()) / _at_a_time(run, now), work.get("pretrain", 0.0)), whole)


def _rules(jobs: Iterable[Job]) -> set[str]:
    return {job.rule for job in jobs}


def _usual(jobs: Iterable[Job], now: float) -> float | None:
    """Seconds that jobs of a rule take."""
    took = []
    for job in jobs:
        if job.state is State.DONE and job.seconds is not None:
            took.append(job.seconds)
    if took:
        return mean(took)
    for job in jobs:
        # What one that runs comes to.
        if job.state is State.RUNNING and job.began is not None:
            left = seconds_left(job, None, now)
            if left is not None:
                took.append(now - job.began + left)
    return mean(took) if took else None


def _at_a_time(run: Jobs, now: float) -> float:
    """Jobs that ran at a time until now, on average; at least one."""
    if run.began is None or now <= run.began:
        return 1.0
    busy = 0.0
    for job in run.jobs:
        if job.began is None or job.began < run.began:
            continue
        if job.state is State.RUNNING:
            busy += now - job.began
        elif job.state is State.DONE and job.seconds is not None:
            busy += job.seconds
    return max(1.0, busy / (now - run.began))
