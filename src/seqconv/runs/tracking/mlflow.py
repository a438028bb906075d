"""MLflow: a run of an experiment, whose id the run directory keeps.

MLflow takes neither a point nor a parameter back. So a resumed run goes on in its MLflow run if that holds nothing but
what the resumed run has; else a new one takes its place, and the old one is deleted (`mlflow runs restore` undoes it).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seqconv import __version__
from seqconv.config.schema import Config
from seqconv.runs import layout
from seqconv.runs.files import read_json, write_json
from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import Result
from seqconv.runs.resume import MAY_CHANGE
from seqconv.runs.tracking.views import ends_of, final_metrics, settings_of, values_of
from seqconv.tasks.contract import Json

# In MLflow's words.
STATUSES = {"completed": "FINISHED", "interrupted": "KILLED"}
NO_SUCH_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
# What MLflow takes at once.
PARAMS_AT_ONCE = 100
METRICS_AT_ONCE = 1000
# Jobs of a sweep that begin with a new database wait for the first one to make its tables.
SECONDS_FOR_TABLES = 60
SQLITE = "sqlite:///"
# Unless the user has chosen others.
ENVIRONMENT = {
    # One request that is not answered: a training waits no longer. MLflow's own are 120 s, seven times over.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
# MLflow would send usage data, and write to stdout, which is for our line for scripts.
ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MLflow:
    """Sends a run to a tracking server, or to a database.

    Args:
        config: of the run.
        run_dir: of the run.
        uri: of the server or database.
    """

    name = "MLflow"

    def __init__(self, config: Config, run_dir: Path, uri: str):
        self._config = config
        self._run_dir = run_dir
        self._uri = uri
        self._client: Any = None
        self._run_id = ""
        self._began = 0.0
        # None: not known, after a request that failed.
        self._shown: int | None = None

    def show(self, records: Sequence[EpochRecord]) -> None:
        """Send the epochs that MLflow does not have."""
        shown, self._shown = self._shown, None
        if shown is None:
            self._begin(records)
        else:
            self._send(self._points(records, shown))
        self._shown = len(records)

    def end(self, records: Sequence[EpochRecord], result: Result) -> None:
        """Send the metrics of the best epoch and the status."""
        self.show(records)
        self._shown = None
        moment = [self._began, *ends_of(records, self._began)][-1]
        values = final_metrics(result, self._run_dir)
        self._send([_metric(name, value, moment, len(records)) for name, value in values.items()])
        self._client.set_tag(self._run_id, "status", result.status)
        self._client.set_terminated(self._run_id, STATUSES.get(result.status, "FAILED"))

    def _begin(self, records: Sequence[EpochRecord]) -> None:
        """Find the run's place, or make one, and send what is missing there."""
        if self._client is None:
            self._client = _connect(self._uri)
        missing = self._resumed(records)
        if missing is None:
            self._create(records)
            missing = self._points(records)
        settings = settings_of(self._config)
        self._tag({key: settings[key] for key in sorted(MAY_CHANGE) if key in settings})
        self._set_params({key: settings[key] for key in settings if key not in MAY_CHANGE})
        self._client.update_run(self._run_id, status="RUNNING")
        self._send(missing)

    def _resumed(self, records: Sequence[EpochRecord]) -> list[Any] | None:
        """What the MLflow run of before does not have; None if there is none that can go on."""
        from mlflow.exceptions import MlflowException

        stored = read_json(self._run_dir / layout.MLFLOW) or {}
        run_id = stored.get("run_id")
        if stored.get("tracking_uri") != self._uri or not isinstance(run_id, str):
            return None
        try:
            run = self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in NO_SUCH_RUN:
                raise
            return None
        # A copy of a run directory is another run; and one from somebody else shall not reach runs of ours.
        if run.info.lifecycle_stage != "active" or run.data.tags.get("run_dir") != self._place:
            return None
        self._run_id, self._began = run_id, run.info.start_time / 1000
        points = self._points(records)
        wanted = {_content(point) for point in points}
        # Each epoch has its seconds, also those that this run does not have any more.
        names = {"seconds", *(point.key for point in points)}
        there = {
            _content(point)
            for name in names & run.data.metrics.keys()
            for point in self._client.get_metric_history(run_id, name)
        }
        if not there <= wanted:
            self._client.delete_run(run_id)
            return None
        return [point for point in points if _content(point) not in there]

    def _create(self, records: Sequence[EpochRecord]) -> None:
        self._began = time.time() - sum(record.seconds for record in records)
        run = self._client.create_run(
            self._experiment(),
            start_time=int(self._began * 1000),
            run_name=self._run_dir.name,
            tags={"run_dir": self._place, "seqconv": __version__},
        )
        self._run_id, self._began = run.info.run_id, run.info.start_time / 1000
        content = {"tracking_uri": self._uri, "run_id": self._run_id}
        write_json(self._run_dir / layout.MLFLOW, content)

    def _experiment(self) -> str:
        """The experiment of the sweep, or of the dataset and the model."""
        from mlflow.exceptions import MlflowException

        name = f"{self._config.dataset.name}-{self._config.model.name}"
        # A fold of a job is one folder further down, and a member of a fold two.
        for folder in self._run_dir.resolve().parents[:3]:
            if layout.is_sweep(folder):
                name = f"sweep {folder.name}"
                break
        found = self._client.get_experiment_by_name(name)
        if found is None:
            # Another job may be quicker.
            with contextlib.suppress(MlflowException):
                self._client.create_experiment(name)
            found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise ValueError(f"the experiment `{name}` cannot be made, or was deleted there")
        return str(found.experiment_id)

    @property
    def _place(self) -> str:
        return str(self._run_dir.resolve())

    def _points(self, records: Sequence[EpochRecord], first: int = 0) -> list[Any]:
        """The points of epochs, from the record of an index on."""
        ends = ends_of(records, self._began)
        return [
            _metric(name, value, moment, record.epoch)
            for record, moment in list(zip(records, ends, strict=True))[first:]
            for name, value in values_of(record).items()
        ]

    def _send(self, points: Sequence[Any]) -> None:
        for batch in _batches(points, METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=batch)

    def _set_params(self, settings: dict[str, Json]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)) for key, value in settings.items()]
        for batch in _batches(params, PARAMS_AT_ONCE):
            self._client.log_batch(self._run_id, params=batch)

    def _tag(self, settings: dict[str, Json]) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(key, str(value)) for key, value in settings.items()]
        self._client.log_batch(self._run_id, tags=tags)


def _connect(uri: str) -> Any:
    """A client; the tables of a new database are made by one process at a time."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(ALWAYS)
    from filelock import FileLock
    from mlflow import MlflowClient

    if not uri.startswith(SQLITE):
        return MlflowClient(tracking_uri=uri)
    # Two at once would leave a database that MLflow cannot use.
    lock = FileLock(f"{urlsplit(uri).path[1:]}.lock", timeout=SECONDS_FOR_TABLES)
    with lock:
        return MlflowClient(tracking_uri=uri)


def _metric(name: str, value: float, moment: float, step: int) -> Any:
    from mlflow.entities import Metric

    # The same time whenever it is sent: a point that MLflow has already is then not doubled.
    return Metric(name, value, int(moment * 1000), step)


def _content(point: Any) -> tuple[str, int, float]:
    return point.key, point.step, point.value


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
