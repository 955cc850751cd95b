"""Follows a workflow by what Snakemake logs, and shows how far it is."""

import logging
import re
import time
from collections.abc import Callable, Collection
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

from cyborgs.common.live import Live
from cyborgs.progress import words
from cyborgs.progress.dry_run import CHANGES, listed, reason_of
from cyborgs.progress.jobs import Job, Jobs, State, time_left
from cyborgs.progress.last_words import last_words
from cyborgs.progress.names import TARGETS, name_of
from cyborgs.progress.plan import Plan
from cyborgs.progress.screen import Screen
from cyborgs.progress.tree import draw

# Lines of a failed job's log that are shown.
_LAST = 12
# Seconds between two lines of a job that goes on, where there is no terminal.
_EVERY = 300.0
# Seconds between two drawings of the tree, at least.
_DRAW = 0.1
# Jobs whose files are read a second, so that hundreds on a network file system do no harm.
_READ = 20

# What Snakemake tells of itself, and what is told otherwise here.
_UNSAID = re.compile(
    r"Building DAG of jobs|Assuming unrestricted shared|host: |Using shell: |Provided (cores|remote"
    r" nodes|resources)|Rules claiming more|Conda environments: ignored|Singularity containers: ig|"
    r"Group jobs: inactive|Select jobs to execute|Execute \d+ jobs|Job rate limit"
    r"|Run: |Using (workflow specific )?profile|None$|Reasons:|Elapsed time: |"
    r"Exiting because a job|Some jobs were triggered by provenance|$"
)
_NOT_ALL_DONE = "At least one job did not complete successfully."
_AGAIN = re.compile(r"Trying to restart job (\d+)")
_SUBMITTED = re.compile(r"Job (\d+) has been submitted with SLURM jobid (\S+)")


class Follower:
    """Takes Snakemake's records, and shows what they come to.

    Args:
        screen: where.
        dryrun: nothing runs: the jobs are listed.
        quiet: what Snakemake was asked not to tell: "all", "rules", "progress" ….
        now: the time, in seconds since 1970.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        dryrun: bool = False,
        quiet: Collection[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._screen = screen
        self._dryrun = dryrun
        self._silent = "all" in quiet
        self._no_jobs = self._silent or "rules" in quiet
        self._no_tree = self._silent or "progress" in quiet
        self._now = now
        self.run = Jobs("workflow")
        self._jobs: dict[int, Job] = {}
        self._listed: list[tuple[Job, str]] = []
        self._told: dict[int, float] = {}  # when a line was last written of a job
        self._looked = self._drawn = 0.0
        self._held = ""
        self._at_work = False

    # Records --------------------------------------------------------------------------------

    def take(self, record: logging.LogRecord) -> None:
        """Take a record of Snakemake's logger."""
        plan = getattr(record, "plan", None)
        event = getattr(record, "event", None)
        if isinstance(plan, Plan):
            self._begin(plan)
        elif event is LogEvent.RUN_INFO:
            self._expect(record)
        elif event is LogEvent.JOB_INFO:
            self._job_begins(record)
        elif event is LogEvent.JOB_FINISHED:
            self._job_ends(record.job_id)  # type: ignore[attr-defined]
        elif event is LogEvent.JOB_ERROR:
            self._job_fails(record)
        elif event is LogEvent.ERROR:
            self._error(record)
        elif event is None or record.levelno >= logging.WARNING:
            self._message(record)
        # Records of thousands of jobs may come at once.
        if self._now() - self._drawn >= _DRAW:
            self.draw()

    def _begin(self, plan: Plan) -> None:
        self.run = Jobs(plan.folder, began=plan.at)
        self._jobs = {planned.number: planned.job() for planned in plan.jobs}
        self.run.jobs = list(self._jobs.values())
        self._at_work = True
        todo = self.run.count(State.WAITING)
        before = self.run.count(State.DONE)
        done = f", {before} done before" if before else ""
        if not self._screen.live and not self._no_jobs:
            self._say([f"{plan.folder}: {todo} jobs to run{done}"])

    def _expect(self, record: logging.LogRecord) -> None:
        """Without a plan, the jobs to come are known by their number."""
        counts = dict(getattr(record, "stats", {}))
        counts.pop("total", None)
        counts = {rule: n for rule, n in counts.items() if rule not in TARGETS}
        if not self._dryrun and self.run.began is None:
            self.run.began = self._now()
            self.run.unknown = sum(counts.values())

    def _job_begins(self, record: logging.LogRecord) -> None:
        rule, number = record.rule_name, record.jobid  # type: ignore[attr-defined]
        if rule in TARGETS:
            return
        job = self._jobs.get(number)
        if job is None:
            outputs = list(record.output)  # type: ignore[attr-defined]
            logs = list(record.log)  # type: ignore[attr-defined]
            benchmark = record.benchmark  # type: ignore[attr-defined]
            job = Job(
                rule=rule,
                name=name_of(rule, dict(record.wildcards), outputs),  # type: ignore[attr-defined]
                outputs=[Path(path) for path in outputs],
                log=Path(logs[0]) if logs else None,
                cost=Path(benchmark) if benchmark else None,
            )
            self._jobs[number] = job
            self.run.jobs.append(job)
            self.run.unknown = max(0, self.run.unknown - 1)
        if self._dryrun:
            self._listed.append((job, reason_of(record.reason or "")))  # type: ignore[attr-defined]
            return
        self._at_work = True
        job.state = State.RUNNING
        job.began = self._now()
        job.live, job.note = None, ""
        self._told[number] = job.began
        if not self._screen.live and not self._no_jobs:
            log = f" (log: {job.log})" if job.log else ""
            self._say([self._stamped(f"{job.name}: begins{log}")])

    def _job_ends(self, number: int) -> None:
        job = self._jobs.get(number)
        if job is None:
            return
        if job.began is not None:
            job.seconds = self._now() - job.began
        # Without the time in a queue.
        job.read_cost()
        job.state, job.note = State.DONE, ""
        if self._no_jobs:
            return
        last = dict(job.live.metrics) if job.live is not None else {}
        metrics = words.metrics({k: last[k] for k in ("loss", "images_per_second") if k in last})
        told = [words.clock(job.seconds)] if job.seconds is not None else []
        style = self._screen.style()
        text = style.dot.join([*told, *metrics])
        if self._screen.live:
            self._say([f"{style.paint(style.mark(State.DONE), State.DONE)} {job.name}  {text}"])
        else:
            self._say([self._stamped(f"{job.name}: done  {text}")])

    def _job_fails(self, record: logging.LogRecord) -> None:
        number = record.jobid  # type: ignore[attr-defined]
        job = self._jobs.get(number)
        self._held = ""
        logs = [Path(path) for path in getattr(record, "log", None) or []]
        name = str(job.name) if job is not None else record.rule_name  # type: ignore[attr-defined]
        after = ""
        if job is not None:
            job.state = State.FAILED
            if job.began is not None:
                after = f" after {words.clock(self._now() - job.began)}"
        if self._silent:
            return
        style = self._screen.style()
        place = f" ({job.note})" if job is not None and job.note else ""
        text = f"{style.mark(State.FAILED)} {name}: failed{after}{place}"
        lines = [style.paint(text, State.FAILED) if self._screen.live else self._stamped(text)]
        for log in logs:
            lines += [f"    {line}" for line in last_words(log, _LAST)]
        lines += [f"    log: {log}" for log in logs]
        self._say(lines)

    def _error(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "CalledProcessError" in text:
            # A job's exit status, before its own words are told.
            self._held = text
            return
        self._release()
        if not (_NOT_ALL_DONE in text and self.run.count(State.FAILED)):
            self._say_coloured(text, State.FAILED)

    def _release(self) -> None:
        """Tell an exit status after which no job was told to have failed."""
        held, self._held = self._held, ""
        self._say_coloured(held, State.FAILED)

    def _message(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        submitted = _SUBMITTED.match(text)
        if submitted and (job := self._jobs.get(int(submitted[1]))):
            job.note = f"SLURM job {submitted[2]}"
            if not self._screen.live and not self._no_jobs:
                self._say([self._stamped(f"{job.name}: {job.note}")])
        elif (again := _AGAIN.match(text)) and (job := self._jobs.get(int(again[1]))):
            job.state = State.WAITING
            if not self._no_jobs:
                self._say([self._stamped(f"{job.name}: is tried again")])
        elif text.startswith("This was a dry-run"):
            self._end_dry_run()
        elif text.startswith("Complete log"):
            self._end(text)
        elif not _UNSAID.match(text):
            troubles = ((logging.ERROR, State.FAILED), (logging.WARNING, State.RUNNING))
            state = next((state for level, state in troubles if record.levelno >= level), None)
            self._say_coloured(text, state)

    # Ends -----------------------------------------------------------------------------------

    def _end_dry_run(self) -> None:
        if self._listed:
            self._say(listed(self._listed, self._screen.style()))
            hints = [
                "--logger-cyborgs-show snakemake lists each job with its files and the reason."
            ]
            if CHANGES & {reason for _, reason in self._listed}:
                hints.append("--rerun-triggers mtime skips jobs of which only settings changed.")
            self._say(["This was a dry run.", *hints])

    def _end(self, where: str) -> None:
        self._at_work = False
        self._screen.clear()
        self._release()
        if self._no_jobs or self.run.began is None:
            return
        failed, done = self.run.count(State.FAILED), self.run.count(State.DONE)
        state = State.DONE if done == self.run.total else State.FAILED
        said = [f"{done} of {self.run.total} jobs done"]
        said += [f"{failed} failed"] if failed else []
        said.append(words.clock(self._now() - self.run.began))
        style = self._screen.style()
        mark = style.paint(style.mark(state), state)
        self._say([f"{mark} {self.run.title}  {style.dot.join(said)}"])
        self._say([f"  each job's command: {where.partition(': ')[2]}"])

    def close(self) -> None:
        """Take the tree away; call it at the end."""
        self._at_work = False
        self._screen.clear()
        self._release()

    # What goes on ---------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at what jobs do; to be called every second or so."""
        if not self._at_work:
            return
        running = {n: job for n, job in self._jobs.items() if job.state is State.RUNNING}
        now = self._now()
        if now - self._looked >= max(1.0, len(running) / _READ):
            self._looked = now
            for job in running.values():
                if job.log is not None:
                    job.live = self._read(job) or job.live
        if self._screen.live:
            self.draw()
        elif not self._no_jobs:
            for number, job in running.items():
                if now - self._told[number] >= _EVERY:
                    self._told[number] = now
                    self._say([self._stamped(self._goes_on(job))])

    def _read(self, job: Job) -> Live | None:
        assert job.log is not None
        live = Live.read(job.log)
        # One that was left by a process that was killed before this job began is another's.
        if live is None or job.began is None or live.at < job.began - 1:
            return None
        return live

    def _goes_on(self, job: Job) -> str:
        now = self._now()
        phrases = []
        if job.live is not None:
            live = job.live
            if live.total:
                phrases.append(f"{live.done}/{live.total} {live.unit}")
            phrases += words.metrics(live.metrics)
            if (left := live.seconds_left(now)) is not None:
                phrases.append(f"{words.about(left)} left")
        elif job.began is not None:
            phrases.append(f"{words.clock(now - job.began)} so far")
        phrases += [job.note] if job.note else []
        whole = words.left(time_left(self.run, now))
        phrases += [f"run: {whole}"] if whole else []
        return f"{job.name}: {', '.join(phrases)}"

    def draw(self) -> None:
        """Draw the tree anew."""
        if self._at_work and not self._no_tree and self._screen.live:
            self._drawn = self._now()
            self._screen.show(draw(self.run, self._screen.style(), self._drawn))

    # Words ----------------------------------------------------------------------------------

    def _say(self, lines: list[str]) -> None:
        self._screen.say(lines)

    def _say_coloured(self, text: str, state: State | None) -> None:
        if self._silent or not text:
            return
        style = self._screen.style()
        lines = text.split("\n")
        self._say(lines if state is None else [style.paint(line, state) for line in lines])

    def _stamped(self, text: str) -> str:
        return f"{time.strftime('%H:%M:%S', time.localtime(self._now()))} {text}"
