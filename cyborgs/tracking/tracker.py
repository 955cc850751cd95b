"""What `Sender` needs of a tracker."""

from collections.abc import Sequence
from typing import Any, Protocol

from cyborgs.tracking.points import Point


class Tracker(Protocol):
    """One run in a tracker, open.

    Its errors are its own exceptions.

    Attributes:
        run: its id of the run.
        where: hash of the server, store or project that has the run.
    """

    run: str
    where: str

    def configure(self, settings: dict[str, Any]) -> None:
        """Show these settings, nested by section, instead of those it had."""

    def log(self, points: Sequence[Point]) -> None:
        """Add metrics."""

    def close(self, complete: bool) -> None:
        """Hand over what is left; say whether the run is complete, or only ends for now."""
