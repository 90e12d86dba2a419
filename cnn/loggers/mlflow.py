"""`logger=mlflow`: a run of MLflow, on a server or in a file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn.loggers.base import Logger, RunRecord, flat
from cnn.loggers.settings import MlflowSettings
from foundation.extras import needed

_BATCH = 100  # options in one request, the most that MLflow takes
_LONGEST = 500  # characters of an option that every server takes
_STATES = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MlflowLogger(Logger):
    """Uses MLflow's client with ids, not its global state: several runs in one process do not meet."""

    name = "mlflow"

    def __init__(self, settings: MlflowSettings) -> None:
        """Raises `UserError` without MLflow."""
        self._settings = settings
        self._package = needed("mlflow", "logger=mlflow", "mlflow")
        for name in ("alembic", "mlflow.store.db.utils"):  # they report each step of making a file
            logging.getLogger(name).setLevel(logging.WARNING)

    def begin(self, run: RunRecord) -> str:
        """Begin a run, or reopen that of `run.known_as`."""
        uri = self._settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self._client = self._package.MlflowClient(tracking_uri=uri)
        if run.known_as is not None:
            self._run = run.known_as
            self._client.update_run(self._run, status="RUNNING")
            return self._run
        experiment = self._client.get_experiment_by_name(self._settings.experiment)
        number = experiment.experiment_id if experiment else self._client.create_experiment(self._settings.experiment)
        self._run = str(self._client.create_run(number, run_name=run.name).info.run_id)
        entities = self._package.entities
        options = [entities.Param(key, str(value)[:_LONGEST]) for key, value in flat(run.config).items()]
        for place in range(0, len(options), _BATCH):
            self._client.log_batch(self._run, params=options[place : place + _BATCH])
        self._client.set_tag(self._run, "folder", str(run.folder.absolute()))
        return self._run

    def epoch(self, row: Mapping[str, float]) -> None:
        """A point of each curve."""
        self._log({key: value for key, value in row.items() if key != "epoch"}, int(row["epoch"]))

    def end(self, scores: Mapping[str, float], figures: Mapping[str, Path], epoch: int) -> None:
        """The scores as metrics, the figures as artifacts."""
        self._log(scores, epoch)
        for path in figures.values():
            self._client.log_artifact(self._run, str(path))

    def close(self, state: str) -> None:
        """End the run."""
        self._client.set_terminated(self._run, _STATES[state])

    def _log(self, values: Mapping[str, Any], epoch: int) -> None:
        now = int(time.time() * 1000)
        entities = self._package.entities
        metrics = [entities.Metric(key, float(value), now, epoch) for key, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)  # a batch has room for a thousand
