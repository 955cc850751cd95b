"""Sending what a tracker does not have yet, and noting what it has."""

import json
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cyborgs.common.errors import InputError
from cyborgs.common.files import atomic_write
from cyborgs.run.paths import Run
from cyborgs.tracking.points import Part, Point, files_of, hash_of, parts_of, settings_of
from cyborgs.tracking.tracker import Tracker


def require_trackers(names: list[str]) -> None:
    """Raise `InputError` where a tracker that `compute.trackers` names is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise InputError(
                f"config: compute.trackers: {name} is not installed; install the extra "
                f"(pip install 'cyborgs[{name}]'), or leave it out"
            )


class Sender:
    """Sends a run's metrics to one tracker, each once.

    The folder ``tracking/`` of the run has, for each tracker, its id of the run and what was sent.
    The tracker is opened when there is something to send.

    Args:
        run: whose files are read.
        name: of the tracker, as in `compute.trackers`.
    """

    def __init__(self, run: Path, name: str) -> None:
        self._folder = run
        self._name = name
        self._path = Run(run).tracking(name)
        self._note = _read_note(self._path)
        self._tracker: Tracker | None = None
        self._seen: Any = None

    @property
    def run(self) -> str | None:
        """The tracker's id of the run; None before anything was sent."""
        found = self._note.get("run")
        return None if found is None else str(found)

    def send(self) -> int:
        """Send what is new; returns how many points that were.

        Raises what the tracker raises, and `InputError` where a file of the run is damaged.
        """
        run = Run(self._folder)
        seen = files_of(run)
        if seen == self._seen:
            return 0
        # Made by a job of its own, which need not be the first.
        settings = settings_of(run) if run.config.exists() else None
        parts = parts_of(run)
        if self._tracker is None:
            if not self._unsent_settings(settings) and not any(map(self._unsent, parts)):
                return 0
            self._tracker = self._open(run)
        if settings is not None and self._unsent_settings(settings):
            self._tracker.configure(settings)
            self._note["settings"] = _hash_of_settings(settings)
            self._save()
        count = 0
        for part in parts:
            # Here again: another store has none of them.
            if new := self._unsent(part):
                self._tracker.log(new)
                self._note["sent"][part.name] = [part.identity, new[-1].step]
                self._save()
                count += len(new)
        self._seen = seen
        return count

    def close(self) -> None:
        """Close the tracker, if it was opened."""
        if self._tracker is not None:
            self._tracker.close(complete=Run(self._folder).backbone.exists())
            self._tracker = None

    def _unsent_settings(self, settings: dict[str, Any] | None) -> bool:
        return settings is not None and self._note.get("settings") != _hash_of_settings(settings)

    def _unsent(self, part: Part) -> list[Point]:
        known, last = self._note.get("sent", {}).get(part.name, (None, 0))
        return [p for p in part.points if known != part.identity or p.step > last]

    def _open(self, run: Run) -> Tracker:
        title, known, where = run.folder.resolve().name, self.run, self._note.get("where")
        # Imported here: each is an extra.
        tracker: Tracker
        if self._name == "mlflow":
            from cyborgs.tracking.in_mlflow import Mlflow

            tracker = Mlflow(title, known, where)
        else:
            from cyborgs.tracking.in_wandb import Wandb

            tracker = Wandb(title, known)
        now = {"run": tracker.run, "where": tracker.where}
        if now.items() <= self._note.items():
            return tracker
        self._note = {**now, "settings": None, "sent": {}}
        self._save()
        return tracker

    def _save(self) -> None:
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(self._note, indent=1) + "\n")


def _hash_of_settings(settings: dict[str, Any]) -> str:
    return hash_of(json.dumps(settings, sort_keys=True))


def _read_note(path: Path) -> dict[str, Any]:
    """What was noted; nothing where that is missing or damaged, and a new run begins."""
    with suppress(FileNotFoundError, ValueError):
        note = json.loads(path.read_text())
        if isinstance(note, dict) and {"run", "where", "settings", "sent"} <= note.keys():
            return note
    return {}
