"""A run in Weights & Biases.

Server, project, mode and key are those of its own variables (``WANDB_PROJECT``, ``WANDB_MODE``,
``WANDB_API_KEY`` …), or of `wandb login`.
"""

import os
from collections.abc import Sequence
from typing import Any

from cyborgs.tracking.points import Point, hash_of


class Wandb:
    """A `Tracker`.

    Args:
        name: of the run, where ``WANDB_NAME`` gives none.
        run: its id, or None where it is new (then ``WANDB_RUN_ID``, or one of its own).
    """

    def __init__(self, name: str, run: str | None) -> None:
        import wandb

        self._run = wandb.init(
            name=os.environ.get("WANDB_NAME", name),
            id=run,
            resume="allow",
            reinit="finish_previous",
            # The machine that sends is not the one that trains: its load and its output tell
            # nothing.
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_stats=True,
            ),
        )
        self.run: str = self._run.id
        settings = self._run.settings
        # Nothing is kept in mode `disabled`.
        self.where = hash_of(
            "nowhere" if self._run.disabled else f"{settings.base_url} {settings.project}"
        )
        # Its own steps never go back, while masks are measured when training has gone on.
        self._run.define_metric("*", step_metric="step")

    def configure(self, settings: dict[str, Any]) -> None:
        """As the run's config."""
        self._run.config.update(settings, allow_val_change=True)

    def log(self, points: Sequence[Point]) -> None:
        """As history over ``step``."""
        for point in points:
            self._run.log({"step": point.step, **point.metrics})

    def close(self, complete: bool) -> None:
        """Upload what is left."""
        self._run.finish(exit_code=0 if complete else 1)
