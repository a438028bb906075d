"""The windows of one split, and what is known of their targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqconv.tasks.forecasting.preparation import SeriesPreparation
from seqconv.tasks.forecasting.settings import ForecastingSettings
from seqconv.tasks.forecasting.windows import WindowArray


@dataclass(frozen=True)
class WindowSamples:
    """Windows and targets of one split; only the rows of a batch are read.

    Attributes:
        anchors: `(samples,)` row numbers, the forecast origins.
        windows: of the whole record.
        values: `(rows, columns)` float64 of the whole record, in each column's own unit.
        targets: indices of the columns to predict.
        settings: windows and leads.
        preparation: scaling.
    """

    anchors: np.ndarray
    windows: WindowArray
    values: np.ndarray
    targets: tuple[int, ...]
    settings: ForecastingSettings
    preparation: SeriesPreparation

    # A series has no padding.
    lengths = None

    def __len__(self) -> int:
        return len(self.anchors)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs `(n, time, features)` and targets `(n, leads, columns)`, both float32 and scaled.

        Targets are in units of the target column's standard deviation in the training rows, measured from the origin:
        the training mean, or the newest known value for `target=change`.
        """
        anchors = self.anchors[indices]
        scaled = (self._truth(anchors) - self._origin(anchors)) / self.preparation.target_std
        return self.windows.gather(anchors), scaled.astype(np.float32)

    def truth(self) -> np.ndarray:
        """The values to predict, `(samples, leads, columns)` float64, each in its own unit."""
        return self._truth(self.anchors)

    def persistence(self) -> np.ndarray:
        """The newest known value as the forecast of every lead, `(samples, leads, columns)`, in its own unit."""
        newest = self._columns(self.anchors[:, None] - self.settings.step)
        return np.repeat(newest, len(self.settings.delays), axis=1)

    def lagged(self, lead: int, rows: int) -> np.ndarray:
        """The target columns so many rows before the target of a lead, `(samples, columns)`, in their own unit."""
        return self._columns(self.anchors + self.settings.delays[lead] - rows)

    def first_and_last_rows(self) -> np.ndarray:
        """All columns of the oldest and of the newest input row, `(samples, 2 x columns)`, in their own units."""
        first = self.values[self.anchors - self.settings.lookback]
        return np.hstack([first, self.values[self.anchors - self.settings.step]])

    def in_own_unit(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled predictions `(samples, leads, columns)` of all samples as values, float64, in their own unit."""
        return scaled * self.preparation.target_std + self._origin(self.anchors)

    def target_rows(self, lead: int) -> np.ndarray:
        """The row of the target of each sample at a lead, `(samples,)`."""
        return self.anchors + self.settings.delays[lead]

    def _truth(self, anchors: np.ndarray) -> np.ndarray:
        return self._columns(anchors[:, None] + np.array(self.settings.delays))

    def _origin(self, anchors: np.ndarray) -> np.ndarray:
        """What a target is measured from, of a shape that goes with `(samples, leads, columns)`."""
        if self.settings.target == "change":
            return self._columns(anchors[:, None] - self.settings.step)
        return self.preparation.target_mean

    def _columns(self, rows: np.ndarray) -> np.ndarray:
        """The target columns of some rows, `(*rows.shape, columns)`."""
        return self.values[rows[..., None], np.array(self.targets)]
