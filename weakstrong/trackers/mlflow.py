"""MLflow: ``mlflow.db`` in the working folder, or wherever ``MLFLOW_TRACKING_URI`` says.

Look at it with ``mlflow ui --backend-store-uri sqlite:///mlflow.db``; that needs the whole ``mlflow``, the extra brings
``mlflow-skinny`` and what it wants for SQLite.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weakstrong.trackers._points import clean
from weakstrong.trackers.base import PROJECT, TRACKERS, Point, Tracker

METRICS, PARAMETERS, LONGEST_VALUE = 1000, 100, 6000
"""How many MLflow takes at once, and how many characters of a parameter."""


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Paths such as ``split.test_rows`` and the text of what is there."""
    if isinstance(value, (dict, list)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(inner, f"{path}.{clean(str(name))}" if path else clean(str(name)))
    else:
        yield path, (value if isinstance(value, str) else json.dumps(value))[:LONGEST_VALUE]


@TRACKERS.register
class MLflow(Tracker):
    """Speaks to MLflow's client, not to its global run, so that runs of the user's own stay apart."""

    modules = ("mlflow", "sqlalchemy", "alembic")

    def start(self, name: str, config: dict[str, Any], folder: Path) -> None:
        """See `Tracker`. Usage statistics are off unless the user's ``MLFLOW_DISABLE_TELEMETRY`` says otherwise."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
        own = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=own or f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self._client.get_experiment_by_name(project)
        if found is None:
            artifacts = None if own else (folder / "mlruns").as_uri()
            experiment = self._client.create_experiment(project, artifact_location=artifacts)
        else:
            experiment = found.experiment_id
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        parameters = [Param(path, text) for path, text in _flat(config)]
        for i in range(0, len(parameters), PARAMETERS):
            self._client.log_batch(self._run, params=parameters[i : i + PARAMETERS])

    def log(self, points: Sequence[Point]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, at) for name, at, value in points]
        for i in range(0, len(metrics), METRICS):
            self._client.log_batch(self._run, metrics=metrics[i : i + METRICS])

    def table(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """See `Tracker`; an artifact ``<name>.json``."""
        self._client.log_text(self._run, json.dumps(list(rows), indent=1, ensure_ascii=False), f"{name}.json")

    def finish(self, ok: bool) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run, "FINISHED" if ok else "FAILED")
