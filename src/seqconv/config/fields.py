"""Types of configuration fields: what a value may be, said once and checked by pydantic.

Sections are frozen dataclasses without defaults: the YAML files own the defaults. A section's method `problems()`
yields what no single field can know (rules between fields).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError

from seqconv.config.errors import Problem

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


_DURATION = re.compile(
    r"(?:(?P<d>[\d.]+)d)?\s*(?:(?P<h>[\d.]+)h)?\s*(?:(?P<m>[\d.]+)m)?\s*(?:(?P<s>[\d.]+)s)?"
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _duration(value: Any) -> float | None:
    """Seconds; from a number of them, or days, hours, minutes and seconds such as `1h30m`."""
    if value is None:
        return None
    seconds = 0.0
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        try:
            seconds = sum(float(n) * _SECONDS[unit] for unit, n in match.groupdict().items() if n)
        except ValueError:
            seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError("must be a duration such as 90s, 45m, 3h or 1h30m, or a number of seconds")
    return seconds


Duration = Annotated[float | None, PlainValidator(_duration)]


Form = TypeVar("Form")


def read_values(form: type[Form], value: Any) -> Form:
    """Plain values, as JSON holds them, as a dataclass of strict types.

    Raises:
        ValueError: naming the first key that is wrong.
    """
    try:
        # As JSON, since pydantic's strict mode takes no mapping for a dataclass else.
        return TypeAdapter(form).validate_json(json.dumps(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "it"
        raise ValueError(f"{key}: {first['msg']}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A group of keys."""

    __pydantic_config__ = STRICT

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between fields that are right by themselves; keys are relative to the section."""
        yield from ()


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSection(Section):
    """The keys of a registered model or dataset. The type of `name` is a `Literal` with the registered name."""

    name: str

    @classmethod
    def registered_name(cls) -> str:
        """The one name that the section may have."""
        (name,) = get_args(get_type_hints(cls)["name"])
        return str(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSection(NamedSection):
    """The keys of a dataset."""

    def is_local(self) -> bool:
        """Whether the data is on this machine, so that reading it takes no download and its time is worth using."""
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class PaddingRule:
    """How far the padding in front of texts may be cut without changing a result.

    Attributes:
        extra: positions of padding that must stay in front of the longest text.
        multiple: what is cut away must be a multiple of this, so that poolings stay aligned.
    """

    extra: int
    multiple: int

    def cut(self, longest: int, length: int) -> int:
        """Positions to cut in front of a batch of `length` whose longest text has `longest` tokens.

        With extra=41 and multiple=5, texts of 500 positions of which 300 are used lose 155: 45 stay.
        """
        spare = length - longest - self.extra
        return max(0, spare // self.multiple * self.multiple)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSection(NamedSection):
    """The keys of a model."""

    def padding_rule(self) -> PaddingRule | None:
        """How far the padding of texts may be cut; None: every position has weights of its own."""
        return None

    def length_problems(self, time: int, key: str) -> Iterator[Problem]:
        """A problem if samples of `time` steps are too short; `key` is the setting that would make them longer."""
        yield from ()
