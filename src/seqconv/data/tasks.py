"""The top-level keys that a kind of dataset brings along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from seqconv.errors import Problem
from seqconv.fields import STRICT, Count, NonNegative, SplitPoint


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesSplit:
    """Where training and validation rows end. Rows are counted in the source as read."""

    __pydantic_config__ = STRICT

    train_end: SplitPoint
    """First row after training: an integer is a row, a float in (0, 1) a fraction, a string a date."""
    validation_end: SplitPoint
    """First row after validation; the rest is test."""

    def problems(self) -> Iterator[Problem]:
        """The order of the two ends, where it can be told without the record."""
        first, second = self.train_end, self.validation_end
        if type(first) is type(second) and not first < second:  # type: ignore[operator]
            yield Problem(
                "validation_end",
                f"must lie after `split.train_end`; received train_end={first}, validation_end={second}",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesTask:
    """A window of past rows predicts one later value.

    For an anchor row r the input rows are `range(r - lookback, r, step)` and the target is row `r + delay`.
    """

    __pydantic_config__ = STRICT
    metrics: ClassVar[tuple[str, ...]] = ("loss", "mae", "rmse")

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
    def lead(self) -> int:
        """Rows from the newest input row to the target."""
        return self.delay + self.step

    def problems(self) -> Iterator[Problem]:
        """`lookback` must be a multiple of `step`."""
        if self.lookback % self.step:
            lower = self.lookback - self.lookback % self.step
            near = " or ".join(str(n) for n in (lower, lower + self.step) if n)
            yield Problem(
                "lookback",
                f"must be a multiple of `step`; received lookback={self.lookback}, step={self.step}. Use {near}",
            )
