"""Prediction intervals: split-conformal ones for any model, and how good intervals and quantiles are.

After Vovk, Gammerman and Shafer, 2005, "Algorithmic learning in a random world", and for models of quantiles Romano,
Patterson and Candes, 2019, "Conformalized quantile regression".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from seqconv.tasks.contract import Json, evenly_spaced
from seqconv.tasks.forecasting.losses import pinball
from seqconv.tasks.forecasting.preparation import Margins
from seqconv.tasks.forecasting.samples import WindowSamples

MEDIAN = 0.5
LOWER, UPPER = "_lower", "_upper"
"""What the ends of an interval add to their target's name."""
# What the deviation of a window counts at least, in those of the training rows.
FLOORS = (0.1, 0.2, 0.5, 1.0)
# Fewer samples are not halved, more leads are not judged, to choose among them.
LEAST_HALVED, MOST_JUDGED = 100, 24


def point_forecast(predictions: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """The median where there are quantiles, `(..., leads, columns)`; else the predictions themselves."""
    return predictions[..., list(quantiles).index(MEDIAN)] if quantiles else predictions


def quantile_ending(level: float) -> str:
    """What a quantile adds to its target's name."""
    return f"_q{level:g}"


def outer_forecasts(
    predictions: np.ndarray, quantiles: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest quantile, `(..., leads, columns)`; without quantiles the point forecast for both."""
    return (predictions[..., 0], predictions[..., -1]) if quantiles else (predictions, predictions)


def beyond_forecasts(low: np.ndarray, high: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How far targets lie outside forecasts, negative for those inside; all of one shape.

    Args:
        low: forecasts.
        high: forecasts, nowhere below `low`.
        targets: of the same samples.
    """
    return np.maximum(low - targets, targets - high)


def conformal_margins(beyond: np.ndarray, level: float) -> np.ndarray:
    """What forecasts must be widened by on both sides to hold a share of new targets.

    They hold it if new errors are like these. For quantiles that are too wide already, margins are negative.

    Args:
        beyond: from `beyond_forecasts`, `(samples, leads, columns)`.
        level: the share.

    Returns:
        `(leads, columns)` float64.
    """
    count, leads, columns = beyond.shape
    # The smallest margin that holds `level` of the samples and a new one.
    rank = min(math.ceil((count + 1) * level), count) - 1
    found = np.empty((leads, columns))
    for lead in range(leads):
        found[lead] = np.partition(beyond[:, lead], rank, axis=0)[rank]
    return found


def learnt_margins(beyond: np.ndarray, spread: np.ndarray | None, level: float) -> Margins:
    """Margins that are the same for all windows, or wider for windows that vary more, whichever is better.

    Margins in units of how large an error is expected to be (Papadopoulos and others, 2002, "Inductive confidence
    machines for regression") hold their share in calm and in stormy weeks, if windows tell which is which. Whether they
    do is judged by Winkler's score: of each half of the samples with margins from the other half.

    Args:
        beyond: from `beyond_forecasts`, `(samples, leads, columns)`, in their order.
        spread: from `WindowSamples.spread`, `(samples, 1, columns)`; None: not known.
        level: share of the targets that intervals are to hold.
    """
    floor = None
    if spread is not None and len(beyond) >= LEAST_HALVED:
        some = beyond[:, evenly_spaced(beyond.shape[1], min(beyond.shape[1], MOST_JUDGED))]
        scores = {
            each: _score_of_halves(some, _unit(spread, each), level) for each in (None, *FLOORS)
        }
        floor = min(scores, key=scores.__getitem__)
    if spread is not None and floor is not None:
        beyond = beyond / _unit(spread, floor)
    return Margins(conformal_margins(beyond, level), floor)


def _unit(spread: np.ndarray, floor: float | None) -> np.ndarray:
    """What margins are multiplied by, `(samples, 1, columns)` float32."""
    return (np.ones_like(spread) if floor is None else np.hypot(spread, floor)).astype(np.float32)


def _score_of_halves(beyond: np.ndarray, unit: np.ndarray, level: float) -> float:
    """Winkler's score of each half of the samples with margins from the other, but for what margins do not change."""
    middle = len(beyond) // 2
    halves = (slice(None, middle), slice(middle, None))
    total = 0.0
    for learnt, judged in (halves, halves[::-1]):
        margins = conformal_margins(beyond[learnt] / unit[learnt], level) * unit[judged]
        outside = np.maximum(beyond[judged] - margins, 0.0)
        total += float((2 * margins + 2 / (1 - level) * outside).mean())
    return total


def widths(
    margins: Margins, samples: WindowSamples, part: slice, leads: slice = slice(None)
) -> np.ndarray:
    """Margins of some samples, `(samples or 1, leads, columns)`, in the units trained on."""
    values = margins.values[leads]
    return values if margins.floor is None else values * _unit(samples.spread(part), margins.floor)


def interval_ends(
    predictions: np.ndarray, quantiles: Sequence[float], margins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of prediction intervals, both at their middle where negative margins would make them cross.

    Args:
        predictions: `(samples, leads, columns)`, or with an axis of quantiles behind.
        quantiles: that were trained; none for a point forecast.
        margins: that go with `(samples, leads, columns)`.
    """
    low, high = outer_forecasts(predictions, quantiles)
    narrowest = (low - high) / 2
    margins = np.maximum(margins, narrowest)
    return low - margins, high + margins


class Residuals:
    """Errors of forecasts that come block by block, as margins are learnt from them.

    Args:
        chosen: numbers of the samples to learn from, ascending.
        spread: of their windows, as for `learnt_margins`.
        shape: leads and columns.
    """

    def __init__(self, chosen: np.ndarray, spread: np.ndarray | None, shape: tuple[int, ...]):
        self._chosen = chosen
        self._spread = spread
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

    def margins(self, level: float) -> Margins:
        """`learnt_margins` of these forecasts."""
        return learnt_margins(np.abs(self._errors), self._spread, level)


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
