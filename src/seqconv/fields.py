"""Types of configuration fields: what a value may be, said once and checked by pydantic.

Sections are plain frozen dataclasses without defaults: the YAML pages own the defaults. A section may have a
method `problems()` that yields what no single field can know (rules between fields).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Protocol, runtime_checkable

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import ConfigDict, PlainValidator

from seqconv.errors import Problem

# Unknown keys are errors, "12" is not 12, and not-a-number is no setting.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Gt(0), Lt(1)]
Seed = Annotated[int, Ge(0), Le(2**31 - 1)]
Counts = Annotated[tuple[Count, ...], MinLen(1)]


def _split_point(value: Any) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a row (integer), a fraction in (0, 1) or a date (string)")
    if isinstance(value, int) and value < 1:
        raise ValueError("must be a row of at least 1, a fraction in (0, 1) or a date")
    if isinstance(value, float) and not 0 < value < 1:
        raise ValueError("a fraction must lie in (0, 1); write a row as an integer")
    return value


SplitPoint = Annotated[int | float | str, PlainValidator(_split_point)]


@runtime_checkable
class ChecksItself(Protocol):
    """A section with rules between its fields."""

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong; keys are relative to the section."""
        ...
