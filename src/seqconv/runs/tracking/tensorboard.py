"""TensorBoard: an event file in the run directory, with a curve for each metric and a row of the HParams view.

Event files only grow, and TensorBoard shows every point of all that are in a directory. So a run that is resumed gets a
new file with all of its epochs, and loses the one before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqconv.config.schema import Config
from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import Result
from seqconv.runs.tracking.views import ends_of, final_metrics, settings_of, values_of
from seqconv.tasks.contract import Json

# TensorBoard reads what has `tfevents` in its name, in the order of the names.
OURS = "events.out.tfevents.*.seqconv"
# In TensorBoard's words; there is none for a run that was interrupted and can be resumed.
STATUSES = {"completed": "STATUS_SUCCESS", "diverged": "STATUS_FAILURE", "failed": "STATUS_FAILURE"}


class TensorBoard:
    """Writes the events of a run.

    Args:
        config: of the run.
        run_dir: where the file goes.
    """

    name = "TensorBoard"

    def __init__(self, config: Config, run_dir: Path):
        self._config = config
        self._run_dir = run_dir
        self._path: Path | None = None
        self._shown = 0
        self._began = 0.0

    def show(self, records: Sequence[EpochRecord]) -> None:
        """Add the epochs that the file does not have, or write a new file with all of them."""
        if self._path is None:
            self._begin(records)
        ends = ends_of(records, self._began)
        shown, self._shown = self._shown, len(records)
        self._write(
            _event(ends[index], records[index].epoch, values_of(records[index]))
            for index in range(shown, len(records))
        )

    def end(self, records: Sequence[EpochRecord], result: Result) -> None:
        """Add the metrics of the best epoch and the status."""
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        self.show(records)
        now = time.time()
        end = plugin_data_pb2.SessionEndInfo(
            status=api_pb2.Status.Value(STATUSES.get(result.status, "STATUS_UNKNOWN")),
            end_time_secs=now,
        )
        self._write(
            [
                _event(now, len(records), final_metrics(result, self._run_dir)),
                _hparams_event(
                    now,
                    metadata.SESSION_END_INFO_TAG,
                    plugin_data_pb2.HParamsPluginData(session_end_info=end),
                ),
            ]
        )

    def _begin(self, records: Sequence[EpochRecord]) -> None:
        """Write a file with what comes before the first epoch; those of before are removed."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.hparams import metadata, plugin_data_pb2

        before = list(self._run_dir.glob(OURS))
        now = time.time()
        self._began = now - sum(record.seconds for record in records)
        self._shown = 0
        self._path = self._run_dir / OURS.replace("*", f"{time.time_ns()}")
        start = plugin_data_pb2.SessionStartInfo(start_time_secs=self._began)
        for key, value in settings_of(self._config).items():
            _set(start.hparams[key], value)
        self._write(
            [
                Event(wall_time=self._began, file_version="brain.Event:2"),
                # A TensorBoard that is looking on forgets the points of the file before.
                Event(wall_time=self._began, session_log=SessionLog(status=SessionLog.START)),
                _hparams_event(
                    self._began,
                    metadata.SESSION_START_INFO_TAG,
                    plugin_data_pb2.HParamsPluginData(session_start_info=start),
                ),
            ]
        )
        for path in before:
            path.unlink(missing_ok=True)

    def _write(self, events: Iterable[Any]) -> None:
        """Add events to the file; one that cannot be written is begun anew next time."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        path, self._path = self._path, None
        if path is None:
            return
        with path.open("ab") as stream:
            writer = RecordWriter(stream)
            for event in events:
                writer.write(event.SerializeToString())
        self._path = path


def _event(moment: float, step: int, values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    return Event(wall_time=moment, step=step, summary=Summary(value=points))


def _hparams_event(moment: float, tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    found = metadata.create_summary_metadata(data)
    value = Summary.Value(tag=tag, metadata=found, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=moment, summary=Summary(value=[value]))


def _set(target: Any, value: Json) -> None:
    """A setting as TensorBoard holds it: a switch, a number, or a text."""
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    else:
        target.string_value = "null" if value is None else str(value)
