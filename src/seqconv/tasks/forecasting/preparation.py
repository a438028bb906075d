"""What forecasting learns from the training rows: how columns are scaled, and the error of the naive forecast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from pydantic import NaiveDatetime, Strict

from seqconv.config.errors import DataError
from seqconv.config.fields import STRICT, Count, PositiveFloat
from seqconv.data.readers import Reading
from seqconv.tasks.contract import Json, Origin, SequenceSpec, StoredPreparation
from seqconv.tasks.forecasting.settings import ForecastingSettings, Target, Windows


@dataclass(frozen=True)
class Margins:
    """What forecasts are widened by on both sides to hold their targets.

    Attributes:
        values: `(leads, targets)` float64.
        floor: None: values are in the units trained on. Else they are multiplied, for each window and target, by
            `sqrt(deviation ** 2 + floor ** 2)`, where the deviation is that of the target's input rows.
    """

    values: np.ndarray
    floor: float | None


@dataclass(frozen=True, kw_only=True)
class SeriesPreparation:
    """Means and standard deviations of the training rows.

    Attributes:
        columns: names of the record's columns; those a model sees come first.
        shown: how many of them a model sees.
        targets: names of the columns to predict.
        series: names of the series that are scaled apart, in the order of the scalings; empty: there is one for all.
        mean: `(scalings, columns)` float64, in each column's unit.
        std: `(scalings, columns)` float64, in each column's unit; 1 for a column that never changes.
        made: names of the features made from columns and times.
        made_mean: `(scalings, made)` float64.
        made_std: `(scalings, made)` float64, as `std`.
        period: seconds from one row to the next; None for rows without times.
        naive_mae: `(leads, targets)` float64, mean absolute error of persistence over the training windows.
        reading: how files of the record's form are read.
        frequency: seconds from one row to the next, where the settings say so.
        margins: of prediction intervals, learnt from the validation windows. None before that, or where there are none.
        known_until: ISO 8601, time of the last row of the training and validation splits; None for rows without times.
    """

    columns: tuple[str, ...]
    shown: int
    targets: tuple[str, ...]
    series: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    made: tuple[str, ...]
    made_mean: np.ndarray
    made_std: np.ndarray
    period: int | None
    naive_mae: np.ndarray
    reading: Reading
    frequency: int | None
    margins: Margins | None = None
    known_until: str | None = None

    def of_inputs(self) -> SeriesPreparation:
        """The same without columns that a model does not see."""
        shown = self.shown
        return replace(
            self, columns=self.columns[:shown], mean=self.mean[:, :shown], std=self.std[:, :shown]
        )

    def for_series(self, names: tuple[str, ...]) -> SeriesPreparation:
        """The same with a scaling for each series of a record, in their order, where series are scaled apart.

        Args:
            names: of the record's series.

        Raises:
            DataError: if one of them was not trained on.
        """
        if not self.series:
            return self
        if not names:
            raise DataError(
                "the run scales each series by itself (dataset.scaling=per_series): the data must tell in a column "
                f"`{self.reading.series}` which series a row belongs to"
            )
        unknown = [name for name in names if name not in self.series]
        if unknown:
            raise DataError(
                f"the series `{unknown[0]}` was not trained on, so its scaling is unknown (scaling=per_series); "
                f"the run has {', '.join(self.series[:30])}. Leave its rows out, or train with dataset.scaling=common"
            )
        rows = [self.series.index(name) for name in names]
        return replace(
            self,
            series=names,
            mean=self.mean[rows],
            std=self.std[rows],
            made_mean=self.made_mean[rows],
            made_std=self.made_std[rows],
        )

    def scale(
        self,
        values: np.ndarray,
        made: np.ndarray,
        plain: tuple[int, ...],
        scalings: np.ndarray | slice,
    ) -> np.ndarray:
        """The rows that a model sees, float32, in standard deviations from the mean.

        Args:
            values: `(rows, columns)` in their own units.
            made: `(rows, len(self.made))`.
            plain: indices of the columns that are shown.
            scalings: the number of each row's scaling, or a slice of one for all of them.
        """
        with np.errstate(all="ignore"):  # what cannot be computed with is refused by the caller
            mean, std = self.mean[scalings], self.std[scalings]
            scaled = ((values - mean) / std).astype(np.float32)
            if plain != tuple(range(len(self.columns))):
                scaled = scaled[:, list(plain)]
            if not self.made:
                return scaled
            made_mean, made_std = self.made_mean[scalings], self.made_std[scalings]
            features = ((made - made_mean) / made_std).astype(np.float32)
            return np.hstack([scaled, features])

    @property
    def target_mean(self) -> np.ndarray:
        """`(scalings, targets)`, in each target's unit."""
        return self.mean[:, self._target_indices]

    @property
    def target_std(self) -> np.ndarray:
        """`(scalings, targets)`, in each target's unit."""
        return self.std[:, self._target_indices]

    @property
    def _target_indices(self) -> list[int]:
        return [self.columns.index(name) for name in self.targets]

    def to_json(self) -> dict[str, Json]:
        """The content of `preparation.json`."""
        return {
            "task": "forecasting",
            "columns": list(self.columns),
            "shown": self.shown,
            "targets": list(self.targets),
            "series": list(self.series),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "made": list(self.made),
            "made_mean": self.made_mean.tolist(),
            "made_std": self.made_std.tolist(),
            "period_seconds": self.period,
            "naive_mae": self.naive_mae.tolist(),
            "reading": {
                "time": self.reading.time,
                "time_format": self.reading.time_format,
                "series": self.reading.series,
                "frequency": self.frequency,
                "found_format": self.reading.found_format,
            },
            "margins": None if self.margins is None else self.margins.values.tolist(),
            "margin_floor": None if self.margins is None else self.margins.floor,
            "known_until": self.known_until,
        }

    @classmethod
    def from_json(cls, stored: StoredPreparation) -> SeriesPreparation:
        """Read a preparation back.

        Raises:
            DataError: if it is not one of forecasting.
        """
        read = stored.read(_StoredSeries)
        columns, made, scalings = len(read.columns), len(read.made), len(read.series) or 1
        if (
            any(
                len(part) != scalings
                for part in (read.mean, read.std, read.made_mean, read.made_std)
            )
            or any(len(row) != columns for row in (*read.mean, *read.std))
            or any(len(row) != made for row in (*read.made_mean, *read.made_std))
            or not 0 < read.shown <= columns
            or not set(read.targets) <= set(read.columns)
        ):
            raise stored.refused("its columns, means and targets do not belong together")
        if not all(std > 0 for row in (*read.std, *read.made_std) for std in row):
            raise stored.refused("its standard deviations must be larger than zero")
        if any(len(row) != len(read.targets) for row in read.naive_mae):
            raise stored.refused("its naive errors and targets do not belong together")
        shape = (len(read.naive_mae), len(read.targets))
        margins = None
        if read.margins is not None:
            margins = Margins(_matrix(read.margins), read.margin_floor)
        if margins is not None and margins.values.shape != shape:
            raise stored.refused("its margins and targets do not belong together")
        return cls(
            columns=tuple(read.columns),
            shown=read.shown,
            targets=tuple(read.targets),
            series=tuple(read.series),
            mean=np.array(read.mean),
            std=np.array(read.std),
            made=tuple(read.made),
            made_mean=np.array(read.made_mean),
            made_std=np.array(read.made_std),
            period=read.period_seconds,
            naive_mae=np.array(read.naive_mae),
            reading=Reading(
                time=read.reading.time,
                time_format=read.reading.time_format,
                series=read.reading.series,
                found_format=read.reading.found_format,
            ),
            frequency=read.reading.frequency,
            margins=margins,
            known_until=None if read.known_until is None else read.known_until.isoformat(),
        )


@dataclass(frozen=True, kw_only=True)
class _StoredReading:
    """The part `reading`."""

    __pydantic_config__ = STRICT

    time: str | None
    time_format: str | None
    series: str | None
    frequency: Count | None
    found_format: str | None = None


@dataclass(frozen=True, kw_only=True)
class _StoredSeries:
    """The keys of `preparation.json`."""

    __pydantic_config__ = STRICT

    task: Literal["forecasting"]
    columns: list[str]
    shown: Count
    targets: list[str]
    series: list[str]
    mean: list[list[float]]
    std: list[list[float]]
    made: list[str]
    made_mean: list[list[float]]
    made_std: list[list[float]]
    period_seconds: Count | None
    naive_mae: list[list[float]]
    reading: _StoredReading
    margins: list[list[float]] | None
    margin_floor: PositiveFloat | None = None
    known_until: Annotated[NaiveDatetime, Strict(False)] | None = None


def _matrix(rows: list[list[float]]) -> np.ndarray:
    """Rows as an array; an empty one if they differ in length."""
    return np.array(rows) if len({len(row) for row in rows}) == 1 else np.empty((0, 0))


class Moments:
    """Mean and standard deviation of columns, block by block.

    Blocks are joined as by Chan, Golub and LeVeque (1983, "Algorithms for computing the sample variance").
    scikit-learn's `StandardScaler.partial_fit` does the same, but importing it would delay the first step by a second.
    """

    def __init__(self) -> None:
        self._rows = 0
        self.mean = np.zeros(0)
        self._variance = np.zeros(0)
        self._smallest = np.zeros(0)
        self._largest = np.zeros(0)

    def add(self, block: np.ndarray) -> None:
        """Count a block `(rows, columns)`; at least one row."""
        with np.errstate(all="ignore"):  # not-a-number and infinity are refused by the caller
            block = block.astype(np.float64)
            mean, variance = block.mean(axis=0), block.var(axis=0)
            smallest, largest = block.min(axis=0), block.max(axis=0)
            if not self._rows:
                self._rows = len(block)
                self.mean, self._variance = mean, variance
                self._smallest, self._largest = smallest, largest
                return
            rows = self._rows + len(block)
            share = len(block) / rows
            difference = mean - self.mean
            self._variance = (
                self._variance * (1 - share)
                + variance * share
                + difference**2 * share * (1 - share)
            )
            self.mean = self.mean + difference * share
            self._smallest = np.minimum(self._smallest, smallest)
            self._largest = np.maximum(self._largest, largest)
            self._rows = rows

    @property
    def std(self) -> np.ndarray:
        """Population standard deviations, 1 for columns that never change: dividing by one keeps them at zero.

        The standard deviation of such a column is rounding noise, not always zero.
        """
        with np.errstate(all="ignore"):
            return np.where(self._largest - self._smallest > 0, np.sqrt(self._variance), 1.0)


# What a target is measured from, by the setting.
ORIGINS: dict[Target, Origin] = {
    "value": "mean",
    "change": "newest",
    "normalized": "window",
}


def series_spec(
    settings: ForecastingSettings, windows: Windows, preparation: SeriesPreparation
) -> SequenceSpec:
    """The shapes of windows and of what is forecast."""
    replaced = {name for pair in settings.inputs.wind_vectors for name in pair}
    seen = [name for name in preparation.columns[: preparation.shown] if name not in replaced]
    targets = preparation.targets
    shape = (len(windows.leads), len(targets))
    quantiles = settings.quantiles or ()
    return SequenceSpec(
        time=windows.time_steps,
        features=len(seen) + len(preparation.made),
        vocabulary=None,
        embedding=None,
        outputs=(*shape, len(quantiles)) if quantiles else shape,
        targets=shape,
        target_features=tuple(map(seen.index, targets)) if set(targets) <= set(seen) else (),
        made=len(preparation.made),
        origin=ORIGINS[settings.target],
    )
