"""What a dry run would do, as a list that fits a screen."""

import math
from collections.abc import Sequence

from cyborgs.progress.jobs import Job
from cyborgs.progress.tree import Style, cut, joined

# How a reason of Snakemake's begins, and what it comes to; the more telling first.
_REASONS = (
    ("Forced execution", "forced"),
    ("Params have changed", "settings changed"),
    ("Code has changed", "its command changed"),
    ("Set of input files has changed", "other inputs"),
    ("Software environment", "software changed"),
    ("Incomplete output", "was interrupted"),
    ("Updated input files", "its input changed"),
    ("Missing output", "not made yet"),
    ("Input files updated by another job", "its input is remade"),
)

# Those of jobs whose files are there, and not older than their inputs.
CHANGES = frozenset({"settings changed", "its command changed", "other inputs", "software changed"})


def reason_of(told: str) -> str:
    """Why a job would run, in a few words."""
    for begin, short in _REASONS:
        if begin.lower() in told.lower():
            return short
    return told.partition(":")[0].strip().lower() or "asked for"


def listed(jobs: Sequence[tuple[Job, str]], style: Style) -> list[str]:
    """The jobs of a dry run: what they do, how many there are, and why.

    Args:
        jobs: each with its reason, in the words of `reason_of`.
        style: of the terminal.
    """
    merged: dict[tuple[str, str, str], list[str]] = {}
    for job, reason in sorted(jobs, key=lambda pair: _order(pair[0])):
        # Rounds of which the same is done for the same reason share a line.
        part = "rounds" if job.name.group.startswith("round ") else job.name.group
        merged.setdefault((part, job.name.kind, reason), []).append(job.name.group)
    rows = []
    for (part, kind, reason), groups in merged.items():
        name = kind if part == "end" else f"{joined(list(dict.fromkeys(groups)), style)}: {kind}"
        rows.append((len(groups), name, reason))
    width = max(len(name) for _, name, _ in rows)
    lines = [f"{count:5}  {name.ljust(width)}  {reason}" for count, name, reason in rows]
    total = f"{len(jobs):5}  jobs would run"
    return [cut(line, style) for line in [*lines, total]]


def _order(job: Job) -> tuple[float, int, float]:
    """Rounds by what is done in them, and then by their numbers."""
    group, kind = job.name.order
    return (math.ceil(group) - 0.5 if group % 1 else group), kind, group
