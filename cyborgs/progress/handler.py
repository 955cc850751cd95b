"""The logging handler under Snakemake's logger plugin: it may fail, the run may not."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Protocol

from cyborgs.progress.follower import Follower
from cyborgs.progress.screen import Screen

# Seconds between two looks at what jobs do.
_TICK = 1.0

# What to show: a tree where there is a terminal; lines; or Snakemake's own words.
SHOWN = ("auto", "lines", "snakemake")


class Settings(Protocol):
    """Those of Snakemake's output that matter here."""

    printshellcmds: bool
    nocolor: bool
    debug_dag: bool
    verbose: bool
    show_failed_logs: bool
    stdout: bool
    dryrun: bool

    @property
    def quiet(self) -> Collection[object] | None:
        """What not to tell."""


class ProgressHandler:
    """Shows records of Snakemake's logger, and what jobs do between two of them.

    A fault of its own is told in a line, and from then on the records are shown as Snakemake shows
    them.

    Args:
        settings: Snakemake's.
        show: one of `SHOWN`.
    """

    def __init__(self, settings: Settings, show: str) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._plain: logging.Handler | None = None
        # Who asks for more than usual is given all.
        if show == "snakemake" or settings.verbose or settings.debug_dag:
            self._plain = plain_handler(settings)
            return
        environment = dict(os.environ)
        if settings.nocolor:
            environment["NO_COLOR"] = "1"
        screen = Screen(
            sys.stdout if settings.stdout else sys.stderr, environment, plain=show == "lines"
        )
        quiet = [str(getattr(one, "value", one)).lower() for one in settings.quiet or ()]
        names = [str(getattr(one, "name", "")).lower() for one in settings.quiet or ()]
        self._follower = Follower(screen, dryrun=settings.dryrun, quiet={*quiet, *names})
        if not settings.dryrun:
            threading.Thread(target=self._look, daemon=True).start()

    def take(self, record: logging.LogRecord) -> None:
        """Show a record."""
        with self._lock:
            if self._plain is None:
                self._guarded(lambda: self._follower.take(record))
                # Where that failed, the record was not shown.
                if self._plain is None:
                    return
            with suppress(Exception):
                self._plain.handle(record)

    def close(self) -> None:
        """End what is shown."""
        self._ended.set()
        with self._lock:
            if self._plain is None:
                self._guarded(self._follower.close)

    def _look(self) -> None:
        while not self._ended.wait(_TICK):
            with self._lock:
                if self._plain is not None:
                    return
                self._guarded(self._follower.tick)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # (whatever it is, the run goes on)
            try:
                self._plain = plain_handler(self._settings)
            except Exception:  # of another version of Snakemake
                self._plain = logging.StreamHandler()
            with suppress(Exception):
                print(
                    f"the progress display failed ({type(error).__name__}: {error}); the run goes "
                    "on, in Snakemake's words",
                    file=sys.stderr,
                )


def plain_handler(settings: Settings) -> logging.Handler:
    """Snakemake's own handler, as it is without a plugin."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

    handler = ColorizingTextHandler(
        nocolor=settings.nocolor, stream=sys.stdout if settings.stdout else sys.stderr
    )
    handler.addFilter(
        DefaultFilter(
            settings.quiet,
            settings.debug_dag,
            settings.verbose,
            settings.dryrun,
            settings.printshellcmds,
        )
    )
    handler.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
    return handler
