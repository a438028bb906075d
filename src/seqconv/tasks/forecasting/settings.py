"""The top-level keys of forecasting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, NonNegative, Section, SplitPoint
from seqconv.tasks.metrics import FORECAST_METRICS, LOSS, Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesSplit(Section):
    """Where training and validation rows end. Rows are counted in the source as read."""

    train_end: SplitPoint
    """First row after training: an integer is a row, a float in (0, 1) a fraction, a string a date."""
    validation_end: SplitPoint
    """First row after validation; the rest is test."""

    def problems(self) -> Iterator[Problem]:
        """The order of the two ends, where it is known without the record."""
        first, second = self.train_end, self.validation_end
        if type(first) is type(second) and not first < second:  # type: ignore[operator]
            yield Problem(
                "validation_end",
                f"must lie after `split.train_end`; received train_end={first}, validation_end={second}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastingSettings(Section):
    """A window of past rows predicts a later value.

    For an anchor row r, the forecast origin, the input rows are `range(r - lookback, r, step)` and the target is row
    `r + delay`. The lead, or horizon, is `delay + step` rows: from the newest input row to the target.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (LOSS, *FORECAST_METRICS)
    length_key: ClassVar[str] = "lookback"

    lookback: Count
    """Rows of history before the anchor; a multiple of `step`."""
    step: Count
    """Every how many rows one is read."""
    delay: NonNegative
    """Rows from the anchor to the target."""
    target: Literal["value", "change"]
    """`value`, or `change`: the difference from the newest known value."""
    loss: Literal["mean_absolute_error", "mean_squared_error", "huber"]
    """What training makes small, in scaled units."""
    split: SeriesSplit

    @property
    def time_steps(self) -> int:
        """Rows in one window."""
        return self.lookback // self.step

    @property
    def delays(self) -> tuple[int, ...]:
        """Rows from the anchor to the target of each lead, ascending."""
        return (self.delay,)

    @property
    def leads(self) -> tuple[int, ...]:
        """Rows from the newest input row to the target of each lead."""
        return tuple(delay + self.step for delay in self.delays)

    def problems(self) -> Iterator[Problem]:
        """`lookback` must be a multiple of `step`."""
        if self.lookback % self.step:
            lower = self.lookback - self.lookback % self.step
            near = " or ".join(str(n) for n in (lower, lower + self.step) if n)
            yield Problem(
                "lookback",
                f"must be a multiple of `step`; received lookback={self.lookback}, step={self.step}. Use {near}",
            )
