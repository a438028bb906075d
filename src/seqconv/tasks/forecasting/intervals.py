"""Prediction intervals: split-conformal ones for any model, and how good intervals and quantiles are.

After Vovk, Gammerman and Shafer, 2005, "Algorithmic learning in a random world", and for models of quantiles Romano,
Patterson and Candes, 2019, "Conformalized quantile regression".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from seqconv.tasks.contract import Json
from seqconv.tasks.forecasting.losses import pinball
from seqconv.tasks.forecasting.samples import WindowSamples

MEDIAN = 0.5


def point_forecast(predictions: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """The median where there are quantiles, `(..., leads, columns)`; else the predictions themselves."""
    return predictions[..., list(quantiles).index(MEDIAN)] if quantiles else predictions


def outer_forecasts(
    predictions: np.ndarray, quantiles: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest quantile, `(..., leads, columns)`; without quantiles the point forecast for both."""
    return (predictions[..., 0], predictions[..., -1]) if quantiles else (predictions, predictions)


def conformal_margins(
    low: np.ndarray, high: np.ndarray, targets: np.ndarray, level: float
) -> np.ndarray:
    """What forecasts must be widened by on both sides to hold a share of new targets.

    They hold it if new errors are like these. For quantiles that are too wide already, margins are negative.

    Args:
        low: forecasts, `(samples, leads, columns)`.
        high: forecasts, nowhere below `low`.
        targets: of the same samples.
        level: the share.

    Returns:
        `(leads, columns)` float64.
    """
    count, leads, columns = targets.shape
    # The smallest margin that holds `level` of the samples and a new one.
    rank = min(math.ceil((count + 1) * level), count) - 1
    found = np.empty((leads, columns))
    for lead in range(leads):
        one = targets[:, lead]
        beyond = np.maximum(low[:, lead] - one, one - high[:, lead])
        found[lead] = np.partition(beyond, rank, axis=0)[rank]
    return found


def interval_ends(
    predictions: np.ndarray, quantiles: Sequence[float], margins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of prediction intervals, both at their middle where negative margins would make them cross.

    Args:
        predictions: `(samples, leads, columns)`, or with an axis of quantiles behind.
        quantiles: that were trained; none for a point forecast.
        margins: from `conformal_margins`, `(leads, columns)`.
    """
    low, high = outer_forecasts(predictions, quantiles)
    narrowest = (low - high) / 2
    margins = np.maximum(margins, narrowest)
    return low - margins, high + margins


class Residuals:
    """Errors of forecasts that come block by block, as margins are learnt from them.

    Args:
        chosen: numbers of the samples to learn from, ascending.
        shape: leads and columns.
    """

    def __init__(self, chosen: np.ndarray, shape: tuple[int, ...]):
        self._chosen = chosen
        self._errors = np.empty((len(chosen), *shape), np.float32)

    def add(
        self, samples: WindowSamples, part: slice, forecast: np.ndarray, targets: np.ndarray
    ) -> None:
        """Keep those of a block, `(samples, leads, columns)` each in the targets' own units."""
        first, stop = np.searchsorted(self._chosen, (part.start, part.stop))
        within = self._chosen[first:stop] - part.start
        # As a model would predict them, and its targets are: float32.
        known, found = (
            samples.in_trained_unit(values, part)[within].astype(np.float32)
            for values in (targets, forecast)
        )
        self._errors[first:stop] = found - known

    def margins(self, level: float) -> np.ndarray:
        """`conformal_margins` of these forecasts."""
        zeros = np.broadcast_to(np.float32(0), self._errors.shape)
        return conformal_margins(self._errors, self._errors, zeros, level)


class IntervalScores:
    """How good the intervals of some samples are, summed up block by block.

    Args:
        level: share of the targets that they are to hold.
    """

    def __init__(self, level: float):
        self.level = level
        self._count = 0
        self._inside = self._width = self._winkler = 0.0

    def add(self, low: np.ndarray, high: np.ndarray, targets: np.ndarray) -> None:
        """Count intervals and their targets, all of one shape and in one unit."""
        width = np.maximum(high - low, 0.0)
        outside = np.maximum(low - targets, 0.0) + np.maximum(targets - high, 0.0)
        self._count += targets.size
        self._inside += float((outside == 0).sum())
        self._width += float(width.sum())
        self._winkler += float((width + 2 / (1 - self.level) * outside).sum())

    def to_json(self) -> dict[str, Json]:
        """Share of targets inside, mean width, and Winkler's score (1972), the smaller the better."""
        return {
            "level": self.level,
            "coverage": self._inside / self._count,
            "width": self._width / self._count,
            "winkler": self._winkler / self._count,
        }


class QuantileScores:
    """How good the quantiles of some samples are, summed up block by block.

    Args:
        levels: ascending.
    """

    def __init__(self, levels: Sequence[float]):
        self.levels = tuple(levels)
        self._count = 0
        self._below = np.zeros(len(levels))
        self._pinball = np.zeros(len(levels))

    def add(self, quantiles: np.ndarray, targets: np.ndarray) -> None:
        """Count quantiles `(..., levels)` and their targets `(...)`, in one unit."""
        self._count += targets.size
        for index, level in enumerate(self.levels):
            errors = targets - quantiles[..., index]
            self._below[index] += float((errors <= 0).sum())
            self._pinball[index] += float(pinball(errors, level).sum())

    def to_json(self) -> dict[str, Json]:
        """Share of targets below each level, pinball losses, and from them the CRPS.

        The continuous ranked probability score is twice the integral of the pinball loss over the levels (Gneiting and
        Raftery, 2007, "Strictly proper scoring rules"); the mean over the levels there are stands for it.
        """
        losses = self._pinball / self._count
        names = [f"{level:g}" for level in self.levels]
        return {
            "below": dict(zip(names, (self._below / self._count).tolist(), strict=True)),
            "pinball": dict(zip(names, losses.tolist(), strict=True)),
            "crps": float(2 * losses.mean()),
        }
