"""The `cleaning` section of the configuration: what is done about what is wrong with a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Strict

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, Section


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaning(Section):
    """Policies. Gaps in time always cut windows, except with irregular=keep."""

    sentinels: Annotated[tuple[float, ...], Strict(False)]
    """Numbers that stand for a missing value."""
    duplicates: Literal["keep_first", "error", "keep"]
    """Rows whose time stamp repeats or goes backward."""
    missing: Literal["forward_fill", "drop_windows", "error"]
    """Missing values. A target is never filled: its row is dropped, so that no window holds it."""
    fill_rows: Count | None
    """The most rows in a row that are filled; None: all."""
    irregular: Literal["cut", "resample", "error", "keep"]
    """Steps in time that are no whole number of periods."""

    def problems(self) -> Iterator[Problem]:
        """Means over periods need rows in order."""
        if self.irregular == "resample" and self.duplicates == "keep":
            yield Problem(
                "duplicates",
                "must not be `keep` with irregular=resample, which needs rows in order. Use keep_first or error",
            )


NO_CLEANING = Cleaning(
    sentinels=(), duplicates="keep", missing="error", fill_rows=None, irregular="keep"
)
"""`cleaning=none`: rows as they stand, as benchmarks want them."""


def _named(value: Any) -> Any:
    if value == "none":
        return NO_CLEANING
    if isinstance(value, str):
        raise ValueError("must be `none`, or a section of keys such as cleaning.missing=error")
    return value


CleaningSection = Annotated[Cleaning, BeforeValidator(_named)]
