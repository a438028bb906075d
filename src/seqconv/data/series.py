"""A record split in time, scaled, and cut into windows: what a model of a series trains on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from seqconv.data.records import Record
from seqconv.data.tasks import SeriesTask
from seqconv.data.windows import WindowArray, anchor_rows
from seqconv.errors import ConfigError, DataError, Problem
from seqconv.shapes import SequenceSpec

SPLITS = ("train", "validation", "test")


class SeriesData:
    """Windows of three splits of one record.

    Scaling is learnt from the rows of the training split alone. Targets are trained on in units of the target
    column's standard deviation there, and measured in the column's own unit.

    Args:
        name: of the dataset.
        record: cleaned.
        task: windows, target and split.

    Raises:
        ConfigError: if the split lies outside the record, or leaves a part of it without a window.
        DataError: if a column cannot be scaled.
    """

    headline, larger_is_better, reference = "mae", False, "persistence"
    has_details = False

    def __init__(self, name: str, record: Record, task: SeriesTask):
        self.name = name
        self.record = record
        self.task = task
        self.bounds = _split_bounds(record, task)
        self.anchors = self._anchor_rows()
        first, stop = self.bounds["train"]
        training = record.values[first:stop]
        # What is too large or too small to be computed with is told below.
        with np.errstate(all="ignore"):
            self.mean = training.mean(axis=0)
            # A column that never changes carries nothing; dividing by one keeps it at zero. Its standard
            # deviation is rounding noise, not always zero.
            changes = np.ptp(training, axis=0) > 0
            self.deviation = np.where(changes, training.std(axis=0), 1.0)
            scaled = ((record.values - self.mean) / self.deviation).astype(np.float32)
        _refuse_unscalable(record, np.isfinite(scaled).all(axis=0) & np.isfinite(self.deviation))
        self._windows = WindowArray(scaled, task.lookback, task.step)
        self._target = record.values[:, record.target]
        self._scale = float(self.deviation[record.target])

    # Shapes and samples

    @property
    def spec(self) -> SequenceSpec:
        """The shapes of a window and of its target."""
        return SequenceSpec(
            time=self.task.time_steps,
            features=len(self.record.columns),
            vocabulary=None,
            embedding=None,
            outputs=1,
            targets=1,
        )

    @property
    def unit(self) -> str:
        """The unit of the target column."""
        return self.record.unit

    @property
    def loss(self) -> str:
        """Name of the loss to train on."""
        return self.task.loss

    def count(self, split: str) -> int:
        """Number of windows of a split."""
        return len(self.anchors[split])

    def batch(self, split: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `(n, time, features)` and targets `(n, 1)`, both float32 and scaled."""
        anchors = self.anchors[split][indices]
        return self._windows.gather(anchors), self._scaled_targets(anchors)

    def augment(self, inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Inputs of a training step; a series is trained on as it is."""
        return inputs

    def _scaled_targets(self, anchors: np.ndarray) -> np.ndarray:
        targets = self._target[anchors + self.task.delay] - self._origin(anchors)
        return (targets / self._scale).astype(np.float32)[:, None]

    def _origin(self, anchors: np.ndarray) -> np.ndarray:
        """What a target is measured from: the newest known value, or the training mean."""
        if self.task.target == "change":
            return self._target[anchors - self.task.step]
        return np.full(len(anchors), self.mean[self.record.target])

    # Figures

    def sample_metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """Figures of single windows, `(n,)` each: `mae` in the target's own unit."""
        return {"mae": np.abs(predictions[:, 0] - targets[:, 0]).astype(np.float64) * self._scale}

    def summary_metrics(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """Figures that only a whole split has: `rmse` in the target's own unit."""
        errors = (predictions[:, 0] - targets[:, 0]).astype(np.float64) * self._scale
        return {"rmse": float(np.sqrt(np.mean(errors**2)))}

    def details(self, predictions: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        """Figures that are no single number; a series with one target has none."""
        return {}

    def truth(self, split: str) -> np.ndarray:
        """The values to predict, `(windows,)`, in their own unit."""
        return self._target[self.anchors[split] + self.task.delay]

    def known(self, split: str, rows_before_target: int) -> np.ndarray:
        """The target column so many rows before the target, `(windows,)`, in its own unit."""
        return self._target[self.anchors[split] + self.task.delay - rows_before_target]

    def ends(self, split: str) -> np.ndarray:
        """All columns of the oldest and of the newest input row, `(windows, 2 x columns)`."""
        anchors = self.anchors[split]
        values = self.record.values
        return np.hstack([values[anchors - self.task.lookback], values[anchors - self.task.step]])

    def measure(self, split: str, forecast: np.ndarray) -> dict[str, float]:
        """The figures of a forecast in the target's own unit, `(windows,)`, named as the model's."""
        errors = forecast - self.truth(split)
        mae, rmse = float(np.abs(errors).mean()), float(np.sqrt((errors**2).mean()))
        figures = {"mae": mae, "rmse": rmse}
        if self.task.loss == "mean_absolute_error":
            figures["loss"] = mae / self._scale
        elif self.task.loss == "mean_squared_error":
            figures["loss"] = (rmse / self._scale) ** 2
        return figures

    def describe(self) -> dict[str, Any]:
        """The `dataset` part of `metrics.json`."""
        lead = self.task.lead
        return {
            "name": self.name,
            "source": self.record.source,
            "fingerprint": self.record.fingerprint,
            "rows": self.record.rows_read,
            "columns": list(self.record.columns),
            "target": {"column": self.record.columns[self.record.target], "as": self.task.target},
            "windows": {split: self.count(split) for split in SPLITS},
            "unit": self.record.unit,
            "lead": {"rows": lead, "hours": lead * self.record.period / 3600},
            "notes": list(self.record.notes),
        }

    def preparation(self) -> dict[str, Any]:
        """What must be known, besides the configuration, to feed the trained model again."""
        columns = self.record.columns
        return {
            "columns": list(columns),
            "mean": self.mean.tolist(),
            "standard_deviation": self.deviation.tolist(),
            "period_seconds": self.record.period,
        }

    # Building

    def _anchor_rows(self) -> Mapping[str, np.ndarray]:
        task = self.task
        anchors = {
            split: anchor_rows(self.record.segments, *bounds, task.lookback, task.delay)
            for split, bounds in self.bounds.items()
        }
        needed = task.lookback + task.delay + 1
        problems = [
            Problem(
                "lookback",
                f"a window needs {needed} rows in a row without a gap (lookback={task.lookback} + "
                f"delay={task.delay} + 1); the {split} split has {stop - first} rows and no such run. "
                "Use a shorter `lookback` or another `split`",
            )
            for split, (first, stop) in self.bounds.items()
            if not len(anchors[split])
        ]
        if problems:
            raise ConfigError(problems)
        return anchors


def _refuse_unscalable(record: Record, usable: np.ndarray) -> None:
    """Refuse a column with numbers that the others cannot be compared with: they would be taken for a diverged run."""
    wrong = np.flatnonzero(~usable)
    if len(wrong):
        values = record.values[:, wrong[0]]
        raise DataError(
            f"column `{record.columns[wrong[0]]}` cannot be scaled: its values lie between {values.min():g} and "
            f"{values.max():g}. Is there a mark for a missing value among them?"
        )


def _split_bounds(record: Record, task: SeriesTask) -> dict[str, tuple[int, int]]:
    """First and stop row of each split, in rows of the cleaned record."""
    problems: list[Problem] = []
    ends = [
        _source_row(record, point, f"split.{key}", problems)
        for key, point in (
            ("train_end", task.split.train_end),
            ("validation_end", task.split.validation_end),
        )
    ]
    if problems:
        raise ConfigError(problems)
    if not ends[0] < ends[1]:
        raise ConfigError(
            [
                Problem(
                    "split.validation_end",
                    f"must lie after `split.train_end`; received row {ends[1]} after row {ends[0]}",
                )
            ]
        )
    train_end, validation_end = (int(np.searchsorted(record.source_rows, end)) for end in ends)
    return {
        "train": (0, train_end),
        "validation": (train_end, validation_end),
        "test": (validation_end, len(record.times)),
    }


def _source_row(record: Record, point: int | float | str, key: str, problems: list[Problem]) -> int:
    """A split point as a row of the source as read."""
    if isinstance(point, str):
        return _row_of_date(record, point, key, problems)
    row = int(point * record.rows_read) if isinstance(point, float) else point
    if not 0 < row < record.rows_read:
        problems.append(
            Problem(
                key,
                f"row {row} lies beyond the record of {record.rows_read} rows. A shorter record needs its "
                "own split, such as split.train_end=0.5 split.validation_end=0.75",
            )
        )
    return row


def _row_of_date(record: Record, date: str, key: str, problems: list[Problem]) -> int:
    first, last = record.times[0], record.times[-1]
    moment: np.datetime64
    try:
        moment = np.datetime64(date, "s")
    except ValueError:
        moment = np.datetime64("NaT", "s")
    if np.isnat(moment):
        problems.append(
            Problem(key, f"must be a date such as 2010-06-30 or a row; received {date!r}")
        )
        return 0
    if not first < moment <= last:
        problems.append(Problem(key, f"{date} lies outside the record, {first} to {last}"))
        return 0
    return int(record.source_rows[np.searchsorted(record.times, moment)])
