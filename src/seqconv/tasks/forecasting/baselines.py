"""What a forecasting model must beat: forecasts that need no training, and linear ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from seqconv.data.store import Store
from seqconv.tasks.forecasting.samples import WindowSamples

SECONDS_PER_DAY = 86_400
# The window's first and last row and its daily points are a few dozen numbers for tens of thousands of windows: any
# small penalty does; it only keeps columns that copy one another from cancelling out.
RIDGE_PENALTY = 1.0
# A fixed number, not that of the cores: on another number the sums have other last digits. Two wait for each other by
# spinning: beside other work they took 2 to 4 times as long as one, and on one core 500 times.
BLAS_THREADS = 1
# Tried on the validation windows, in units of a sum over windows of squared standard deviations.
PENALTIES = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6)


class Baseline(Protocol):
    """Something that forecasts without a network."""

    def forecast(self, samples: WindowSamples, part: slice) -> np.ndarray:
        """Forecasts of some windows, `(samples, leads, columns)` float64 in the targets' own units."""
        ...


class Persistence:
    """It will be as it is now."""

    def forecast(self, samples: WindowSamples, part: slice) -> np.ndarray:
        """The newest known values."""
        return samples.persistence(part)


class SeasonalNaive:
    """It will be as at the same hour of the newest day that is known.

    Args:
        points: rows before the target of each lead.
    """

    def __init__(self, points: Sequence[int]):
        self.points = tuple(points)

    def forecast(self, samples: WindowSamples, part: slice) -> np.ndarray:
        """The values of that day."""
        return np.stack(
            [samples.lagged(lead, rows, part) for lead, rows in enumerate(self.points)], axis=1
        )


def seasonal_naive(samples: WindowSamples, day: int) -> SeasonalNaive | None:
    """The seasonal baseline; None where a lead's window does not hold a whole number of days before the target."""
    windows = samples.windows
    points = [daily_points(lead, windows.lookback, windows.step, day) for lead in windows.leads]
    return SeasonalNaive([rows[0] for rows in points]) if all(points) else None


class Sums:
    """What a linear regression needs to know of its data, block by block."""

    def __init__(self, inputs: int, outputs: int):
        self.count = 0
        self.inputs, self.outputs = np.zeros(inputs), np.zeros(outputs)
        self.products = np.zeros((inputs, inputs))
        self.cross = np.zeros((inputs, outputs))
        self.squares = np.zeros(outputs)

    def add(self, inputs: np.ndarray, outputs: np.ndarray) -> None:
        """Count samples: inputs `(n, inputs)` and outputs `(n, outputs)`."""
        self.count += len(inputs)
        self.inputs += inputs.sum(axis=0)
        self.outputs += outputs.sum(axis=0)
        self.products += inputs.T @ inputs
        self.cross += inputs.T @ outputs
        self.squares += (outputs**2).sum(axis=0)

    def centred(self) -> tuple[np.ndarray, np.ndarray]:
        """Products of inputs, and of inputs and outputs, about their means."""
        products = self.products - np.outer(self.inputs, self.inputs) / self.count
        return products, self.cross - np.outer(self.inputs, self.outputs) / self.count


class EndsRidge:
    """Ridge regression of the change from now on both ends of the window and its daily points.

    One regression for each lead and column, inputs scaled to a standard deviation of one.

    Args:
        training: windows to learn from.
        day: rows in a day; 0 where a day is no whole number of rows.
    """

    def __init__(self, training: WindowSamples, day: int):
        windows = training.windows
        self._days = [
            daily_points(rows, windows.lookback, windows.step, day) for rows in windows.leads
        ]
        self._shift = training.first_and_last_rows(slice(0, 1))[0]
        self._fitted = [
            [self._fit(training, lead, column) for column in range(len(training.targets))]
            for lead in range(len(windows.leads))
        ]

    def _inputs(
        self, samples: WindowSamples, lead: int, column: int, part: slice
    ) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `(n, inputs)`, and the newest known values `(n,)`."""
        newest = samples.persistence(part)[:, lead, column]
        points = [samples.lagged(lead, rows, part)[:, column] for rows in self._days[lead]]
        # Measured from any one value of each column, so that squares of large numbers do not swallow what matters.
        start = (
            self._shift[samples.targets[column]]
            if samples.targets[column] < len(self._shift) // 2
            else 0.0
        )
        ends = samples.first_and_last_rows(part) - self._shift
        return np.column_stack([ends, *(point - start for point in points)]), newest

    def _fit(self, training: WindowSamples, lead: int, column: int) -> tuple[np.ndarray, float]:
        sums = None
        for part in training.blocks():
            inputs, newest = self._inputs(training, lead, column, part)
            change = training.target_values(part)[:, lead, column] - newest
            sums = sums or Sums(inputs.shape[1], 1)
            sums.add(inputs.astype(np.float64), change[:, None])
        if sums is None:
            raise ValueError("there are no training windows")
        products, cross = sums.centred()
        std = np.sqrt(np.maximum(np.diag(products), 0) / sums.count)
        # A column that never changes has rounding noise for a standard deviation, if any.
        std = np.where(std > 1e-9 * np.abs(sums.inputs / sums.count), std, np.inf)
        scaled = products / np.outer(std, std) + RIDGE_PENALTY * np.eye(len(std))
        weights = np.linalg.solve(scaled, cross[:, 0] / std) / std
        intercept = (sums.outputs[0] - sums.inputs @ weights) / sums.count
        return weights, float(intercept)

    def forecast(self, samples: WindowSamples, part: slice) -> np.ndarray:
        """Newest value and predicted change."""
        forecasts = np.empty(
            (part.stop - part.start, len(samples.windows.leads), len(samples.targets))
        )
        for lead, fits in enumerate(self._fitted):
            for column, (weights, intercept) in enumerate(fits):
                inputs, newest = self._inputs(samples, lead, column, part)
                forecasts[:, lead, column] = newest + inputs @ weights + intercept
        return forecasts


@contextlib.contextmanager
def one_order_of_sums() -> Iterator[None]:
    """Let numpy's matrix products sum in one order, whatever the number of cores, in a block."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(BLAS_THREADS, user_api="blas"):
        yield


class ColumnRidge:
    """Ridge regression in closed form, one for each column, of all leads at once on the column's own past.

    Inputs and outputs are measured from the mean of the window, in standard deviations of the training rows. Each
    column's penalty is chosen on the validation windows (after Toner and Darlow, 2024, "An analysis of linear time
    series forecasting models"). The weights are kept in the cache.

    Args:
        training: windows to learn from.
        validation: windows to choose the penalties on.
        settings: all that the windows depend on, as JSON.
    """

    FORM = 1
    """Raised when the same windows give other weights."""

    def __init__(
        self, training: WindowSamples, validation: WindowSamples, settings: Mapping[str, Any]
    ):
        store = Store("ridge", self.FORM, settings)
        kept = store.load()
        steps, leads = training.windows.time_steps, len(training.windows.leads)
        shapes = {
            "weights": (len(training.targets), steps, leads),
            "intercepts": (len(training.targets), leads),
            "penalties": (len(training.targets),),
        }
        if kept is None or {name: array.shape for name, array in kept.items()} != shapes:
            fits = [
                self._fit(training, validation, column) for column in range(len(training.targets))
            ]
            kept = {
                name: np.stack([fit[index] for fit in fits]) for index, name in enumerate(shapes)
            }
            store.save(kept)
        self.weights, self.intercepts = kept["weights"], kept["intercepts"]
        self.penalties = kept["penalties"]

    @staticmethod
    def _inputs(samples: WindowSamples, column: int, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """Scaled past less its mean `(n, time)`, and that mean in the column's unit `(n, 1)`."""
        past = samples.history(samples.targets[column], part)
        mean = past.mean(axis=1, keepdims=True)
        return (past - mean) / samples.target_std(part)[:, :, column], mean

    def _sums(self, samples: WindowSamples, column: int) -> Sums:
        windows = samples.windows
        sums = Sums(windows.time_steps, len(windows.leads))
        for part in samples.blocks():
            inputs, mean = self._inputs(samples, column, part)
            targets = samples.target_values_of(column, part)
            sums.add(inputs, (targets - mean) / samples.target_std(part)[:, :, column])
        return sums

    def _fit(
        self, training: WindowSamples, validation: WindowSamples, column: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sums, judge = self._sums(training, column), self._sums(validation, column)
        products, cross = sums.centred()
        values, vectors = np.linalg.eigh(products)
        turned = vectors.T @ cross
        best: tuple[float, np.ndarray, np.ndarray, float] | None = None
        for penalty in PENALTIES:
            weights = vectors @ (turned / (np.maximum(values, 0) + penalty)[:, None])
            intercept = (sums.outputs - sums.inputs @ weights) / sums.count
            error = _squared_error(judge, weights, intercept)
            if best is None or error < best[0]:
                best = (error, weights, intercept, penalty)
        if best is None:
            raise ValueError("no penalty gives a finite error")
        return best[1], best[2], np.array(best[3])

    def forecast(self, samples: WindowSamples, part: slice) -> np.ndarray:
        """Mean of the window and predicted difference from it."""
        forecasts = np.empty(
            (part.stop - part.start, len(samples.windows.leads), len(samples.targets))
        )
        for column in range(len(samples.targets)):
            inputs, mean = self._inputs(samples, column, part)
            found = inputs @ self.weights[column] + self.intercepts[column]
            forecasts[:, :, column] = found * samples.target_std(part)[:, :, column] + mean
        return forecasts


def _squared_error(sums: Sums, weights: np.ndarray, intercept: np.ndarray) -> float:
    """The sum over samples and outputs of squared errors of a regression, from sums alone."""
    through = sums.inputs @ weights
    return float(
        np.sum(weights * (sums.products @ weights))
        - 2 * np.sum(weights * sums.cross)
        + sums.squares.sum()
        + 2 * through @ intercept
        - 2 * sums.outputs @ intercept
        + sums.count * intercept @ intercept
    )


def rows_per_day(period: int | None) -> int:
    """Rows in a day; 0 where a day is no whole number of rows, or rows have no times."""
    rows, rest = divmod(SECONDS_PER_DAY, period or SECONDS_PER_DAY + 1)
    return 0 if rest else rows


def daily_points(lead: int, lookback: int, step: int, day: int) -> list[int]:
    """Rows before the target, whole days each, that lie in the window; the newest first."""
    if not day:
        return []
    newest = -(-lead // day) * day
    return list(range(newest, lookback + lead - step + 1, day))
