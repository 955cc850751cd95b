"""``cyborgs status``: how far a run is, what it does, what became of it, and what to do next."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from cyborgs.progress.alive import Alive
from cyborgs.progress.jobs import State
from cyborgs.progress.last_words import last_words
from cyborgs.progress.looking import Seen, look
from cyborgs.progress.screen import Screen
from cyborgs.progress.tree import Style, cut, draw

# Lines of the last failure's log that are shown.
_LAST = 12
# Rows where lines may scroll.
_SCROLLED = 1000
# Seconds between two looks of `--watch`.
_LOOK = 2.0


def run(
    folder: Path, stream: TextIO, watch: bool = False, environment: Mapping[str, str] = os.environ
) -> None:
    """Say how far a run is.

    Args:
        folder: of the run.
        stream: where to; a terminal is given colours, unless ``NO_COLOR`` is set.
        watch: look again every two seconds, until nothing is at work any more.
        environment: the variables.

    Raises:
        InputError: the folder is no run's.
    """
    screen = Screen(stream, environment)
    while True:
        seen = look(folder)
        style, now = screen.style(), time.time()
        if not watch or not (seen.running or seen.workflow is Alive.YES):
            screen.say(lines_of(seen, folder, replace(style, rows=_SCROLLED), now))
            return
        if screen.live:
            screen.show(lines_of(seen, folder, style, now))
        else:
            screen.say([*lines_of(seen, folder, style, now), ""])
        time.sleep(_LOOK)


def lines_of(seen: Seen, folder: Path, style: Style, now: float) -> list[str]:
    """What there is to say of a run: its tree, in the rows that the rest leaves, and the rest."""
    rest = [""]
    for job in seen.failures[-1:]:
        rest.append(style.paint(f"{job.name}: {job.note or 'failed'}", State.FAILED))
        if job.log is not None:
            rest += [cut(f"    {line}", style) for line in last_words(job.log, _LAST)]
            rest.append(f"    log: {job.log}")
    rest += _verdict(seen, folder)
    rows = max(3, style.rows - len(rest))
    return [*draw(seen.jobs, replace(style, rows=rows), now, apart=True), *rest]


def _verdict(seen: Seen, folder: Path) -> list[str]:
    """Whether anything is at work, and what to do next."""
    command = [f"    {seen.command}"] if seen.command else []
    under_way = f"{seen.running} of its jobs {'is' if seen.running == 1 else 'are'} running"
    if seen.finished:
        pages = {"report": "report.html", "summary": "experiment.html"}
        page = next((pages[job.rule] for job in seen.jobs.jobs if job.rule in pages), None)
        # The last start may have been told to make some files alone.
        shown = "The last request is done." if page is None else f"See {folder / page}."
        lines = [f"Finished. {shown}"]
        gone = [path for job in seen.deleted for path in job.outputs if not path.exists()]
        if gone:
            lines.append(f"Deleted since: {gone[0]}. To make a file again: `snakemake FILE`")
        return lines
    if seen.workflow is Alive.YES:
        return ["Running."]
    if seen.workflow is Alive.UNKNOWN and seen.locked and not seen.failures:
        told = under_way if seen.running else "no job reports that it is running"
        return [f"Started on {seen.host}, where its Snakemake may still run; {told}."]
    if seen.workflow is None:
        return ["Not finished. Start it again: it continues from the files that exist."]
    unlock = "run `snakemake --unlock`, then " if seen.locked else ""
    if seen.running:
        return [
            f"Its Snakemake is gone, but {under_way}.",
            f"To continue, {unlock}start it again; it waits for the running jobs and keeps their "
            "results:",
            *command,
        ]
    if any(not job.note for job in seen.failures):
        return [f"Stopped. Fix the error, then {unlock}start it again:", *command]
    how = " (on request; everything is saved)" if seen.left else ""
    return [f"Stopped{how}. To continue, {unlock}start it again:", *command]
