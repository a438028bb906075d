"""The scaling of a record: learnt from its training rows, or read back, and applied to the rows that a model sees."""

from __future__ import annotations

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.records import BLOCK_ROWS, Record
from seqconv.tasks.contract import (
    StoredPreparation,
)
from seqconv.tasks.forecasting.inputs import Features, choose_features
from seqconv.tasks.forecasting.preparation import Moments, SeriesPreparation
from seqconv.tasks.forecasting.settings import ForecastingSettings, Windows
from seqconv.tasks.forecasting.split import Bounds
from seqconv.tasks.forecasting.windows import WindowArray, by_phase


def chosen_features(record: Record, settings: ForecastingSettings, windows: Windows) -> Features:
    """What a model sees of a record, by the settings."""
    return choose_features(
        record.columns,
        record.features,
        settings.inputs,
        windows,
        stamped=record.stamped,
    )


def segment_starts(record: Record, bounds: Bounds) -> np.ndarray:
    """Ascending rows before which nothing is looked at: beginnings of segments and of splits."""
    starts = {start for start, _ in record.segments}
    starts |= {start for parts in bounds.values() for start, _ in parts}
    return np.array(sorted(starts), np.int64)


def learn_scaling(
    record: Record, features: Features, breaks: np.ndarray, windows: Windows, bounds: Bounds
) -> SeriesPreparation:
    """Mean and standard deviation of the training rows, of all or of each series."""
    names = record.series_names if record.scaled_apart else ()
    scalings = [(Moments(), Moments()) for _ in names or ("all",)]
    # The bounds are series by series.
    for number, (first, stop) in enumerate(bounds["train"]):
        moments, made = scalings[number if names else 0]
        for start in range(first, stop, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, stop))
            moments.add(record.values[rows])
            made.add(features.make(record, breaks, rows))
    targets = tuple(record.columns[index] for index in record.targets)
    return SeriesPreparation(
        columns=record.columns,
        shown=record.features,
        targets=targets,
        series=names,
        mean=np.stack([moments.mean for moments, _ in scalings]),
        std=np.stack([moments.std for moments, _ in scalings]),
        made=features.names,
        made_mean=np.stack([made.mean for _, made in scalings]),
        made_std=np.stack([made.std for _, made in scalings]),
        period=record.period,
        naive_mae=np.full((len(windows.leads), len(targets)), np.nan),
        reading=record.reading,
        frequency=record.frequency,
    )


def scaled_rows(
    record: Record, features: Features, breaks: np.ndarray, preparation: SeriesPreparation
) -> WindowArray:
    """What a model sees of a record, ready to be cut into windows.

    Raises:
        DataError: if a column has numbers that the others cannot be compared with: the loss would be no number.
    """
    names = (*(record.columns[n] for n in features.plain), *features.names)
    wrong = [
        name
        for name, std in zip(preparation.columns, preparation.std.T, strict=True)
        if not np.isfinite(std).all()
    ]
    if wrong:
        raise _unscalable(record, wrong[0])

    def make(rows: slice) -> np.ndarray:
        made = features.make(record, breaks, rows)
        scalings = (
            record.series_of(np.arange(rows.start, rows.stop))
            if preparation.series
            else slice(0, 1)
        )
        scaled = preparation.scale(record.values[rows], made, features.plain, scalings)
        usable = np.isfinite(scaled).all(axis=0)
        if not usable.all():
            raise _unscalable(record, names[int(np.flatnonzero(~usable)[0])])
        return scaled

    windows = features.windows
    rows = by_phase((len(record.values), len(names)), windows.step, make, BLOCK_ROWS)
    return WindowArray(rows, windows.lookback, windows.step)


def scaling_starts(record: Record, preparation: SeriesPreparation) -> np.ndarray:
    """The row from which on each scaling holds, `(scalings,)` int64."""
    return np.array([start for start, _ in record.series] if preparation.series else [0], np.int64)


def _unscalable(record: Record, name: str) -> DataError:
    if name not in record.columns:
        return DataError(f"the feature `{name}` cannot be scaled")
    values = record.values[:, record.columns.index(name)]
    return DataError(
        f"column `{name}` cannot be scaled: its values lie between {values.min():g} and "
        f"{values.max():g}. Is there a sentinel for a missing value among them?"
    )


def apart(period: int | None) -> str:
    """How far rows are apart, for messages."""
    return "without time stamps" if period is None else f"{period} s apart"


def read_preparation(
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
    # Before durations are taken for numbers of such rows.
    if record.period != preparation.period:
        raise DataError(
            f"the rows are {apart(record.period)}; the run was trained on rows {apart(preparation.period)}"
        )
    leads = len(settings.windows(record.period).leads)
    if len(preparation.naive_mae) != leads:
        raise stored.refused(
            f"it is of {len(preparation.naive_mae)} leads, the configuration of {leads}"
        )
    return preparation.for_series(record.series_names)
