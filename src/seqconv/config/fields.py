"""Types of configuration fields: what a value may be, said once and checked by pydantic.

Sections are frozen dataclasses without defaults: the YAML files own the defaults. A section's method `problems()`
yields what no single field can know (rules between fields).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import ConfigDict, PlainValidator, TypeAdapter, ValidationError

from seqconv.config.errors import ConfigError, Problem

# Unknown keys are errors, "12" is not 12, and not-a-number is no setting.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Count = Annotated[int, Ge(1)]
NonNegative = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Fraction = Annotated[float, Gt(0), Lt(1)]
LARGEST_SEED = 2**31 - 1
Seed = Annotated[int, Ge(0), Le(LARGEST_SEED)]
Members = Annotated[int, Ge(2), Le(1000)]
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
    r"(?:(?P<w>\d+(?:\.\d+)?)w)?\s*(?:(?P<d>\d+(?:\.\d+)?)d)?\s*(?:(?P<h>\d+(?:\.\d+)?)h)?\s*"
    r"(?:(?P<m>\d+(?:\.\d+)?)m(?:in)?)?\s*(?:(?P<s>\d+(?:\.\d+)?)s)?"
)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
# Longer than any record; what is more overflows a timedelta.
LONGEST_SECONDS = 1e11


def _seconds(text: str) -> float | None:
    """Seconds of a duration such as `90s`, `45m`, `10min`, `3h`, `10d` or `1h30m`; None if it is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    try:
        seconds = sum(float(n) * _SECONDS[unit] for unit, n in match.groupdict().items() if n)
    except OverflowError:  # of 400 digits
        return None
    return seconds if 0 < seconds <= LONGEST_SECONDS else None


def _duration(value: Any) -> float | None:
    """Seconds; from a number of them, or days, hours, minutes and seconds such as `1h30m`."""
    if value is None:
        return None
    seconds: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value) if abs(value) <= LONGEST_SECONDS else None
    elif isinstance(value, str):
        seconds = _seconds(value)
    if seconds is None or not 0 < seconds < float("inf"):
        raise ValueError("must be a duration such as 90s, 45m, 3h or 1h30m, or a number of seconds")
    return seconds


Duration = Annotated[float | None, PlainValidator(_duration)]

Span: TypeAlias = int | timedelta
"""A length of time of a series: rows, or a duration."""

_SPAN_RULE = "rows (an integer) or a duration such as 10min, 6h or 10d"


def _read_span(value: Any, least: int) -> Span:
    """Rows from `least`, or a duration."""
    if isinstance(value, str):
        if value.strip().isdecimal() and len(value) < 10:
            value = int(value)
        elif (seconds := _seconds(value)) is not None:
            return timedelta(seconds=seconds)
    if isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31:
        return value
    raise ValueError(f"must be {_SPAN_RULE}, at least {least}")


def _span(value: Any) -> Span:
    return _read_span(value, 1)


@dataclass(frozen=True, slots=True)
class SpanRange:
    """Every row from one span to another, both included."""

    first: Span
    last: Span


Spans: TypeAlias = tuple[Span, ...] | SpanRange


def _spans(value: Any, least: int) -> Spans:
    """One span, a list of them, or a range over every row such as `1..96`."""
    if isinstance(value, str) and ".." in value:
        first, _, last = value.partition("..")
        return SpanRange(_read_span(first, least), _read_span(last, least))
    if not isinstance(value, list):
        return (_read_span(value, least),)
    if not value:
        raise ValueError("must have at least one element")
    return tuple(_read_span(item, least) for item in value)


Rows = Annotated[Span, PlainValidator(_span)]
Leads = Annotated[Spans, PlainValidator(lambda value: _spans(value, 1))]
Delays = Annotated[Spans, PlainValidator(lambda value: _spans(value, 0))]


def rows_of(span: Span, period: int | None, key: str) -> int:
    """A span in rows.

    Args:
        span: rows or a duration.
        period: seconds from one row to the next; None: rows have no times.
        key: of the configuration, for messages.

    Raises:
        ConfigError: if a duration is no whole number of rows.
    """
    if isinstance(span, int):
        return span
    if period is None:
        raise ConfigError(
            [
                Problem(
                    key, f"the rows have no times, so it must be a number of rows; received {span}"
                )
            ]
        )
    rows, rest = divmod(span.total_seconds(), period)
    if rest or not rows:
        raise ConfigError(
            [
                Problem(
                    key,
                    f"must be a whole number of rows, which are {timedelta(seconds=period)} apart; received {span}",
                )
            ]
        )
    return int(rows)


def _names(value: Any) -> tuple[str, ...]:
    """One name, or a list of different ones."""
    names = [value] if isinstance(value, str) else value
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ValueError("must be the name of a column, or a list of names")
    if len(set(names)) < len(names):
        raise ValueError("names a column twice")
    return tuple(names)


Names = Annotated[tuple[str, ...], PlainValidator(_names)]


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


def float32_only(model: str) -> Problem:
    """What is wrong with `trainer.mixed_precision` for a model that is a sum over tables."""
    rule = f"nothing of `{model}` computes in bfloat16; received true. Leave it false"
    return Problem("trainer.mixed_precision", rule)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSection(NamedSection):
    """The keys of a model."""

    def padding_rule(self) -> PaddingRule | None:
        """How far the padding of texts may be cut; None: every position has weights of its own."""
        return None

    def length_problems(self, time: int, key: str) -> Iterator[Problem]:
        """A problem if samples of `time` steps are too short; `key` is the setting that would make them longer."""
        yield from ()

    def shape_problems(self, spec: Any) -> Iterator[Problem]:
        """A problem if the data is not what the model needs; `spec` is a `seqconv.tasks.contract.SequenceSpec`."""
        yield from ()

    def compile_problems(self) -> Iterator[Problem]:
        """A problem if XLA cannot compile the training step, as `trainer.jit_compile` asks."""
        yield from ()

    def precision_problems(self) -> Iterator[Problem]:
        """A problem if nothing of the model could compute in bfloat16, as `trainer.mixed_precision` asks."""
        yield from ()

    def export_problems(self, form: str) -> Iterator[Problem]:
        """A problem if the model cannot be written as `saved_model`, `onnx` or `litert`."""
        yield from ()
