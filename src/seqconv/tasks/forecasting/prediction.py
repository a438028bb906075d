"""Forecasts of a finished run from new measurements, whose future need not be known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from seqconv.config.errors import ConfigError, DataError
from seqconv.data.cleaning import clean
from seqconv.data.measurements import Table, expand, read_frame, read_table
from seqconv.data.readers import Reading
from seqconv.data.records import Measurements, Record, chosen_columns, runs_of
from seqconv.tasks.contract import (
    LEAST_STD,
    InputData,
    Scaling,
    SequenceSpec,
    Serving,
    StoredPreparation,
)
from seqconv.tasks.forecasting.inputs import choose_features
from seqconv.tasks.forecasting.intervals import (
    LOWER,
    UPPER,
    interval_ends,
    point_forecast,
    quantile_ending,
    widths,
)
from seqconv.tasks.forecasting.preparation import SeriesPreparation, series_spec
from seqconv.tasks.forecasting.prepare import series_without
from seqconv.tasks.forecasting.samples import WindowSamples
from seqconv.tasks.forecasting.scaling import (
    apart,
    chosen_features,
    scaled_rows,
    scaling_starts,
    segment_starts,
)
from seqconv.tasks.forecasting.settings import ForecastingSettings, Windows
from seqconv.tasks.forecasting.windows import Anchors

ORIGIN, TIME = "forecast_origin", "forecast_time"
# Share of a period that the median step of rows to be resampled may be off.
JITTER = 0.1


@dataclass(frozen=True)
class UnknownTargets:
    """Windows whose targets need not be known, as samples of a model.

    Attributes:
        windows: whose inputs are used.
        positions: which of them.
    """

    windows: WindowSamples
    positions: np.ndarray

    # A series has no padding.
    lengths = None

    def __len__(self) -> int:
        return len(self.positions)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `(n, time, features)`, and zeros `(n, leads, columns)`."""
        targets = len(self.windows.preparation.targets)
        shape = (len(indices), len(self.windows.windows.leads), targets)
        return self.windows.inputs(self.positions[indices]), np.zeros(shape, np.float32)


@dataclass(frozen=True)
class SeriesInputs:
    """Every window of a record, see `seqconv.tasks.contract.Inputs`.

    Attributes:
        record: cleaned.
        windows: of the record; the last one ends with its newest row.
        spec: shapes of a window and of its forecasts.
        quantiles: levels of the forecasts.
    """

    record: Record
    windows: WindowSamples
    spec: SequenceSpec
    quantiles: tuple[float, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading and cleaning did."""
        return self.record.notes

    @property
    def ids(self) -> np.ndarray:
        """The row of the source that each window ends with."""
        return self.record.source_rows[self._newest(slice(None))]

    def _newest(self, part: slice) -> np.ndarray:
        return np.asarray(self.windows.anchors[part] - self.windows.windows.step)

    def _ends(self, rows: np.ndarray) -> np.ndarray:
        """The row behind the segment that each row is in."""
        stops = np.array([stop for _, stop in self.record.segments])
        return np.asarray(stops[np.searchsorted(stops, rows, side="right")])

    def __len__(self) -> int:
        return len(self.windows)

    def samples(self, part: slice) -> UnknownTargets:
        """Some of the windows."""
        return UnknownTargets(self.windows, np.arange(len(self))[part])

    def uncalibrated(self) -> SeriesInputs:
        """The same without prediction intervals, whose margins are those of one model."""
        preparation = replace(self.windows.preparation, margins=None)
        return replace(self, windows=replace(self.windows, preparation=preparation))

    def array(self, predictions: np.ndarray, part: slice) -> np.ndarray:
        """Point forecasts `(windows, leads, columns)` float64, each column in its own unit."""
        return self.windows.in_own_unit(point_forecast(predictions, self.quantiles), part)

    def table(self, predictions: np.ndarray, part: slice) -> dict[str, np.ndarray]:
        """A row for each window and lead: origin (the newest input row), time of the target, and the forecasts.

        For rows without time stamps both are numbers of rows, from 0, of each series by itself. Several series have a
        column for their names.
        Behind each target are its quantiles, and the ends of its prediction interval.
        """
        leads = np.array(self.windows.windows.leads)
        newest = self._newest(part)
        period = self.record.period
        if self.record.stamped and period is not None:
            # Milliseconds are what frames have at the least.
            origins = self.record.times[newest].astype("datetime64[ms]")
            times = origins[:, None] + (leads * period).astype("timedelta64[s]")
            # Of rows that are there their own: with cleaning.irregular=keep these are not always a period apart.
            rows = newest[:, None] + leads
            there = rows < self._ends(newest)[:, None]
            times[there] = self.record.times[rows[there]].astype("datetime64[ms]")
        else:
            starts = np.array(self.record.series_starts)[self.record.series_of(newest)]
            origins = self.record.source_rows[newest] - starts
            times = origins[:, None] + leads
        found: dict[str, np.ndarray] = {}
        series = self.windows.preparation.reading.series
        if series is not None:
            names = np.array(self.record.series_names)[self.record.series_of(newest)]
            found[series] = np.repeat(names, len(leads))
        found[ORIGIN] = np.repeat(origins, len(leads))
        found[TIME] = times.reshape(-1)
        forecasts = self._forecasts(predictions, part)
        for index, name in enumerate(self.windows.preparation.targets):
            for ending, values in forecasts.items():
                found[name + ending] = values[:, :, index].reshape(-1)
        return found

    def _forecasts(self, predictions: np.ndarray, part: slice) -> dict[str, np.ndarray]:
        """All there is of a forecast, `(windows, leads, columns)` each, by what is added to the target's name."""
        found = {"": self.array(predictions, part)}
        for index, level in enumerate(self.quantiles):
            found[quantile_ending(level)] = self.windows.in_own_unit(predictions[..., index], part)
        margins = self.windows.preparation.margins
        if margins is not None:
            margin = widths(margins, self.windows, part)
            low, high = interval_ends(predictions, self.quantiles, margin)
            found[LOWER] = self.windows.in_own_unit(low, part)
            found[UPPER] = self.windows.in_own_unit(high, part)
        return found


def read_inputs(
    data: InputData, settings: ForecastingSettings, stored: StoredPreparation, *, newest: bool
) -> SeriesInputs:
    """Every window of new measurements.

    Args:
        data: a file (or a pattern with `*`), a frame, or an array `(rows, columns)` of the columns that the model sees,
            whose rows are as far apart as those the run was trained on.
        settings: of the run.
        stored: its preparation.
        newest: whether only the newest window of each series is wanted.

    Raises:
        DataError: if the data cannot be read, lacks a column, has rows of another distance, or no whole window.
    """
    preparation = SeriesPreparation.from_json(stored)
    # Forecasts that are measured from the newest value, or by the window, need the target's past; else its column may
    # be absent unless the model sees it.
    shown = preparation.columns[: preparation.shown]
    columns = shown if settings.target == "value" else preparation.columns
    record = clean(
        read_measurements(data, settings, preparation, columns),
        settings.cleaning,
    )
    if record.period is None and isinstance(data, np.ndarray):
        record = replace(record, period=preparation.period)
    if record.period != preparation.period:
        raise DataError(
            f"{_origin(data)}: its rows are {apart(record.period)}; the run was trained on rows "
            f"{apart(preparation.period)}"
        )
    preparation = preparation.for_series(record.series_names)
    windows = settings.windows(preparation.period)
    features = chosen_features(record, settings, windows)
    if isinstance(data, np.ndarray) and record.kept is not None:
        # Whoever counts its windows would take forecasts for those of other rows.
        raise DataError(
            f"the array: rows with missing values would be left out ({'; '.join(record.notes)}). Give a frame, whose "
            "forecasts say which row they are made from"
        )
    breaks = segment_starts(record, {})
    runs = list(_runs(record, windows, newest=newest))
    anchors = Anchors(runs)
    if not len(anchors):
        raise _no_window(_origin(data), record, windows, newest=newest)
    notes = [*record.notes, *series_without(record, windows, runs, "window")]
    if settings.cleaning.irregular == "keep":
        notes += _guessed_times(record)
    if settings.interval is not None and preparation.margins is None:
        notes += [
            "no prediction intervals: the run learns them from its validation split when it ends"
        ]
    record = replace(record, notes=tuple(notes))
    return SeriesInputs(
        record,
        WindowSamples(
            anchors=anchors,
            array=scaled_rows(
                record,
                features,
                breaks,
                preparation.of_inputs() if columns == shown else preparation,
            ),
            values=record.values,
            targets=record.targets,
            windows=windows,
            target=settings.target,
            preparation=preparation,
            starts=scaling_starts(record, preparation),
        ),
        series_spec(settings, windows, preparation),
        settings.quantiles or (),
    )


def read_measurements(
    data: InputData,
    settings: ForecastingSettings,
    preparation: SeriesPreparation,
    columns: tuple[str, ...],
) -> Measurements:
    """New measurements, read as those of a run were: by the column and format of stamps and the period found then.

    Args:
        data: as for `read_inputs`.
        settings: of the run.
        preparation: of the run.
        columns: to read.

    Raises:
        DataError: if the data cannot be read, or lacks a column.
    """
    source = chosen_columns(
        _table(data, preparation, columns),
        columns,
        preparation.reading,
        targets=tuple(name for name in preparation.targets if name in columns),
        features=preparation.shown,
        source="file",
        frequency=preparation.frequency,
    )
    return replace(source, frequency=_frequency(source, preparation, settings))


def _frequency(
    source: Measurements, preparation: SeriesPreparation, settings: ForecastingSettings
) -> int | None:
    """Seconds from one row to the next: those of the run, unless more rows are closer together; else found."""
    times, period = source.times, preparation.period
    if source.frequency is None and times is not None and period is not None:
        series = runs_of(source.series, len(times))
        steps = np.concatenate([np.diff(times[start:stop]) for start, stop in series]).astype(int)
        steps = steps[steps > 0]
        if np.count_nonzero(steps == period) > np.count_nonzero(steps < period):
            return period
        # What is to be resampled need not have one step that is just a period.
        jitters = settings.cleaning.irregular == "resample" and len(steps)
        if jitters and abs(np.median(steps) - period) <= JITTER * period:
            return period
    return source.frequency


def _no_window(origin: str, record: Record, windows: Windows, *, newest: bool) -> DataError:
    needed = windows.lookback - windows.step + 1
    ends = {stop for _, stop in record.series}
    segments = [run for run in record.segments if run[1] in ends or not newest]
    longest = max(stop - start for start, stop in segments)
    after = (
        f" after the last gap, before row {record.rows_read}"
        if newest and len(record.segments) > len(record.series)
        else ""
    )
    return DataError(
        f"{origin}: a window needs {needed} rows in a row without a gap (lookback={windows.lookback}, "
        f"step={windows.step}); received at most {longest}{after}, of {record.rows_read} rows"
    )


def _guessed_times(record: Record) -> Iterator[str]:
    """A note where rows that are not there yet have no sure time."""
    if record.stamped and record.period is not None:
        steps = [np.diff(record.times[start:stop]).astype(int) for start, stop in record.segments]
        if any((each != record.period).any() for each in steps):
            yield (
                f"{TIME} behind the last row is counted as if rows went on {apart(record.period)}, which they do not "
                "always (cleaning.irregular=keep)"
            )


def serving(settings: ForecastingSettings, stored: StoredPreparation) -> Serving:
    """Raw windows in, forecasts in the targets' units out.

    The input columns are those that the model sees as they are, then the features made of columns and times, then,
    where forecasts are measured from the newest value or by the window, targets that it does not see. None is scaled.
    """
    preparation = SeriesPreparation.from_json(stored)
    windows = settings.windows(preparation.period)
    features = choose_features(
        preparation.columns,
        preparation.shown,
        settings.inputs,
        windows,
        stamped=preparation.period is not None,
    )
    plain = list(features.plain)
    columns = [*(preparation.columns[index] for index in plain), *features.names]
    relative = settings.target != "value"
    unseen = [name for name in preparation.targets if relative and name not in columns]
    quantiles = settings.quantiles or ()
    return Serving(
        spec=series_spec(settings, windows, preparation),
        columns=(*columns, *unseen),
        scalings=tuple(
            Scaling(
                mean=np.concatenate([preparation.mean[row, plain], preparation.made_mean[row]]),
                std=np.concatenate([preparation.std[row, plain], preparation.made_std[row]]),
                target=settings.target,
                targets=tuple([*columns, *unseen].index(name) for name in preparation.targets)
                if relative
                else (),
                target_mean=preparation.target_mean[row],
                target_std=preparation.target_std[row],
                least_std=LEAST_STD * preparation.target_std[row],
            )
            for row in range(len(preparation.mean))
        ),
        outputs=preparation.targets,
        leads=windows.leads,
        step=windows.step,
        quantiles=quantiles,
        series=preparation.series,
    )


def _table(data: InputData, preparation: SeriesPreparation, columns: tuple[str, ...]) -> Table:
    reading = replace(preparation.reading, columns=columns)
    try:
        return _read(data, reading, columns)
    except ConfigError as error:
        # What is named is the run's, so it is the data that is wrong.
        raise DataError(error.problems[0].message) from error


def _read(data: InputData, reading: Reading, columns: tuple[str, ...]) -> Table:
    if isinstance(data, Path):
        return read_table(expand(str(data)), reading)
    if isinstance(data, np.ndarray):
        if data.ndim != 2 or data.shape[1] != len(columns):
            raise DataError(
                f"the array must be (rows, {len(columns)}), a column for each of {', '.join(columns)}; received "
                f"{data.shape}"
            )
        return Table(
            times=None,
            values=data.astype(np.float32),
            columns=columns,
            series=None,
            series_names=(),
            time_column=None,
            time_format=None,
            fingerprint="",
            notes=(),
        )
    if isinstance(data, (list, tuple)):
        raise DataError("must be a file, a frame or an array of measurements; received a list")
    return read_frame(data, reading)  # type: ignore[arg-type]


def _origin(data: InputData) -> str:
    return str(data) if isinstance(data, Path) else "the data"


def _runs(record: Record, windows: Windows, *, newest: bool) -> Iterator[tuple[int, int]]:
    """Runs of all anchors whose inputs lie in one segment; their targets may lie beyond the record."""
    ends = {stop for _, stop in record.series}
    for start, stop in record.segments:
        first, after = start + windows.lookback, stop + windows.step
        if newest:
            # The newest row of a series is in its last segment.
            first = max(first, after - 1) if stop in ends else after
        yield first, after
