"""A record of measurements prepared for forecasting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqconv.config.errors import ConfigError, DataError, Problem
from seqconv.data.records import Record, unit_of
from seqconv.tasks.contract import (
    EVALUATED,
    SPLITS,
    Json,
    Predicted,
    SequenceSpec,
    Split,
    StoredPreparation,
)
from seqconv.tasks.forecasting import baselines
from seqconv.tasks.forecasting.baselines import Forecasts
from seqconv.tasks.forecasting.plots import Stretches, draw_forecast
from seqconv.tasks.forecasting.preparation import BLOCK_ROWS, SeriesPreparation
from seqconv.tasks.forecasting.samples import WindowSamples
from seqconv.tasks.forecasting.settings import ForecastingSettings
from seqconv.tasks.forecasting.split import Bounds, all_for_test, split_bounds
from seqconv.tasks.forecasting.windows import WindowArray, anchor_rows, by_phase
from seqconv.tasks.metrics import (
    FORECAST_METRICS,
    FORECAST_SAMPLE_METRICS,
    LOSS,
    Forecast,
    Metric,
)


def prepare(
    name: str,
    record: Record,
    settings: ForecastingSettings,
    stored: StoredPreparation | None = None,
) -> Forecasting:
    """Split a record, learn the scaling from its training rows, and cut it into windows.

    Args:
        name: of the dataset.
        record: cleaned.
        settings: windows, target and split.
        stored: the preparation of a finished run, which is used instead of learning one. A record other than that run's
            is the test split as a whole.

    Raises:
        ConfigError: if the split lies outside the record, or leaves a part of it without a window.
        DataError: if a column cannot be scaled, or the record does not fit the stored preparation.
    """
    own = stored is None or stored.fingerprint == record.fingerprint
    read = None if stored is None else _read_preparation(record, settings, stored)
    bounds = split_bounds(record, settings.split) if own else all_for_test(record)
    anchors = _anchors(record, settings, bounds, SPLITS if own else ("test",))
    preparation = _learn(record, settings, bounds["train"]) if read is None else read
    rows = by_phase(record.values, settings.step, preparation.scale, BLOCK_ROWS)
    _refuse_unscalable(record, preparation, rows)
    windows = WindowArray(rows, settings.lookback, settings.step)
    samples: dict[Split, WindowSamples] = {
        split: WindowSamples(
            anchors[split], windows, record.values, record.targets, settings, preparation
        )
        for split in SPLITS
    }
    if stored is None:
        preparation = preparation.with_naive_mae(_naive_mae(samples["train"]))
    return Forecasting(name, record, settings, preparation, samples, own)


@dataclass(frozen=True)
class Forecasting:
    """The forecasting task, see `seqconv.tasks.contract.Task`.

    Attributes:
        name: of the dataset.
        record: cleaned.
        settings: windows, target and split.
        preparation: scaling, learnt from the training rows.
        splits: the windows of each split.
        trainable: whether there is a training part; else the record is only evaluated on.
    """

    name: str
    record: Record
    settings: ForecastingSettings
    preparation: SeriesPreparation
    splits: Mapping[Split, WindowSamples]
    trainable: bool

    reference = "persistence"

    @property
    def fingerprint(self) -> str:
        """Checksum of the source."""
        return self.record.fingerprint

    @property
    def spec(self) -> SequenceSpec:
        """The shapes of a window and of its targets."""
        shape = (len(self.settings.leads), len(self.record.targets))
        return SequenceSpec(
            time=self.settings.time_steps,
            features=len(self.record.columns),
            vocabulary=None,
            embedding=None,
            outputs=shape,
            targets=shape,
        )

    @property
    def loss(self) -> str:
        """Name of the loss to train on."""
        return self.settings.loss

    @property
    def _single(self) -> bool:
        """Whether there is one target at one lead: only then a metric is one number in one unit."""
        return self.spec.targets == (1, 1)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The loss, and for one target at one lead all others."""
        return (LOSS, *FORECAST_METRICS) if self._single else (LOSS,)

    @property
    def primary_metric(self) -> Metric:
        """The mean absolute error; the loss, where targets have different units."""
        return self.metrics[1] if self._single else LOSS

    @property
    def subject(self) -> str:
        """The horizons."""
        hours = [f"{lead * self.record.period / 3600:g}" for lead in self.settings.leads]
        return f"{hours[0] if len(hours) == 1 else f'{hours[0]} to {hours[-1]}'} h ahead"

    def unit_of(self, metric: Metric) -> str:
        """The unit of the target column, for metrics that are in it."""
        return self._units[0] if metric.in_target_unit else ""

    @property
    def _target_columns(self) -> list[str]:
        return [self.record.columns[index] for index in self.record.targets]

    @property
    def _units(self) -> list[str]:
        return [unit_of(column) for column in self._target_columns]

    # Samples

    def samples(self, split: Split) -> WindowSamples:
        """The windows of a split."""
        return self.splits[split]

    def augment(self, inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Windows are trained on as they are."""
        return inputs

    # Metrics

    def running_metrics(
        self, predictions: np.ndarray, targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Means over samples, for one target at one lead."""
        if not self._single:
            return {}
        forecast = self._scored(self._errors(predictions, targets), targets, 0, 0)
        return {metric.name: metric.function(forecast) for metric in FORECAST_SAMPLE_METRICS}

    def measure(self, split: Split, predicted: Predicted) -> dict[str, Json]:
        """The loss, and each metric in the targets' own units."""
        errors = self._errors(predicted.predictions, predicted.targets)
        loss = float(predicted.losses.astype(np.float64).mean())
        return {"loss": loss, **self._measured(errors, self.samples(split).truth())}

    def details(self, split: Split, predicted: Predicted) -> dict[str, Json]:
        """A series has none."""
        return {}

    def _errors(self, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Scaled forecasts less scaled targets in the targets' own units, float64."""
        return (predictions - targets).astype(np.float64) * self.preparation.target_std

    def _scored(self, errors: np.ndarray, truth: np.ndarray, lead: int, column: int) -> Forecast:
        naive_mae = float(self.preparation.naive_mae[lead, column])
        return Forecast(errors[:, lead, column], truth[:, lead, column], naive_mae)

    def _measured(self, errors: np.ndarray, truth: np.ndarray) -> dict[str, Json]:
        """By metric; with several targets or leads under `targets`, by column and rows of lead.

        Args:
            errors: `(samples, leads, columns)` in the targets' own units.
            truth: as `errors`.
        """
        by_target = {
            name: {
                str(rows): {
                    metric.name: metric(self._scored(errors, truth, lead, column))
                    for metric in FORECAST_METRICS
                }
                for lead, rows in enumerate(self.settings.leads)
            }
            for column, name in enumerate(self._target_columns)
        }
        if self._single:
            return by_target[self._target_columns[0]][str(self.settings.leads[0])]
        return {"targets": by_target}

    # Baselines

    def baselines(self, *, slow: bool) -> dict[str, dict[str, Json]]:
        """Persistence, the same hour of the newest known day, and a ridge regression where there is a training part."""
        evaluated: tuple[Split, ...] = EVALUATED if self.trainable else ("test",)
        day = baselines.rows_per_day(self.record.period)
        results = {
            "persistence": self._judged(baselines.persistence(self.splits, evaluated)),
        }
        seasonal = baselines.seasonal_naive(self.splits, evaluated, day)
        if seasonal is not None:
            results["seasonal_naive"] = {"days": seasonal[1], **self._judged(seasonal[0])}
        if self.trainable:
            results["ridge"] = self._judged(baselines.ridge(self.splits, evaluated, day))
        return results

    def _judged(self, forecasts: Forecasts) -> dict[str, Json]:
        """The metrics of forecasts in the targets' own units, and their loss."""
        results: dict[str, Json] = {}
        for split, forecast in forecasts.items():
            truth = self.samples(split).truth()
            errors = forecast - truth
            scaled = errors / self.preparation.target_std
            results[split] = {
                "loss": float(LOSS_FUNCTIONS[self.settings.loss](scaled).mean()),
                **self._measured(errors, truth),
            }
        return results

    # What people and files are given

    def describe(self) -> dict[str, Json]:
        """The `dataset` part of `metrics.json`."""
        leads = [
            {"rows": rows, "hours": rows * self.record.period / 3600}
            for rows in self.settings.leads
        ]
        target: dict[str, Json]
        if self._single:
            target = {"target": {"column": self._target_columns[0], "as": self.settings.target}}
            target |= {"unit": self._units[0], "lead": leads[0]}
        else:
            target = {"targets": self._target_columns, "as": self.settings.target}
            target |= {"units": self._units, "leads": leads}
        return {
            "name": self.name,
            "source": self.record.source,
            "fingerprint": self.record.fingerprint,
            "rows": self.record.rows_read,
            "columns": list(self.record.columns),
            "windows": {split: len(self.samples(split)) for split in SPLITS},
            **target,
            "notes": list(self.record.notes),
        }

    def summary(self) -> list[str]:
        """The targets and horizons."""
        rows = ", ".join(map(str, self.settings.leads))
        return [f"target   {', '.join(self._target_columns)}, {self.subject} ({rows} rows)"]

    def draw(self, folder: Path, split: Split, predicted: Predicted, title: str) -> None:
        """Write `forecast.png`."""
        samples = self.samples(split)
        forecast = samples.in_own_unit(predicted.predictions.astype(np.float64))
        rows = np.stack(
            [samples.target_rows(lead) for lead in range(len(self.settings.leads))], axis=1
        )
        draw_forecast(
            folder,
            Stretches(
                times=self.record.times[rows],
                truth=samples.truth(),
                forecast=forecast,
                persistence=samples.persistence(),
                columns=self._target_columns,
                hours=[lead * self.record.period / 3600 for lead in self.settings.leads],
                period=self.record.period,
            ),
            title,
        )


def _huber(scaled: np.ndarray) -> np.ndarray:
    from scipy.special import huber

    return np.asarray(huber(1.0, scaled))


# Of scaled errors, as Keras computes them for the model.
LOSS_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean_absolute_error": np.abs,
    "mean_squared_error": np.square,
    "huber": _huber,
}


def _learn(
    record: Record, settings: ForecastingSettings, bounds: tuple[int, int]
) -> SeriesPreparation:
    first, stop = bounds
    return SeriesPreparation.learn(
        (record.values[n : min(n + BLOCK_ROWS, stop)] for n in range(first, stop, BLOCK_ROWS)),
        columns=record.columns,
        targets=tuple(record.columns[index] for index in record.targets),
        period=record.period,
        leads=len(settings.leads),
    )


def _naive_mae(training: WindowSamples) -> np.ndarray:
    """Mean absolute error of persistence over the training windows, `(leads, targets)`."""
    return np.asarray(np.abs(training.persistence() - training.truth()).mean(axis=0))


def _anchors(
    record: Record, settings: ForecastingSettings, bounds: Bounds, needed: Sequence[Split]
) -> dict[Split, np.ndarray]:
    """The anchor rows of each split.

    Raises:
        ConfigError: if a split that is needed has none.
    """
    furthest = max(settings.delays)
    anchors = {
        split: anchor_rows(record.segments, *bounds[split], settings.lookback, furthest)
        for split in SPLITS
    }
    rows = settings.lookback + furthest + 1
    problems = [
        Problem(
            "lookback",
            f"a window needs {rows} rows in a row without a gap (lookback={settings.lookback} + "
            f"delay={furthest} + 1); the {split} split has {bounds[split][1] - bounds[split][0]} rows and no such "
            "run. Use a shorter `lookback` or another `split`",
        )
        for split in needed
        if not len(anchors[split])
    ]
    if problems:
        raise ConfigError(problems)
    return anchors


def _read_preparation(
    record: Record, settings: ForecastingSettings, stored: StoredPreparation
) -> SeriesPreparation:
    """The preparation of a trained model.

    Raises:
        DataError: naming what differs, if the model cannot be fed with the record.
    """
    preparation = SeriesPreparation.from_json(stored)
    absent = [name for name in preparation.columns if name not in record.columns]
    if absent:
        raise DataError(
            f"the data has no column `{'`, `'.join(absent)}`, which the run was trained on; "
            f"its columns are {', '.join(record.columns)}"
        )
    if record.columns != preparation.columns:
        raise DataError(
            f"the columns must be those the run was trained on, {', '.join(preparation.columns)}; "
            f"received {', '.join(record.columns)}"
        )
    if record.period != preparation.period:
        raise DataError(
            f"the rows are {record.period} s apart; the run was trained on rows {preparation.period} s apart"
        )
    targets = tuple(record.columns[index] for index in record.targets)
    leads = len(settings.leads)
    if preparation.targets != targets or len(preparation.naive_mae) != leads:
        raise stored.refused(
            f"it is of {', '.join(preparation.targets)} at {len(preparation.naive_mae)} leads, the configuration "
            f"of {', '.join(targets)} at {leads}"
        )
    return preparation


def _refuse_unscalable(record: Record, preparation: SeriesPreparation, rows: np.ndarray) -> None:
    """Refuse a column with numbers that the others cannot be compared with: the loss would be no number.

    Raises:
        DataError: naming the first one.
    """
    usable = np.isfinite(rows).all(axis=0) & np.isfinite(preparation.std)
    wrong = np.flatnonzero(~usable)
    if len(wrong):
        values = record.values[:, wrong[0]]
        raise DataError(
            f"column `{record.columns[wrong[0]]}` cannot be scaled: its values lie between {values.min():g} and "
            f"{values.max():g}. Is there a sentinel for a missing value among them?"
        )
