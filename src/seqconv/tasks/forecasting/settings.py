"""The top-level keys of forecasting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from annotated_types import MinLen
from pydantic import Strict

from seqconv.config.cleaning import CleaningSection
from seqconv.config.errors import ConfigError, Problem
from seqconv.config.fields import (
    Count,
    Delays,
    Fraction,
    Leads,
    NonNegativeFloat,
    Rows,
    Section,
    Span,
    SpanRange,
    Spans,
    SplitPoint,
    rows_of,
)
from seqconv.tasks.metrics import FORECAST_METRICS, LOSS, SCALED_METRICS, Metric

Target = Literal["value", "change", "normalized"]
ForecastLoss = Literal["mean_absolute_error", "mean_squared_error", "huber"]
MOST_LEADS = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesSplit(Section):
    """Where training and validation rows end. Rows are counted in the source as read."""

    train_end: SplitPoint
    """First row after training: an integer is a row, a float in (0, 1) a fraction, a string a date."""
    validation_end: SplitPoint
    """First row after validation; the rest is test."""
    inputs_may_reach_back: bool
    """Whether inputs of validation and test windows may lie before the border; targets never do."""

    def problems(self) -> Iterator[Problem]:
        """The order of the two ends, where it is known without the record."""
        # Dates may have a time of day behind a T or a space.
        first, second = (
            end.replace(" ", "T") if isinstance(end, str) else end
            for end in (self.train_end, self.validation_end)
        )
        if type(first) is type(second) and not first < second:  # type: ignore[operator]
            yield Problem(
                "validation_end",
                f"must lie after `split.train_end`; received train_end={self.train_end}, "
                f"validation_end={self.validation_end}",
            )


Levels = Annotated[tuple[Fraction, ...], MinLen(1)]
Parts = Annotated[tuple[Literal["day", "week", "year"], ...], Strict(False)]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSettings(Section):
    """Features made from the record's columns and times; all off unless the settings name them."""

    calendar: Parts
    """Time of day, week or year of each row, as sine and cosine."""
    target_calendar: Parts
    """The same of the time of the furthest target, which is known beforehand."""
    wind_vectors: Annotated[tuple[tuple[str, str], ...], Strict(False)]
    """Pairs of a column of speeds and one of directions in degrees, which two components take the place of."""
    differences: Annotated[tuple[str, ...], Strict(False)]
    """Columns whose change over the last `step` rows is added."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The windows of a record, in rows.

    For an anchor row r, the forecast origin, the input rows are `range(r - lookback, r, step)`. The lead, or horizon,
    of a target counts from the newest input row, r - step; its delay, `lead - step`, from the anchor.

    Attributes:
        lookback: rows of history before the anchor; a multiple of `step`.
        step: every how many rows one is read.
        leads: rows from the newest input row to each target, ascending.
    """

    lookback: int
    step: int
    leads: tuple[int, ...]

    @property
    def time_steps(self) -> int:
        """Rows in one window."""
        return self.lookback // self.step

    @property
    def delays(self) -> tuple[int, ...]:
        """Rows from the anchor to the target of each lead; negative within the last step."""
        return tuple(lead - self.step for lead in self.leads)


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastingSettings(Section):
    """A window of past rows predicts later values; see `Windows`."""

    metrics: ClassVar[tuple[Metric, ...]] = (LOSS, *FORECAST_METRICS, *SCALED_METRICS)
    length_key: ClassVar[str] = "lookback"

    lookback: Rows
    """Rows or duration of history before the anchor; a multiple of `step`."""
    step: Rows
    """Every how many rows, or how long, one is read."""
    delay: Delays
    """Rows or duration from the anchor to the target."""
    lead: Leads | None
    """From the newest input row to the target, instead of `delay`: one, a list, or a range such as `1..96`."""
    target: Target
    """`value`; `change`: from the newest known value; `normalized`: by mean and standard deviation of the window."""
    loss: ForecastLoss
    """What training makes small, in scaled units; with quantiles it is the pinball loss."""
    lead_decay: NonNegativeFloat
    """In the loss the lead of number i counts i ** -lead_decay; 0: all alike."""
    quantiles: Levels | None
    """Levels to forecast, 0.5 among them, which is the point forecast; None: one number."""
    interval: Fraction | None
    """Share of the targets that prediction intervals are to hold; None: no intervals."""
    split: SeriesSplit
    folds: Count | None
    """Parts of the test rows that are tested one after the other, each by a model of what lies before; None: one."""
    fold: Count | None
    """The only one of them to run, from 1; None: all."""
    cleaning: CleaningSection
    inputs: InputSettings

    @property
    def folds_to_run(self) -> int:
        """All folds, unless one is chosen."""
        return (self.folds or 0) if self.fold is None else 0

    @property
    def time_steps(self) -> int | None:
        """Rows in one window; None where only the record's period tells."""
        lookback, step = self.lookback, self.step
        if isinstance(lookback, timedelta) and isinstance(step, timedelta):
            return int(lookback / step)
        if isinstance(lookback, int) and isinstance(step, int):
            return lookback // step
        return None

    def windows(self, period: int | None) -> Windows:
        """The windows in rows.

        Args:
            period: seconds from one row to the next; None: rows have no times.

        Raises:
            ConfigError: if a duration is no whole number of rows, or `lookback` no multiple of `step`.
        """
        step = rows_of(self.step, period, "step")
        lookback = rows_of(self.lookback, period, "lookback")
        if lookback % step:
            raise ConfigError([_no_multiple(lookback, step)])
        if self.lead is not None:
            leads = _all_rows(self.lead, period, "lead")
        else:
            leads = [step + delay for delay in _all_rows(self.delay, period, "delay")]
        return Windows(lookback=lookback, step=step, leads=tuple(leads))

    def problems(self) -> Iterator[Problem]:
        """`lookback` must be a multiple of `step`; leads must ascend."""
        lookback, step = self.lookback, self.step
        if isinstance(lookback, timedelta) and isinstance(step, timedelta):
            if lookback % step:
                yield _no_multiple(lookback, step)
        elif isinstance(lookback, int) and isinstance(step, int) and lookback % step:
            yield _no_multiple(lookback, step)
        if self.fold is not None and self.fold > (self.folds or 0):
            yield Problem(
                "fold", f"must lie in 1 to `folds`; received fold={self.fold}, folds={self.folds}"
            )
        if self.inputs.wind_vectors and self.cleaning.irregular == "resample":
            yield Problem(
                "inputs.wind_vectors",
                "must be [] with cleaning.irregular=resample: the mean of 350 and 10 degrees is not 180. Use cut, or "
                "resample the components before",
            )
        levels = self.quantiles or (0.5,)
        if list(levels) != sorted(set(levels)) or 0.5 not in levels:
            yield Problem(
                "quantiles",
                f"must ascend and have 0.5, the point forecast, among them; received {list(levels)}",
            )
        for key, spans in (("lead", self.lead), ("delay", self.delay)):
            if spans is not None:
                yield from _order_problems(key, spans)


def _no_multiple(lookback: Span, step: Span) -> Problem:
    hint = ""
    if isinstance(lookback, int) and isinstance(step, int):
        lower = lookback - lookback % step
        hint = ". Use " + " or ".join(str(n) for n in (lower, lower + step) if n)
    return Problem(
        "lookback",
        f"must be a multiple of `step`; received lookback={lookback}, step={step}{hint}",
    )


def _order_problems(key: str, spans: Spans) -> Iterator[Problem]:
    """Spans of one kind must ascend, and may not be too many."""
    ends = [spans.first, spans.last] if isinstance(spans, SpanRange) else list(spans)
    for earlier, later in itertools.pairwise(ends):
        if isinstance(earlier, int) and isinstance(later, int):
            wrong = earlier >= later
            many = isinstance(spans, SpanRange) and later - earlier >= MOST_LEADS
        elif isinstance(earlier, timedelta) and isinstance(later, timedelta):
            wrong, many = earlier >= later, False
        else:
            continue
        if wrong:
            yield Problem(key, f"must ascend; received {earlier} before {later}")
            return
        if many:
            yield Problem(key, f"may name at most {MOST_LEADS:,} rows; received {earlier}..{later}")


def _all_rows(spans: Spans, period: int | None, key: str) -> list[int]:
    """Every span in rows, ascending."""
    if isinstance(spans, SpanRange):
        first, last = rows_of(spans.first, period, key), rows_of(spans.last, period, key)
        found = list(range(first, min(last, first + MOST_LEADS) + 1))
        if last - first >= MOST_LEADS:
            raise ConfigError([Problem(key, f"may name at most {MOST_LEADS:,} rows")])
    else:
        found = [rows_of(span, period, key) for span in spans]
    if not found or any(later <= earlier for earlier, later in itertools.pairwise(found)):
        raise ConfigError([Problem(key, f"must ascend; received {found or spans} in rows")])
    return found
