"""From a record of measurements to a forecasting task: split, learn the scaling, cut into windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from seqconv.config.errors import ConfigError, Problem
from seqconv.data.records import Measurements, Record, some_columns
from seqconv.tasks.contract import (
    SPLITS,
    Split,
    StoredPreparation,
)
from seqconv.tasks.forecasting.intervals import LOWER, UPPER, quantile_ending
from seqconv.tasks.forecasting.preparation import SeriesPreparation
from seqconv.tasks.forecasting.samples import WindowSamples
from seqconv.tasks.forecasting.scaling import (
    chosen_features,
    learn_scaling,
    read_preparation,
    scaled_rows,
    scaling_starts,
    segment_starts,
)
from seqconv.tasks.forecasting.settings import ForecastingSettings, Windows
from seqconv.tasks.forecasting.split import Bounds, all_for_test, split_bounds
from seqconv.tasks.forecasting.task import Forecasting
from seqconv.tasks.forecasting.windows import Anchors, anchor_runs


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
    read = None if stored is None else read_preparation(record, settings, stored)
    windows = settings.windows(record.period)
    if read is not None:
        # Other data may have more columns, in another order.
        record = record.with_columns(read.columns, read.targets, read.shown)
    folds, fold = settings.folds or 1, settings.fold or 1
    bounds = split_bounds(record, settings.split, folds, fold) if own else all_for_test(record)
    anchors = _anchors(record, settings, windows, bounds, SPLITS if own else ("test",))
    features = chosen_features(record, settings, windows)
    breaks = segment_starts(record, bounds)
    if read is None:
        _refuse_equal_names(record, settings)
    preparation = learn_scaling(record, features, breaks, windows, bounds) if read is None else read
    array = scaled_rows(record, features, breaks, preparation)
    starts = scaling_starts(record, preparation)
    samples: dict[Split, WindowSamples] = {
        split: WindowSamples(
            anchors=anchors[split],
            array=array,
            values=record.values,
            targets=record.targets,
            windows=windows,
            target=settings.target,
            preparation=preparation,
            starts=starts,
        )
        for split in SPLITS
    }
    if stored is None:
        preparation = replace(
            preparation,
            naive_mae=_naive_mae(samples["train"]),
            known_until=_known_until(record, bounds),
        )
        absent = [
            note
            for split in SPLITS
            for note in series_without(record, windows, anchors[split].runs, f"{split} window")
        ]
        record = replace(record, notes=(*record.notes, *absent))
    if not own:
        record = replace(record, notes=(*record.notes, *_rows_known(record, preparation)))
    return Forecasting(name, record, settings, windows, preparation, samples, own)


def series_without(
    record: Record, windows: Windows, runs: Sequence[tuple[int, int]], kind: str
) -> Iterator[str]:
    """A note of the series that have no window.

    Args:
        record: cleaned.
        windows: of the record.
        runs: of anchors, `(first, stop)` each.
        kind: of windows.
    """
    if len(record.series) > 1:
        anchors = np.array([first for first, after in runs if after > first], np.int64)
        found = set(record.series_of(anchors - windows.step).tolist())
        absent = [name for number, name in enumerate(record.series_names) if number not in found]
        if absent:
            yield f"no {kind} for {len(absent)} of {len(record.series)} series: {', '.join(absent[:20])}"


def _known_until(record: Record, bounds: Bounds) -> str | None:
    """Time of the last row of the training and validation splits, ISO 8601."""
    if not record.stamped:
        return None
    return str(max(record.times[stop - 1] for _, stop in bounds["validation"]))


def _rows_known(record: Record, preparation: SeriesPreparation) -> Iterator[str]:
    """A note where a record that is to be all test may have rows that the run was trained or validated on."""
    until = preparation.known_until
    if until is None or not record.stamped:
        return
    known = int((record.times <= np.datetime64(until)).sum())
    if known:
        yield (
            f"{known:,} of {len(record.times):,} rows are of {until.replace('T', ' ')} or before, up to which the run "
            "was trained and validated: if it has seen them, these results are better than those of new data; leave "
            "them out"
        )


def _refuse_equal_names(record: Record, settings: ForecastingSettings) -> None:
    """Check that no target is named as the quantiles or intervals of another will be by `predict`.

    Raises:
        ConfigError: if one is.
    """
    endings = [quantile_ending(level) for level in settings.quantiles or ()]
    endings += [LOWER, UPPER] if settings.interval is not None else []
    names = [record.columns[index] for index in record.targets]
    for name in names:
        for ending in endings:
            if name + ending in names:
                rule = (
                    f"forecasts of `{name}` have a column `{name}{ending}`, which is a target, too. Rename it in the "
                    "data, or set `interval` and `quantiles` to null"
                )
                raise ConfigError([Problem("dataset.targets", rule)])


def columns_of_run(source: Measurements, stored: StoredPreparation) -> Measurements:
    """The columns that a run was trained on: others, which new data may have, take no part in its cleaning."""
    preparation = SeriesPreparation.from_json(stored)
    if not set(preparation.columns) <= set(source.columns):
        return source  # `prepare` says what is missing.
    indices = [source.columns.index(name) for name in preparation.columns]
    return replace(
        source,
        columns=preparation.columns,
        values=some_columns(source.values, indices),
        targets=preparation.targets,
        features=preparation.shown,
    )


def _naive_mae(training: WindowSamples) -> np.ndarray:
    """Mean absolute error of persistence over the training windows, `(leads, targets)`."""
    total = np.zeros((len(training.windows.leads), len(training.targets)))
    for part in training.blocks():
        total += np.abs(training.persistence(part) - training.target_values(part)).sum(axis=0)
    return total / max(len(training), 1)


def _anchors(
    record: Record,
    settings: ForecastingSettings,
    windows: Windows,
    bounds: Bounds,
    needed: Sequence[Split],
) -> dict[Split, Anchors]:
    """The anchor rows of each split.

    Raises:
        ConfigError: if a split that is needed has none.
    """
    furthest = windows.delays[-1]
    found: dict[Split, Anchors] = {}
    for split in SPLITS:
        back = settings.split.inputs_may_reach_back and split != "train"
        runs = [
            run
            for first, stop in bounds[split]
            for run in anchor_runs(
                _within(record, first, stop), first, stop, windows, reach_back=back
            )
        ]
        found[split] = Anchors(runs)
    rows = windows.lookback + furthest + 1
    # Other data than that of the run is all test, and nothing of the run can be changed.
    remedy = ". Use a shorter `lookback` or another `split`" if len(needed) > 1 else ""
    problems = [
        Problem(
            "lookback",
            f"a window needs {rows} rows in a row without a gap (lookback={windows.lookback} + "
            f"delay={furthest} + 1); the {split} split has {sum(b - a for a, b in bounds[split])} rows and no such "
            f"run{remedy}",
        )
        for split in needed
        if not len(found[split])
    ]
    if problems:
        raise ConfigError(problems)
    return found


def _within(record: Record, first: int, stop: int) -> list[tuple[int, int]]:
    """The segments that have rows of a split."""
    return [(a, b) for a, b in record.segments if a < stop and b > first]
