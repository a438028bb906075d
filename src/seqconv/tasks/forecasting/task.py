"""The forecasting task: what models and baselines are measured by, and what people and files are given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from seqconv.data.records import Record, unit_of
from seqconv.data.scratch import release_pages
from seqconv.tasks.contract import (
    EVALUATED,
    SPLITS,
    BaselineResult,
    Breakdown,
    Json,
    Loss,
    Predicted,
    SampleErrors,
    SequenceSpec,
    Split,
    evenly_spaced,
)
from seqconv.tasks.forecasting import baselines
from seqconv.tasks.forecasting.baselines import Baseline
from seqconv.tasks.forecasting.intervals import (
    IntervalScores,
    QuantileScores,
    Residuals,
    beyond_forecasts,
    interval_ends,
    learnt_margins,
    outer_forecasts,
    point_forecast,
    widths,
)
from seqconv.tasks.forecasting.losses import forecast_loss, summed_loss
from seqconv.tasks.forecasting.plots import Stretches, draw_forecast
from seqconv.tasks.forecasting.preparation import Margins, SeriesPreparation, series_spec
from seqconv.tasks.forecasting.samples import WindowSamples
from seqconv.tasks.forecasting.settings import ForecastingSettings, Windows
from seqconv.tasks.metrics import (
    FORECAST_METRICS,
    LOSS,
    SCALED_METRICS,
    ErrorsByScaling,
    Forecast,
    Metric,
    value_of,
)

# Baselines of more targets times leads than this are reported over all of them together only.
MOST_DETAILS = 500
# Targets times leads that the model's own errors are given of, 30 MB of `metrics.json`; of more some leads.
MOST_PAIRS = 100_000
# Numbers that the margins of intervals are learnt from, 256 MB as float32.
MOST_CALIBRATED = 2**26
# Rows of the table of results by target and lead.
MOST_LINES = 12


@dataclass(frozen=True)
class Forecasting:
    """The forecasting task, see `seqconv.tasks.contract.Task`.

    Attributes:
        name: of the dataset.
        record: cleaned.
        settings: of the configuration.
        windows: lookback, step and leads in rows.
        preparation: scaling, learnt from the training rows.
        splits: the windows of each split.
        trainable: whether there is a training part; else the record is only evaluated on.
    """

    name: str
    record: Record
    settings: ForecastingSettings
    windows: Windows
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
        return series_spec(self.settings, self.windows, self.preparation)

    @property
    def loss(self) -> Loss:
        """What training makes small."""
        return forecast_loss(self.settings, len(self.windows.leads))

    @property
    def _quantiles(self) -> tuple[float, ...]:
        return self.settings.quantiles or ()

    @property
    def _single(self) -> bool:
        """Whether there is one target at one lead: only then a metric is one number in one unit."""
        return self.spec.targets == (1, 1)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The loss, and for one target at one lead all others; else those over all targets and leads."""
        return (LOSS, *(FORECAST_METRICS if self._single else SCALED_METRICS))

    @property
    def primary_metric(self) -> Metric:
        """The mean absolute error; scaled, where targets may have different units."""
        return self.metrics[1]

    @property
    def subject(self) -> str:
        """The horizons."""
        first, last = self.windows.leads[0], self.windows.leads[-1]
        period = self.record.period
        if period is None:
            return f"{first if first == last else f'{first} to {last}'} rows ahead"
        hours = [f"{lead * period / 3600:g}" for lead in (first, last)]
        return f"{hours[0] if first == last else f'{hours[0]} to {hours[1]}'} h ahead"

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

    def with_validation(self, limit: int) -> Forecasting:
        """The same with at most so many validation windows."""
        samples = self.splits["validation"]
        if len(samples) <= limit:
            return self
        anchors = samples.anchors[evenly_spaced(len(samples), limit)]
        return replace(
            self, splits={**self.splits, "validation": replace(samples, anchors=anchors)}
        )

    def augment(self, inputs: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Windows are trained on as they are."""
        return inputs

    # Metrics

    def running_metrics(
        self, predictions: np.ndarray, targets: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Means over samples, for one target at one lead that is scaled by one number."""
        by_one = not self.preparation.series and self.settings.target != "normalized"
        if not (self._single and by_one):
            return {}
        point = point_forecast(predictions, self._quantiles)
        errors = (point - targets).astype(np.float64) * self.preparation.target_std[0]
        return {
            metric.name: metric.of_errors(errors[:, 0, 0])
            for metric in FORECAST_METRICS
            if metric.of_errors is not None
        }

    def measure(self, split: Split, predicted: Predicted) -> dict[str, Json]:
        """The loss, and each metric in the targets' own units."""
        samples = self.samples(split)
        sums = self._no_errors()
        for part in samples.blocks():
            targets = samples.target_values(part)
            errors = self._point_forecast(samples, predicted, part) - targets
            sums.add(errors, targets, samples.scalings(part))
        loss = float(predicted.losses.astype(np.float64).mean())
        return {"loss": loss, **self._measured(sums)}

    def _point_forecast(
        self, samples: WindowSamples, predicted: Predicted, part: slice
    ) -> np.ndarray:
        """Forecasts of some samples, `(samples, leads, columns)` float64 in the targets' own units."""
        return samples.in_own_unit(
            point_forecast(predicted.predictions[part], self._quantiles), part
        )

    def details(self, predicted: Predicted) -> dict[str, Json]:
        """How good quantiles and prediction intervals are, in the unit of the primary metric."""
        samples = self.samples("test")
        quantiles, interval = QuantileScores(self._quantiles), self._interval_scores()
        for part in samples.blocks():
            unit = self._primary_unit(samples, part)
            targets = samples.target_values(part) / unit
            predictions = predicted.predictions[part]
            if self._quantiles:
                values = samples.in_own_unit(predictions, part) / unit[..., None]
                quantiles.add(values, targets)
            if interval is not None:
                low, high = self._interval(samples, predictions, part)
                interval.add(low / unit, high / unit, targets)
        found = {"quantiles": quantiles.to_json()} if self._quantiles else {}
        return found if interval is None else {**found, "interval": interval.to_json()}

    def detail_names(self, split: Split) -> Iterator[str]:
        """Of several targets or leads the metrics of each; of the test those of quantiles and intervals, too."""
        if split == "train":
            return
        if not self._single:
            for column, lead, metric in itertools.product(
                self._target_columns, self._detailed_leads, FORECAST_METRICS
            ):
                yield f"targets.{column}.{self.windows.leads[lead]}.{metric.name}"
        if split == "test" and self._quantiles:
            yield "quantiles.crps"
            for kind, level in itertools.product(("below", "pinball"), self._quantiles):
                yield f"quantiles.{kind}.{level:g}"
        if split == "test" and self.settings.interval is not None:
            yield from (f"interval.{name}" for name in ("level", "coverage", "width", "winkler"))

    @property
    def _detailed_leads(self) -> np.ndarray:
        """Numbers of the leads whose errors are given for each target."""
        count = len(self.windows.leads)
        return evenly_spaced(count, min(count, max(1, MOST_PAIRS // len(self._target_columns))))

    def _interval_scores(self) -> IntervalScores | None:
        level = self.settings.interval
        known = level is not None and self.preparation.margins is not None
        return IntervalScores(level) if known and level is not None else None

    def _interval(
        self,
        samples: WindowSamples,
        predictions: np.ndarray,
        part: slice,
        leads: slice = slice(None),
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ends of prediction intervals, `(samples, leads, columns)` float64 in the targets' own units."""
        margins = self.preparation.margins
        if margins is None:
            raise ValueError("no intervals without margins")
        margin = widths(margins, samples, part, leads)
        low, high = interval_ends(predictions[:, leads], self._quantiles, margin)
        return samples.in_own_unit(low, part), samples.in_own_unit(high, part)

    def calibrated(self, predicted: Predicted) -> Forecasting:
        """The same with the margins of prediction intervals, where they are wanted."""
        level = self.settings.interval
        if level is None:
            return self
        chosen = self._calibration_windows()
        low, high = outer_forecasts(predicted.predictions[chosen], self._quantiles)
        beyond = beyond_forecasts(low, high, predicted.targets[chosen])
        margins = learnt_margins(beyond, self._spread, level)
        return replace(self, preparation=replace(self.preparation, margins=margins))

    def uncalibrated(self) -> Forecasting:
        """The same without margins: there are no prediction intervals then."""
        return replace(self, preparation=replace(self.preparation, margins=None))

    def _calibration_windows(self) -> np.ndarray:
        """Numbers of the validation windows that margins are learnt from."""
        count = len(self.samples("validation"))
        most = max(1, MOST_CALIBRATED // math.prod(self.spec.targets))
        return evenly_spaced(count, min(count, most))

    @cached_property
    def _spread(self) -> np.ndarray | None:
        """How much those windows vary, where that can say how sure a forecast is; alike for the model and baselines."""
        samples = self.samples("validation")
        return samples.spread(self._calibration_windows()) if samples.has_spread() else None

    def ids(self, split: Split) -> np.ndarray:
        """The row of each window's nearest target in the source: another run may have left out other rows."""
        return np.asarray(self.record.source_rows[self.samples(split).target_rows()[:, 0]])

    def sample_errors(self, predicted: Predicted) -> SampleErrors:
        """Mean absolute errors; a day's windows are not independent."""
        samples = self.samples("test")
        errors = np.empty(len(samples))
        for part in samples.blocks():
            found = self._point_forecast(samples, predicted, part) - samples.target_values(part)
            errors[part] = self._primary_errors(samples, found, part)
        rows = samples.target_rows()[:, 0]
        block = max(self.windows.leads[-1], baselines.rows_per_day(self.record.period), 1)
        return SampleErrors(self.ids("test"), errors, block, self._periods(rows))

    def _periods(self, rows: np.ndarray) -> np.ndarray:
        """When rows were measured, the same number for those of all series in one period."""
        seconds = self.record.times[rows].astype("datetime64[s]").astype(np.int64)
        # Without stamps they are numbers of rows.
        period = round(self.record.period or 1) if self.record.stamped else 1
        return np.asarray(seconds // max(1, period))

    def _primary_errors(
        self, samples: WindowSamples, errors: np.ndarray, part: slice
    ) -> np.ndarray:
        """Errors `(samples, leads, columns)` as one number for each sample, whose mean is the primary metric."""
        return np.asarray(np.abs(errors / self._primary_unit(samples, part)).mean(axis=(1, 2)))

    def _primary_unit(self, samples: WindowSamples, part: slice) -> np.ndarray:
        """What the primary metric is measured in: the target's own unit if there is one, else standard deviations."""
        return np.ones((1, 1, 1)) if self._single else samples.target_std(part)

    def _no_errors(self) -> ErrorsByScaling:
        return ErrorsByScaling(self.spec.targets, len(self.preparation.mean))  # type: ignore[arg-type]

    def _measured(self, sums: ErrorsByScaling, *, detailed: bool = True) -> dict[str, Json]:
        """By metric; with several targets or leads under `targets`, by column and rows of lead.

        Args:
            sums: of the errors in the targets' own units.
            detailed: whether to give each target and lead, of more than `MOST_PAIRS` some leads.
        """
        forecast = Forecast(sums.all, self.preparation.naive_mae)
        found = {metric.name: metric(forecast) for metric in FORECAST_METRICS}
        if self._single:
            return {name: float(values[0, 0]) for name, values in found.items()}
        absolute, squared = sums.scaled(self.preparation.target_std)
        results: dict[str, Json] = {"scaled": {"mae": absolute, "mse": squared}}
        if detailed:
            results["targets"] = {
                column: {
                    str(self.windows.leads[lead]): {
                        name: float(values[lead, index]) for name, values in found.items()
                    }
                    for lead in self._detailed_leads
                }
                for index, column in enumerate(self._target_columns)
            }
        return results

    # Baselines

    def baseline_names(self, *, slow: bool) -> tuple[str, ...]:
        """As in `baselines`."""
        names = ["persistence"]
        day = baselines.rows_per_day(self.record.period)
        if baselines.seasonal_naive(self.samples("test"), day) is not None:
            names.append("seasonal_naive")
        if self.trainable and (slow or len(self.windows.leads) == 1):
            names.append("ridge")
        return tuple(names)

    def baselines(self, *, slow: bool) -> dict[str, BaselineResult]:
        """Persistence, the same hour of the newest known day, and a ridge regression where there is a training part.

        Args:
            slow: also the ridge regression of several leads, which takes a minute where they are many.
        """
        with baselines.one_order_of_sums():
            results = self._baselines(slow=slow)
        # The regressions and the training have read all of it; from here on little of it is needed.
        release_pages(self.record.values)
        return results

    def _baselines(self, *, slow: bool) -> dict[str, BaselineResult]:
        day = baselines.rows_per_day(self.record.period)
        results = {"persistence": self._judged(baselines.Persistence())}
        seasonal = baselines.seasonal_naive(self.samples("test"), day)
        if seasonal is not None:
            days = max(seasonal.points) // day
            judged = self._judged(seasonal)
            results["seasonal_naive"] = replace(judged, metrics={"days": days, **judged.metrics})
        if "ridge" in self.baseline_names(slow=slow):
            results["ridge"] = self._judged(self._ridge(day))
        return results

    def _ridge(self, day: int) -> Baseline:
        """For several leads the closed form over the whole window, else a regression on a few of its points."""
        if len(self.windows.leads) == 1:
            return baselines.EndsRidge(self.samples("train"), day)
        settings = {
            "fingerprint": self.fingerprint,
            "windows": asdict(self.windows),
            "preparation": replace(self.preparation, margins=None).to_json(),
            "split": asdict(self.settings.split),
            "cleaning": asdict(self.settings.cleaning),
            "validation": len(self.samples("validation")),
            "folds": [self.settings.folds, self.settings.fold],
        }
        return baselines.ColumnRidge(self.samples("train"), self.samples("validation"), settings)

    def _judged(self, baseline: Baseline) -> BaselineResult:
        """The metrics of a baseline in the targets' own units, its loss, and how good its intervals are."""
        level = self.settings.interval
        if level is None or not self.trainable:
            found = {
                split: self._scored(baseline, split)
                for split in (EVALUATED if self.trainable else ("test",))
            }
            metrics: dict[str, Json] = {split: values for split, (values, _) in found.items()}
            return BaselineResult(metrics, found["test"][1])
        residuals = Residuals(self._calibration_windows(), self._spread, self.spec.targets)
        validation, _ = self._scored(baseline, "validation", residuals.add)
        scores = IntervalScores(level)
        score = partial(self._score_interval, scores, residuals.margins(level))
        test, errors = self._scored(baseline, "test", score)
        metrics = {"validation": validation, "test": {**test, "interval": scores.to_json()}}
        return BaselineResult(metrics, errors)

    def _scored(
        self,
        baseline: Baseline,
        split: Split,
        each: Callable[[WindowSamples, slice, np.ndarray, np.ndarray], None] | None = None,
    ) -> tuple[dict[str, Json], np.ndarray]:
        """Metrics and loss of a baseline on a split, and the error of each sample.

        Args:
            baseline: to judge.
            split: whose windows it forecasts, once.
            each: is given each block as well: samples, which of them, their forecasts and their targets.
        """
        samples = self.samples(split)
        sums, loss = self._no_errors(), 0.0
        sample_errors = np.empty(len(samples))
        for part in samples.blocks():
            targets, forecast = samples.target_values(part), baseline.forecast(samples, part)
            errors = forecast - targets
            sums.add(errors, targets, samples.scalings(part))
            loss += summed_loss(self.loss, samples.in_trained_scale(errors, part))
            sample_errors[part] = self._primary_errors(samples, errors, part)
            if each is not None:
                each(samples, part, forecast, targets)
        numbers = sums.all.absolute.size
        measured = self._measured(sums, detailed=numbers <= MOST_DETAILS)
        return {"loss": loss / (sums.all.count * numbers), **measured}, sample_errors

    def _score_interval(
        self,
        scores: IntervalScores,
        margins: Margins,
        samples: WindowSamples,
        part: slice,
        forecast: np.ndarray,
        targets: np.ndarray,
    ) -> None:
        """Count the intervals of a block, whose forecasts are widened by margins."""
        unit, scaled = self._primary_unit(samples, part), samples.in_trained_unit(forecast, part)
        ends = interval_ends(scaled, (), widths(margins, samples, part))
        low, high = (samples.in_own_unit(end, part) for end in ends)
        scores.add(low / unit, high / unit, targets / unit)

    # What people and files are given

    def describe(self) -> dict[str, Json]:
        """The `dataset` part of `metrics.json`."""
        period = self.record.period
        leads = [
            {"rows": rows, "hours": None if period is None else rows * period / 3600}
            for rows in self.windows.leads
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
            "features": list(self.preparation.made),
            "series": list(self.record.series_names),
            "period_seconds": period,
            "lookback": {"rows": self.windows.lookback, "step": self.windows.step},
            "cleaning": asdict(self.record.counts),
            "windows": {split: len(self.samples(split)) for split in SPLITS},
            **target,
            "notes": list(self.record.notes),
        }

    def summary(self) -> list[str]:
        """The targets and horizons."""
        leads = self.windows.leads
        rows = ", ".join(map(str, leads)) if len(leads) < 10 else f"{leads[0]} to {leads[-1]}"
        names = self._target_columns
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        lines = [f"target   {shown}, {self.subject} ({rows} rows)"]
        if self.preparation.made:
            lines.append(f"features {', '.join(self.preparation.made)}")
        return lines

    def breakdown(
        self, model: str, test: Mapping[str, Json], baselines: Mapping[str, Mapping[str, Json]]
    ) -> Breakdown | None:
        """The mean absolute error of each target at each lead, or at those that `MOST_LINES` leave room for."""
        if "targets" not in test:
            return None
        columns = self._target_columns[:MOST_LINES]
        count = max(1, MOST_LINES // len(columns))
        leads = list(test["targets"][columns[0]])
        if len(leads) > count:
            leads = [leads[number] for number in evenly_spaced(len(leads), count)]
        judged = {
            name.replace("_", " "): values["test"]["targets"]
            for name, values in baselines.items()
            if "targets" in values["test"]
        } | {model: test["targets"]}
        rows = [
            [
                column,
                lead,
                *(f"{values[column][lead]['mae']:.4g}" for values in judged.values()),
                unit_of(column),
            ]
            for column in columns
            for lead in leads
        ]
        return Breakdown(
            "mean absolute error on the test windows",
            ["target", "lead (rows)", *judged, "unit"],
            rows,
        )

    def remarks(
        self, test: Mapping[str, Json], baselines: Mapping[str, Mapping[str, Json]]
    ) -> list[str]:
        """How wide prediction intervals are, and how much they hold."""
        interval = test.get("interval")
        if interval is None:
            return []
        metric = self.primary_metric
        unit = self.unit_of(metric) if metric.in_target_unit else "standard deviations"
        wide = f"{interval['width']:.3g} {unit}".rstrip()  # a column need not have a unit
        persistence = value_of(baselines, "persistence.test.interval.width")
        beside = "" if persistence is None else f" (persistence {persistence:.3g})"
        return [
            f"{interval['level']:.0%} intervals hold {interval['coverage']:.1%} of the test targets and are "
            f"{wide} wide{beside}"
        ]

    def draw(self, folder: Path, predicted: Predicted, title: str) -> None:
        """Write `forecast.png`."""
        samples = self.samples("test")
        last = slice(-1, None)
        shape = (len(samples), len(self.record.targets))
        targets, forecast, persistence, low, high = (np.empty(shape) for _ in range(5))
        with_interval = self._interval_scores() is not None
        sums = {"persistence": np.zeros(self.spec.targets), "forecast": np.zeros(self.spec.targets)}
        rows = np.empty(len(samples), np.int64)
        for part in samples.blocks():
            all_targets, now = samples.target_values(part), samples.persistence(part)
            found = self._point_forecast(samples, predicted, part)
            targets[part] = all_targets[:, last][:, 0]
            forecast[part], persistence[part] = found[:, last][:, 0], now[:, last][:, 0]
            sums["forecast"] += np.abs(found - all_targets).sum(axis=0)
            sums["persistence"] += np.abs(now - all_targets).sum(axis=0)
            rows[part] = samples.target_rows(part)[:, -1]
            if with_interval:
                ends = self._interval(samples, predicted.predictions[part], part, last)
                low[part], high[part] = (end[:, 0] for end in ends)
        draw_forecast(
            folder,
            Stretches(
                times=self.record.times[rows],
                targets=targets,
                forecast=forecast,
                persistence=persistence,
                interval=(low, high) if with_interval else None,
                level=self.settings.interval or 0.0,
                errors={name: total / len(samples) for name, total in sums.items()},
                columns=self._target_columns,
                leads=self.windows.leads,
                period=self.record.period if self.record.stamped else None,
            ),
            title,
        )
