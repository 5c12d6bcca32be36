"""Runs of MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from xfer.training.tracking import Tracker

_MOST_PARAMETERS = 100  # in one request
_LONGEST = 500  # characters of a value that every store takes


class MLflow(Tracker):
    """Logs a run to MLflow (extra "mlflow").

    Args:
        folder: of a file store, where neither `uri` nor `MLFLOW_TRACKING_URI` names a server.
        uri: of the tracking server or store.
        experiment: its name; by default `MLFLOW_EXPERIMENT_NAME`, else "xfer".
    """

    name: ClassVar[str] = "mlflow"
    library: ClassVar[str] = "mlflow"

    def __init__(
        self, folder: str | Path | None = None, *, uri: str | None = None, experiment: str | None = None
    ) -> None:
        super().__init__(folder)
        self.uri, self.experiment = uri, experiment
        self._client: Any = None
        self._run = ""

    def begin(self, run: str | None, config: Mapping[str, Any], folder: Path) -> str:
        from mlflow.tracking import MlflowClient

        uri = self.uri or os.environ.get("MLFLOW_TRACKING_URI") or folder.absolute().as_uri()
        if uri.startswith("file:"):  # which MLflow 3 refuses unless asked for
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client = self._client or MlflowClient(uri)
        if run is not None:
            self._client.update_run(run, status="RUNNING")
            self._run = run
            return run
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "xfer"
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._run = str(self._client.create_run(experiment).info.run_id)
        self._log_parameters(config)
        return self._run

    def log(self, row: Mapping[str, float], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, [Metric(name, value, now, epoch) for name, value in row.items()])

    def pause(self, *, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def end(self, metrics: Mapping[str, float], epoch: int) -> None:
        self.log(metrics, epoch)
        self._client.set_terminated(self._run, "FINISHED")

    def _log_parameters(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(name, str(value)[:_LONGEST]) for name, value in config.items()]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + _MOST_PARAMETERS])
