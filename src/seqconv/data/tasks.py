"""The top-level keys that a kind of dataset brings along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from seqconv.errors import Problem
from seqconv.fields import STRICT, Count, Fraction, NonNegative, Seed, Share, SplitPoint


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationSplit:
    """Which training texts validate, where the source itself has a test part."""

    __pydantic_config__ = STRICT

    validation: Fraction
    """Share of the training texts, the last ones."""


def _training_is_left(validation: float, test: float) -> Iterator[Problem]:
    if validation + test >= 1:
        yield Problem(
            "validation",
            f"and `split.test` must leave texts to train on; received {validation} and {test}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareSplit:
    """Stratified, seeded shares, where the source has no parts."""

    __pydantic_config__ = STRICT

    validation: Fraction
    """Share of all texts that validate."""
    test: Fraction
    """Share of all texts that test."""
    seed: Seed
    """Draws the shares; not the run's seed, so that all runs are tested on the same texts."""

    def problems(self) -> Iterator[Problem]:
        """Something must be left to train on."""
        yield from _training_is_left(self.validation, self.test)


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSplit:
    """Shares, or a column of the source that names the part of each text."""

    __pydantic_config__ = STRICT

    column: str | None
    """Column with `train`, `test` and perhaps `validation`; None: stratified shares of all texts."""
    validation: Fraction
    """Share of the texts (of the training texts, if a column gives no validation part) that validate."""
    test: Fraction
    """Share of all texts that test; unused where a column or the folders name a test part."""
    seed: Seed
    """Draws the shares; not the run's seed, so that all runs are tested on the same texts."""

    def problems(self) -> Iterator[Problem]:
        """Something must be left to train on."""
        if self.column is None:
            yield from _training_is_left(self.validation, self.test)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTask:
    """A text, cut to its last tokens, tells its class."""

    __pydantic_config__ = STRICT
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy", "auc")
    length_key: ClassVar[str] = "max_len"

    max_features: Annotated[int, Ge(4)]
    """Tokens that are told apart, the most frequent ones, three marks included."""
    max_len: Count
    """Tokens of a text, cut in front; shorter ones are filled up in front."""
    embedding_size: Count
    """Numbers that stand for a token."""
    hidden_words: Share
    """Share of words that are hidden in training, others at every step (Iyyer et al., 2015, Deep Unordered
    Composition Rivals Syntactic Methods, who call it word dropout)."""

    @property
    def time_steps(self) -> int:
        """Tokens in one sample."""
        return self.max_len


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTextTask(TextTask):
    """Texts of a source that has a test part."""

    split: ValidationSplit


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareTextTask(TextTask):
    """Texts of a source without parts."""

    split: ShareSplit


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnTextTask(TextTask):
    """Texts of a source that may have parts."""

    split: ColumnSplit
