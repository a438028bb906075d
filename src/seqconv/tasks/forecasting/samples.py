"""The windows of one split, and what is known of their targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seqconv.tasks.contract import LEAST_STD
from seqconv.tasks.forecasting.preparation import SeriesPreparation
from seqconv.tasks.forecasting.settings import Target, Windows
from seqconv.tasks.forecasting.windows import Anchors, WindowArray, input_rows

# Numbers that are computed with at once, 16 MB as float64.
BLOCK_NUMBERS = 2**21


@dataclass(frozen=True)
class WindowSamples:
    """Windows and targets of one split; only the rows of a batch are read.

    Attributes:
        anchors: row numbers of the forecast origins, of any number of positions.
        array: of the scaled rows of the whole record.
        values: `(rows, columns)` of the whole record, in each column's own unit.
        targets: indices of the columns to predict.
        windows: lookback, step and leads.
        target: what a target is measured from and by.
        preparation: scaling.
        starts: `(scalings,)` int64, the row from which on each scaling holds.
    """

    anchors: Anchors | np.ndarray
    array: WindowArray
    values: np.ndarray
    targets: tuple[int, ...]
    windows: Windows
    target: Target
    preparation: SeriesPreparation
    starts: np.ndarray

    # A series has no padding.
    lengths = None

    def __len__(self) -> int:
        return len(self.anchors)

    def blocks(self) -> Iterator[slice]:
        """All samples in blocks whose targets are no more than `BLOCK_NUMBERS`."""
        numbers = max(len(self.windows.leads) * len(self.targets), self.windows.time_steps)
        size = max(1, BLOCK_NUMBERS // numbers)
        for first in range(0, len(self), size):
            yield slice(first, min(first + size, len(self)))

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `(n, time, features)` and targets `(n, leads, columns)`, both float32 and scaled.

        Targets are in units of the target column's standard deviation in the training rows, measured from the training
        mean, or for `target=change` from the newest known value; for `target=normalized` the window's own are used.
        """
        anchors = self.anchors[indices]
        origin, scale = self._scaling(anchors)
        scaled = (self._target_values(anchors) - origin) / scale
        return self.array.gather(anchors), scaled.astype(np.float32)

    def inputs(self, indices: np.ndarray) -> np.ndarray:
        """Inputs `(n, time, features)` alone: targets need not be known."""
        return self.array.gather(self.anchors[indices])

    def target_values(self, part: slice = slice(None)) -> np.ndarray:
        """The values to predict, `(samples, leads, columns)` float64, each in its own unit."""
        return self._target_values(self.anchors[part])

    def target_values_of(self, target: int, part: slice) -> np.ndarray:
        """As `target_values`, of one target by its position: `(samples, leads)`."""
        rows = self.target_rows(part)
        return np.asarray(self.values[rows, self.targets[target]], np.float64)

    def persistence(self, part: slice = slice(None)) -> np.ndarray:
        """The newest known value as the forecast of every lead, `(samples, leads, columns)`, in its own unit."""
        newest = self._columns(self.anchors[part][:, None] - self.windows.step)
        return np.repeat(newest, len(self.windows.leads), axis=1)

    def lagged(self, lead: int, rows: int, part: slice = slice(None)) -> np.ndarray:
        """The target columns so many rows before the target of a lead, `(samples, columns)`, in their own unit."""
        return self._columns(
            self.anchors[part] + self.windows.leads[lead] - self.windows.step - rows
        )

    def first_and_last_rows(self, part: slice = slice(None)) -> np.ndarray:
        """All columns of the oldest and of the newest input row, `(samples, 2 x shown columns)`, in their own units."""
        anchors, shown = self.anchors[part], self.preparation.shown
        first = self.values[anchors - self.windows.lookback, :shown]
        return np.hstack([first, self.values[anchors - self.windows.step, :shown]])

    def in_own_unit(self, scaled: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Scaled predictions of some samples as values, float64, in their own unit.

        Args:
            scaled: `(samples, leads, columns)`, or with an axis of quantiles behind.
            part: which samples.
        """
        origin, scale = self._scaling(self.anchors[part])
        if scaled.ndim > origin.ndim:
            origin, scale = origin[..., None], scale[..., None]
        return scaled.astype(np.float64) * scale + origin

    def in_trained_unit(self, values: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Values `(samples, leads, columns)` of some samples, in their own unit, as a model would predict them."""
        origin, scale = self._scaling(self.anchors[part])
        return (values - origin) / scale

    def in_trained_scale(self, errors: np.ndarray, part: slice = slice(None)) -> np.ndarray:
        """Errors `(samples, leads, columns)` of some samples, in the targets' own units, as a loss counts them."""
        _, scale = self._scaling(self.anchors[part])
        return errors / scale

    def scalings(self, part: slice = slice(None)) -> np.ndarray:
        """The number of the scaling of each sample, `(samples,)`, ascending."""
        return self._scalings(self.anchors[part])

    def has_spread(self) -> bool:
        """Whether `spread` says anything: it needs the targets' past, which `target=normalized` has as its unit."""
        shown = self.preparation.columns[: self.preparation.shown]
        return self.target != "normalized" and set(self.preparation.targets) <= set(shown)

    def spread(self, part: slice | np.ndarray = slice(None)) -> np.ndarray:
        """The standard deviation of each target column over the input rows, `(samples, 1, columns)`, in those of the
        training rows."""
        anchors = self.anchors[part]
        found = np.empty((len(anchors), 1, len(self.targets)))
        # Of whole windows several arrays are made; small blocks stay in the cache, too.
        size = max(1, BLOCK_NUMBERS // 16 // (self.windows.time_steps * len(self.targets)))
        for first in range(0, len(anchors), size):
            some = anchors[first : first + size]
            rows = input_rows(some, self.windows.lookback, self.windows.step)
            std = self._columns(rows).std(axis=1, keepdims=True)
            found[first : first + size] = (
                std / self.preparation.target_std[self._scalings(some)][:, None]
            )
        return found

    def target_std(self, part: slice = slice(None)) -> np.ndarray:
        """The training rows' standard deviation of each target, `(samples, 1, columns)`, in its own unit."""
        return self.preparation.target_std[self.scalings(part)][:, None]

    def target_rows(self, part: slice = slice(None)) -> np.ndarray:
        """The row of each target, `(samples, leads)`."""
        return self.anchors[part][:, None] + np.array(self.windows.delays)

    def history(self, column: int, part: slice) -> np.ndarray:
        """One column's input rows, `(samples, time)` float64, in its own unit."""
        rows = input_rows(self.anchors[part], self.windows.lookback, self.windows.step)
        return np.asarray(self.values[rows, column], np.float64)

    def _target_values(self, anchors: np.ndarray) -> np.ndarray:
        return self._columns(anchors[:, None] + np.array(self.windows.delays))

    def _scaling(self, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What targets are measured from and by, of shapes that go with `(samples, leads, columns)`."""
        scalings = self._scalings(anchors)
        target_std = self.preparation.target_std[scalings][:, None]
        if self.target == "value":
            return self.preparation.target_mean[scalings][:, None], target_std
        if self.target == "change":
            return self._columns(anchors[:, None] - self.windows.step), target_std
        inputs = self._columns(input_rows(anchors, self.windows.lookback, self.windows.step))
        least = LEAST_STD * target_std
        std = np.sqrt(inputs.var(axis=1, keepdims=True) + least**2)
        return inputs.mean(axis=1, keepdims=True), std

    def _scalings(self, anchors: np.ndarray) -> np.ndarray:
        # By the newest input row: the anchor itself may lie in the next series.
        return np.searchsorted(self.starts, anchors - self.windows.step, side="right") - 1

    def _columns(self, rows: np.ndarray) -> np.ndarray:
        """The target columns of some rows, `(*rows.shape, columns)` float64."""
        if self.targets == tuple(range(self.values.shape[1])):
            # Whole rows, which are neighbours in memory.
            return np.asarray(self.values.take(rows, axis=0), np.float64)
        return np.asarray(self.values[rows[..., None], np.array(self.targets)], np.float64)
