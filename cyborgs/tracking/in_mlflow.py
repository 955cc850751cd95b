"""A run in MLflow.

Server or store, experiment and credentials are those of MLflow's own variables
(``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME``, ``MLFLOW_TRACKING_TOKEN`` …).
"""

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cyborgs.tracking.points import Point, flattened, hash_of

# What a request may hold, and how long a value may be.
_METRICS, _SETTINGS, _LENGTH = 1000, 100, 500


class Mlflow:
    """A `Tracker`.

    Args:
        name: of the run, where it is new.
        run: its id, or None.
        where: the store that has the run of that id; in another one, a new run begins.
    """

    def __init__(self, name: str, run: str | None, where: str | None) -> None:
        # MLflow's own five minutes are long to wait for the message that nothing answers.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        import mlflow

        # Of a sender that failed.
        while mlflow.active_run():
            mlflow.end_run("KILLED")
        # Of an address, which may hold a password, a note has a hash.
        self.where = hash_of(mlflow.get_tracking_uri())
        self._client = mlflow.MlflowClient()
        self._continues = where == self.where and self._has(run)
        self._known: dict[str, set[tuple[int, float]]] = {}
        # The machine that sends is not the one that trains: its load tells nothing.
        active = (
            mlflow.start_run(run_id=run, log_system_metrics=False)
            if self._continues
            else mlflow.start_run(run_name=name, log_system_metrics=False)
        )
        self.run: str = active.info.run_id

    def _has(self, run: str | None) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return run is not None and self._client.get_run(run) is not None
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def configure(self, settings: dict[str, Any]) -> None:
        """As parameters.  MLflow's never change: what does change becomes a tag beside them."""
        from mlflow.entities import Param, RunTag

        run = self._client.get_run(self.run).data
        values = {key: str(value)[:_LENGTH] for key, value in flattened(settings)}
        # A tag that is there may be of settings that were changed and changed back.
        params = [Param(key, v) for key, v in values.items() if key not in run.params]
        tags = [
            RunTag(key, v)
            for key, v in values.items()
            if run.params.get(key, v) != v or key in run.tags
        ]
        for begin in range(0, len(params), _SETTINGS):
            self._client.log_batch(self.run, params=params[begin : begin + _SETTINGS])
        for begin in range(0, len(tags), _SETTINGS):
            self._client.log_batch(self.run, tags=tags[begin : begin + _SETTINGS])

    def log(self, points: Sequence[Point]) -> None:
        """As metrics with their steps."""
        metrics = [metric for point in points for metric in self._metrics(point)]
        for begin in range(0, len(metrics), _METRICS):
            self._client.log_batch(self.run, metrics=metrics[begin : begin + _METRICS])

    def close(self, complete: bool) -> None:
        """Leave the run as finished or, to be continued, as killed."""
        import mlflow

        mlflow.end_run("FINISHED" if complete else "KILLED")

    def _metrics(self, point: Point) -> Iterator[Any]:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        for name, value in point.metrics.items():
            if self._continues and name not in self._known:
                # A sender that was killed had no time to note what it had sent last.
                history = self._client.get_metric_history(self.run, name)
                self._known[name] = {(metric.step, metric.value) for metric in history}
            if (point.step, value) not in self._known.get(name, ()):
                yield Metric(name, value, now, point.step)
