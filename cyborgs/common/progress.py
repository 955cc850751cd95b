"""Progress: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from tqdm import tqdm

from cyborgs.common.live import LiveFile

Item = TypeVar("Item")

# A log gets a line at most this often, in seconds, so that a week's job stays readable.
LOG_INTERVAL = 20.0


def say(message: str) -> None:
    """One line to standard error, above a bar if there is one."""
    tqdm.write(message, file=sys.stderr)


def track(
    items: Iterable[Item],
    total: int,
    label: str | None,
    unit: str,
    *,
    metrics: Callable[[], Mapping[str, float]] = dict,
) -> Iterator[Item]:
    """Yield ``items``; show how many of ``total`` are done, how fast, and the time left.

    Nothing is shown where ``label`` is None: of several processes, one speaks.  ``metrics`` gives
    those of `Live`, and is called about once a second at most.
    """
    if label is None:
        yield from items
        return
    items = _told(items, total, label, unit, metrics=metrics)
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=unit, file=sys.stderr)
        return
    begin = last = time.monotonic()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= LOG_INTERVAL and done < total:
            rate = done / (now - begin)
            left = tqdm.format_interval((total - done) / rate)
            say(f"{label}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {left} left")
            last = now
    seconds = time.monotonic() - begin
    say(f"{label}: {done} {unit} in {tqdm.format_interval(seconds)}")


def _told(
    items: Iterable[Item],
    total: int,
    label: str,
    unit: str,
    *,
    metrics: Callable[[], Mapping[str, float]],
) -> Iterator[Item]:
    """Yield ``items``, and say how many are done to who watches the run."""
    file = LiveFile(label, total, unit)
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if file.due:
            file.tell(done, metrics())
    file.tell(done, metrics())
