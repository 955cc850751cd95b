"""The tree of a run as lines of text: rounds, what they consist of, and the jobs under way."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from cyborgs.progress import words
from cyborgs.progress.jobs import Job, Jobs, State, seconds_left, time_left

# Columns of a bar, and of a terminal that has room for one.
_BAR = 16
_ROOM = 72


@dataclass(frozen=True)
class Style:
    """What a terminal can show.

    Attributes:
        columns: of it.
        rows: lines that the tree may take.
        colour: whether it takes colours.
        symbols: whether it takes more than ASCII.
    """

    columns: int = 80
    rows: int = 1000
    colour: bool = False
    symbols: bool = True

    def mark(self, state: State) -> str:
        """A character for a state."""
        return (_SYMBOLS if self.symbols else _ASCII)[state]

    def paint(self, text: str, state: State) -> str:
        """A text in the colour of a state."""
        code = _COLOURS[state]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    @property
    def dot(self) -> str:
        """Between phrases."""
        return " · " if self.symbols else ", "


_SYMBOLS = {State.WAITING: "·", State.RUNNING: "▸", State.DONE: "✓", State.FAILED: "✗"}
_ASCII = {State.WAITING: ".", State.RUNNING: ">", State.DONE: "+", State.FAILED: "x"}
_COLOURS = {State.WAITING: "2", State.RUNNING: "36", State.DONE: "32", State.FAILED: "31"}


@dataclass(frozen=True)
class Line:
    """A line of the tree.

    Attributes:
        state: its colour.
        depth: 0 for parts of the run, 1 for what they consist of, 2 for its metrics.
        head: its name.
        phrases: what is said of it.
        wraps: whether phrases that do not fit begin lines of their own, or are left out.
    """

    state: State
    depth: int
    head: str
    phrases: tuple[str, ...] = ()
    wraps: bool = False


def draw(run: Jobs, style: Style, now: float, *, apart: bool = False) -> list[str]:
    """The run as lines that fit a terminal: none is wider than its columns.

    Where there are more lines than rows, parts that wait and parts that are done are left out.
    With ``apart``, rounds that are done have a line each.
    """
    head = wrapped([run.title, *_summary(run, now)], "", style)
    tree = _tree(run, now, style, apart)
    width = max([len(line.head) + 2 * line.depth for line in tree if line.depth < 2], default=0)
    blocks = [(line.state, _texts(line, width, style)) for line in tree]
    while sum(len(texts) for _, texts in blocks) > style.rows - len(head):
        waiting = [n for n, (state, _) in enumerate(blocks) if state is State.WAITING]
        done = [n for n, (state, _) in enumerate(blocks) if state is State.DONE]
        if not waiting and not done:
            break
        del blocks[waiting[-1] if waiting else done[0]]
    lines = head + [text for _, texts in blocks for text in texts]
    if style.colour:
        lines[0] = lines[0].replace(run.title, f"\x1b[1m{run.title}\x1b[0m", 1)
    return lines[: style.rows]


def _summary(run: Jobs, now: float) -> list[str]:
    phrases = [f"{run.count(State.DONE)} of {run.total} jobs done"]
    failed = run.count(State.FAILED)
    if failed:
        phrases.append(f"{failed} failed")
    if run.began is not None:
        phrases.append(words.clock(now - run.began))
    left = words.left(time_left(run, now))
    return [*phrases, left] if left else phrases


def _tree(run: Jobs, now: float, style: Style, apart: bool) -> list[Line]:
    lines: list[Line] = []
    jobs = sorted(run.jobs, key=lambda job: job.name.order)
    parts = [(name, list(part)) for name, part in groupby(jobs, key=lambda job: job.name.group)]
    # Rounds that only wait, or are done, share a line.
    for (state, _), same in groupby(parts, key=lambda part: _alike(part, apart)):
        together = list(same)
        name = joined([name for name, _ in together], style)
        if _untouched(together[0][1]):
            kinds = list(dict.fromkeys(job.name.kind for job in together[0][1]))
            lines.append(Line(state, 0, name, (", ".join(kinds),)))
        elif state is State.DONE:
            done = [job for _, part in together for job in part]
            lines.append(Line(state, 0, name, _kinds_took(done) if apart else _took(done)))
        else:
            lines.append(Line(state, 0, name))
            lines += _of_part(together[0][1], run, now, style)
    if run.unknown:
        lines.append(Line(State.WAITING, 0, "to come", (f"{run.unknown} jobs",)))
    return lines


def _alike(part: tuple[str, list[Job]], apart: bool) -> tuple[State, str]:
    name, jobs = part
    state = _state(jobs)
    several = name.startswith("round ") and (
        _untouched(jobs) or (state is State.DONE and not apart)
    )
    kinds = ", ".join(dict.fromkeys(job.name.kind for job in jobs))
    return state, (kinds if state is State.WAITING else "rounds") if several else name


def joined(names: Sequence[str], style: Style) -> str:
    """Names of rounds as one name ("rounds 1–3", "rounds 1, 3"); or the only name."""
    numbers = [int(match[1]) for name in names if (match := re.fullmatch(r"round (\d+)", name))]
    if len(numbers) < 2:
        return names[0]
    first, last = numbers[0], numbers[-1]
    if numbers == list(range(first, last + 1)):
        return f"rounds {first}{'–' if style.symbols else '-'}{last}"
    return f"rounds {', '.join(map(str, numbers))}"


def _state(jobs: Iterable[Job]) -> State:
    """Of several jobs together."""
    states = {job.state for job in jobs}
    for state in (State.FAILED, State.RUNNING):
        if state in states:
            return state
    return State.DONE if states == {State.DONE} else State.WAITING


def _untouched(jobs: Iterable[Job]) -> bool:
    return all(job.state is State.WAITING for job in jobs)


def _of_part(jobs: list[Job], run: Jobs, now: float, style: Style) -> Iterable[Line]:
    """The kinds of jobs of a part, a line each, with what the jobs under way do."""
    for kind, group in groupby(jobs, key=lambda job: job.name.kind):
        some = list(group)
        running = [job for job in some if job.state is State.RUNNING]
        failed = [job for job in some if job.state is State.FAILED]
        done = sum(job.state is State.DONE for job in some)
        state = _state(some)
        unit = " shards" if kind == "masks" else ""
        phrases = [f"{done} of {len(some)}{unit}"] if len(some) > 1 else []
        if state is State.DONE:
            yield Line(state, 1, kind, (*phrases, *_took(some)))
            continue
        if failed:
            phrases.append(failed[0].note or "failed")
        elif running:
            phrases += _of_jobs(running, now)
            phrases[:1] = [f"{_bar(some, done, running, style)}{phrases[0]}"]
        yield Line(state, 1, kind, tuple(phrases), wraps=state is not State.WAITING)
        for job in running[:1]:
            told = words.metrics(job.live.metrics) if job.live is not None else []
            if told:
                yield Line(State.RUNNING, 2, "", tuple(told), wraps=True)


def _took(jobs: Sequence[Job]) -> tuple[str, ...]:
    """The time from the first job's beginning to the last one's end, where that is known."""
    if len(jobs) == 1 and jobs[0].seconds is not None:
        return (words.clock(jobs[0].seconds),)
    spans = [(j.began, j.began + j.seconds) for j in jobs if j.began is not None and j.seconds]
    if len(spans) < len(jobs):
        return ()
    return (words.clock(max(end for _, end in spans) - min(begin for begin, _ in spans)),)


def _kinds_took(jobs: Sequence[Job]) -> tuple[str, ...]:
    """What a part consists of, with the times that are known; of several jobs, those of all."""
    phrases = []
    for kind, some in groupby(jobs, key=lambda job: job.name.kind):
        took = [job.seconds for job in some]
        known = [seconds for seconds in took if seconds is not None]
        phrases.append(f"{kind} {words.clock(sum(known))}" if len(known) == len(took) else kind)
    return tuple(phrases)


def _bar(some: list[Job], done: int, running: list[Job], style: Style) -> str:
    """The share that is done, where there is room and it is known."""
    shares = [job.live.share or 0.0 for job in running if job.live is not None]
    share = (done + sum(shares)) / len(some)
    if style.columns < _ROOM or share == 0:
        return ""
    full = round(_BAR * min(1.0, share))
    on, off = ("━", "─") if style.symbols else ("#", ".")
    return f"{on * full}{off * (_BAR - full)}  "


def _of_jobs(running: list[Job], now: float) -> list[str]:
    """What jobs of a kind do now; of several, how many there are and the one that ends last."""
    phrases = [f"{len(running)} under way"] if len(running) > 1 else []
    first = running[0]
    if len(running) == 1 and first.live is not None:
        live = first.live
        if live.total:
            phrases.append(f"{live.done}/{live.total} {live.unit}")
        elif live.doing:
            phrases.append(live.doing)
    left = [s for job in running if (s := seconds_left(job, None, now)) is not None]
    if left:
        phrases.append(f"{words.about(max(left))} left")
    elif first.began is not None:
        phrases.append(words.clock(now - first.began))
    if len(running) == 1 and first.note:
        phrases.append(first.note)
    return phrases or [State.RUNNING.value]


def _texts(line: Line, width: int, style: Style) -> list[str]:
    """A line as text, coloured; further ones for phrases that do not fit."""
    if line.depth == 2:
        return [style.paint(text, State.WAITING) for text in wrapped(line.phrases, " " * 6, style)]
    mark = style.paint(style.mark(line.state), line.state)
    before = "  " * line.depth
    # Columns only where they leave enough for what is said.
    wide = min(width - 2 * line.depth, 18) if style.columns >= _ROOM // 2 else 0
    head = line.head.ljust(wide) if line.phrases else line.head
    room = style.columns - len(before) - 2
    phrases = [f"{head}  {line.phrases[0]}", *line.phrases[1:]] if line.phrases else [head]
    narrower = Style(columns=room, symbols=style.symbols)
    text, *more = wrapped(phrases, "", narrower)
    if line.state is State.WAITING:
        text = style.paint(text, State.WAITING)
    if not line.wraps:
        more = []
    indent = before + "    "
    further = wrapped(style.dot.join(more).split(style.dot), indent, style) if more else []
    return [f"{before}{mark} {text}", *further]


def wrapped(phrases: Sequence[str], indent: str, style: Style) -> list[str]:
    """Phrases with dots between them, on as many lines as they take; one too wide is cut."""
    lines: list[str] = []
    for phrase in phrases:
        longer = f"{lines[-1]}{style.dot}{phrase}" if lines else ""
        if lines and columns_of(longer) <= style.columns:
            lines[-1] = longer
        else:
            lines.append(indent + phrase)
    return [cut(line, style) for line in lines]


def cut(text: str, style: Style) -> str:
    """A text, cut to the columns of a terminal."""
    if columns_of(text) <= style.columns:
        return text
    end = "…" if style.symbols else "~"
    while text and columns_of(text) + 1 > style.columns:
        text = text[:-1]
    return text + end


def columns_of(text: str) -> int:
    """Columns that a text without escape sequences takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
