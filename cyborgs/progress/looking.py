"""Looks at a run's folder from outside: what is done, what is under way, and what became of it."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from cyborgs.common.errors import CONTINUES, InputError
from cyborgs.common.files import absence
from cyborgs.common.live import Live
from cyborgs.config import Config
from cyborgs.progress.alive import Alive, Process, at_work
from cyborgs.progress.jobs import Job, Jobs, State
from cyborgs.progress.last_words import last_lines
from cyborgs.progress.names import name_of
from cyborgs.progress.plan import Plan
from cyborgs.run.paths import Run

# Seconds by which clocks of a file server and of the machine may differ.
_CLOCKS = 5.0
# What the last words of a job that failed have in them: its own error, or Python's.
_TROUBLE = re.compile(r"\b(\w*[Ee]rror|Traceback|not found|Killed|interrupted)\b")
_LAST = 12


@dataclass
class Seen:
    """A run as it was found.

    Attributes:
        jobs: with their states.
        workflow: whether Snakemake is there; None where no plan says which.
        host: where Snakemake ran, or runs.
        locked: whether the folder that Snakemake ran in is locked.
        command: by which it was started, or "".
        failures: jobs that ended without their result, the last to end last.
        left: whether jobs were asked to leave, and have saved what they did.
        deleted: jobs that ended well, and whose files are not there any more.
    """

    jobs: Jobs
    workflow: Alive | None = None
    host: str = ""
    locked: bool = False
    command: str = ""
    failures: tuple[Job, ...] = ()
    left: bool = False
    deleted: tuple[Job, ...] = ()

    @property
    def running(self) -> int:
        """Jobs under way."""
        return self.jobs.count(State.RUNNING)

    @property
    def finished(self) -> bool:
        """Whether every job has ended well."""
        return self.jobs.count(State.DONE) + len(self.deleted) == self.jobs.total > 0


def look(folder: Path) -> Seen:
    """Look at a run.

    It is judged by the plan that its workflow left; where there is none (an earlier version ran
    it), by its configuration and the files of rounds.

    Raises:
        InputError: the folder does not exist, is no run's, or its plan is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"run: {folder} {absence(folder, 'folder')}")
    run = Run(folder)
    plan = Plan.read(folder)
    if plan is None and not run.config.exists():
        there = [path.name for path in (run.index, run.work, folder / "logs") if path.exists()]
        if not there:
            raise InputError(
                f"run: {folder} is not a run: it has neither logs/plan.json nor config.yaml; give "
                "results/<run>"
            )
        raise InputError(
            f"run: {folder} has {', '.join(there)}, but neither logs/plan.json nor config.yaml: "
            "start its workflow again; it continues from these files"
        )
    if plan is None:
        return Seen(Jobs(str(folder), _without_plan(run, run.read_config())))
    return _by_plan(folder, plan)


def _by_plan(folder: Path, plan: Plan) -> Seen:
    jobs = [planned.job() for planned in plan.jobs]
    for job in jobs:
        # The folder may have been moved, or be looked at from elsewhere.
        job.outputs = [_moved(path, folder, plan) for path in job.outputs]
        job.log = None if job.log is None else _moved(job.log, folder, plan)
        job.cost = None if job.cost is None else _moved(job.cost, folder, plan)
    now = time.time()
    ended: list[tuple[float, Job]] = []
    left = False
    deleted = []
    for planned, job in zip(plan.jobs, jobs, strict=True):
        made = _made(job)
        if not planned.needed:
            # Something may have been deleted since.
            job.state = State.WAITING if made is None else State.DONE
            if made is None:
                deleted.append(job)
            job.read_cost()
            continue
        live = Live.read(job.log) if job.log is not None else None
        if live is not None and live.at >= plan.at - _CLOCKS and at_work(live, now):
            job.state, job.live = State.RUNNING, live
            job.began = live.since if live.doing == "starting" else None
            job.note = f"SLURM job {live.slurm}" if live.slurm else ""
        elif made is not None and made >= plan.at - _CLOCKS:
            job.state = State.DONE
            job.read_cost()
        elif live is not None and live.at >= plan.at - _CLOCKS:
            job.state = State.FAILED
            job.note = "was killed: its process is gone"
            ended.append((live.at, job))
        elif (told := _changed(job.log)) is not None and told >= plan.at - _CLOCKS:
            assert job.log is not None
            last = last_lines(job.log, _LAST)
            if last and CONTINUES in last[-1]:
                left = True
                job.note = "saved and stopped; it will continue"
            elif any(_TROUBLE.search(line) for line in last):
                job.state = State.FAILED
                ended.append((told, job))
            elif now - told > _CLOCKS:
                deleted.append(job)
    where = Path(plan.where)
    locks = where / ".snakemake/locks"
    workflow = Process(plan.host, plan.process, plan.created).alive()
    return Seen(
        jobs=Jobs(str(folder), jobs, began=plan.at if workflow is Alive.YES else None),
        workflow=workflow,
        host=plan.host,
        locked=locks.is_dir() and any(locks.iterdir()),
        command=plan.command,
        failures=tuple(job for _, job in sorted(ended, key=lambda pair: pair[0])),
        left=left,
        deleted=tuple(deleted),
    )


def _without_plan(run: Run, config: Config) -> list[Job]:
    """Rounds and what comes of them, by their files alone."""
    jobs = [
        _found("index", {}, [run.index]),
        _found("seed_state", {}, [run.state(0)]),
    ]
    shards = range(config.shards)
    fixed = config.pretrain is not None and config.pretrain.fixed_masks
    for number in range(config.rounds + 1):
        wildcards = {"round": f"{number:02d}"}
        if number > 0:
            job = _found("pretrain", wildcards, [run.state(number)])
            job.cost = run.pretrain_cost(number)
            job.read_cost()
            jobs.append(job)
        # Masks of the last round are made on demand, and of fixed ones there are the seeds'.
        if number == 0 or (number < config.rounds and not fixed):
            rule = "bootstrap" if number else "seed_masks"
            jobs += [
                _found(
                    rule,
                    wildcards | {"shard": f"{shard:04d}"},
                    [run.shard(number, shard, config.shards)],
                )
                for shard in shards
            ]
    return [*jobs, _found("export", {}, [run.backbone]), _found("report", {}, [run.report])]


def _found(rule: str, wildcards: dict[str, str], outputs: list[Path]) -> Job:
    job = Job(rule, name_of(rule, wildcards, [str(path) for path in outputs]), outputs)
    job.state = State.WAITING if _made(job) is None else State.DONE
    return job


def _moved(path: Path, folder: Path, plan: Plan) -> Path:
    if path.is_relative_to(plan.folder):
        return folder / path.relative_to(plan.folder)
    return Path(plan.where) / path


def _made(job: Job) -> float | None:
    """When the last output was made; None where one is missing."""
    times = [_changed(path) for path in job.outputs]
    known = [moment for moment in times if moment is not None]
    return max(known) if known and len(known) == len(times) else None


def _changed(path: Path | None) -> float | None:
    try:
        return None if path is None else path.stat().st_mtime
    except OSError:
        return None
