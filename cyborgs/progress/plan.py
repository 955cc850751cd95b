"""The jobs of a workflow as it begins, handed on to who shows the run, here and elsewhere."""

import json
import logging
import os
import shlex
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.progress.jobs import Job, State
from cyborgs.progress.names import TARGETS, name_of


@dataclass(frozen=True)
class PlannedJob:
    """A job as Snakemake has it.

    Attributes:
        number: Snakemake's of the job.
        rule, wildcards: what it is.
        outputs, log, cost: its files, as paths from where the workflow runs; "" for none.
        needed: whether it has to run; else its files are there and up to date.
    """

    number: int
    rule: str
    wildcards: dict[str, str]
    outputs: list[str]
    log: str
    cost: str
    needed: bool

    def job(self) -> Job:
        """The job before it runs, or as it was left by an earlier Snakemake."""
        job = Job(
            rule=self.rule,
            name=name_of(self.rule, self.wildcards, self.outputs),
            outputs=[Path(path) for path in self.outputs],
            log=Path(self.log) if self.log else None,
            cost=Path(self.cost) if self.cost else None,
            state=State.WAITING if self.needed else State.DONE,
        )
        if not self.needed:
            job.read_cost()
        return job


@dataclass(frozen=True)
class Plan:
    """The jobs of a workflow, and which Snakemake runs them.

    Attributes:
        folder: of the run, from where the workflow runs.
        where: the folder in which the workflow runs.
        command: by which it was started.
        host, process, created: of that Snakemake: its process id, and when the process began.
        at: when this was written, in seconds since 1970.
        jobs: all of them.
    """

    folder: str
    where: str
    command: str
    host: str
    process: int
    created: float
    at: float
    jobs: list[PlannedJob]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What the last Snakemake wrote in a run's folder; None where none did.

        Raises `InputError` where it is damaged.
        """
        path = plan_path(folder)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            jobs = [PlannedJob(**job) for job in content.pop("jobs")]
            return cls(**content, jobs=jobs)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{path} is damaged; delete it (no result needs it, and the next start writes it)"
            ) from None


def plan_path(folder: Path) -> Path:
    """The file of a run's plan; beside the logs, and as dispensable."""
    return folder / "logs/plan.json"


def announce(logger: logging.Logger, dag: Any, folder: Path) -> None:
    """Tell who shows the run which jobs it has, and leave that in its folder for others.

    To be called when a workflow starts.

    Args:
        logger: Snakemake's.
        dag: Snakemake's jobs.
        folder: of the run.
    """
    process = psutil.Process()
    plan = Plan(
        folder=str(folder),
        where=os.getcwd(),
        # `python -m snakemake` is its `__main__.py`; who started that is no matter.
        command=shlex.join(["snakemake", *sys.argv[1:]]),
        host=socket.gethostname(),
        process=process.pid,
        created=process.create_time(),
        at=time.time(),
        jobs=_planned(dag),
    )
    # Not of downloads alone, which make nothing in there.
    if any(Path(path).is_relative_to(folder) for job in plan.jobs for path in job.outputs):
        # Nothing needs it: a full disk is told by the jobs.
        with suppress(InputError, OSError), atomic_write(plan_path(folder)) as temporary:
            temporary.write_text(json.dumps(asdict(plan)), encoding="utf-8")
    logger.info(f"Run: {folder} (`cyborgs status {folder}`)", extra={"plan": plan})


def _planned(dag: Any) -> list[PlannedJob]:
    needed = {id(job) for job in dag.needrun_jobs()}
    jobs = []
    for job in dag.jobs:
        if job.rule.name in TARGETS:
            continue
        jobs.append(
            PlannedJob(
                number=dag.jobid(job),
                rule=job.rule.name,
                wildcards={k: str(v) for k, v in job.wildcards_dict.items()},
                outputs=[str(path) for path in job.output],
                log=str(job.log[0]) if job.log else "",
                cost="" if job.benchmark is None else str(job.benchmark),
                needed=id(job) in needed,
            )
        )
    return sorted(jobs, key=lambda job: job.number)
