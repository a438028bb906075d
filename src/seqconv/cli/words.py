"""The words of a command line one by one: how they are read, and what those of a sweep stand for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from seqconv.config.errors import Problem

# Composing one takes 30 ms, and nobody reads a table of more.
MOST_JOBS = 10_000
# Composed for a sweeper that chooses its jobs, to find what cannot be composed, and one that can start.
MOST_SAMPLES = 20
# A ValueError is for what Hydra has no error of its own for, such as `~trainer=0` or a number of 5,000 digits.
# A YAMLError or an OSError is for a config file of the user's that is none.
REFUSALS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError, OSError)


def quoted(text: str) -> str:
    """A text as a value that Hydra reads as it is."""
    # A backslash stands for itself, but for one before a quote or at the end.
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", text).replace("'", "\\'")
    return f"'{escaped}'"


def read_word(parser: OverridesParser, word: str) -> Override | Problem:
    """A word, or what is wrong with it.

    What Hydra's grammar cannot read, such as `require=test.mae<2.5`, is read as quoted text.
    """
    key, _, value = word.partition("=")
    attempts = [word]
    if re.fullmatch(r"(\+\+?|~)?[\w./@-]+", key) and value:
        if value[0] == "[" and value[-1] == "]":
            # Names of columns, such as `[T (degC),p (mbar)]`, several such lists, or a list of lists.
            nested = value.startswith("[[") and value.endswith("]]")
            parts = (value[2:-2] if nested else value[1:-1]).split("],[")
            lists = ",".join(f"[{_with_quoted_names(part)}]" for part in parts)
            attempts.append(f"{key}=[{lists}]" if nested else f"{key}={lists}")
        attempts.append(f"{key}={quoted(value)}")
    for attempt in attempts:
        try:
            (override,) = parser.parse_overrides([attempt])
        except REFUSALS:
            continue
        if override.is_discrete_sweep() and (rule := wrong_number(override)):
            return Problem(word, rule)
        if override.is_discrete_sweep() and getattr(override.value(), "shuffle", False):
            # Each time it is read it has another order: the one of now stays.
            values = ",".join(override.sweep_string_iterator())
            (override,) = parser.parse_overrides([f"{key}={values}"])
        if override.key_or_group:
            return override
    rule = "must read like key=value (+key=value, ~key and so on, see --hydra-help)"
    return Problem(word, rule)


def _with_quoted_names(parts: str) -> str:
    return ",".join(quoted(part.strip()) for part in parts.split(","))


def jobs_of(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """The words of each job, in the order of Hydra's own sweeper."""
    for job in itertools.product(*filter(None, map(words_of, overrides))):
        yield list(job)


def samples_of(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """The words of jobs that have all values of each key between them, as far as there are not too many."""
    columns = list(filter(None, map(words_of, overrides)))
    count = max(map(len, columns), default=1)
    for place in range(min(count, MOST_SAMPLES)):
        yield [column[place % len(column)] for column in columns]


def wrong_number(override: Override) -> str:
    """What is wrong with how many values a sweep has; empty if nothing is."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.step == 0:
        return "steps of 0 come to no end"
    # Counted no further than it matters: a range may take hours, and Hydra makes a list of one to shuffle it.
    values = value.range() if isinstance(value, RangeSweep) else override.sweep_iterator()
    count = sum(1 for _ in itertools.islice(values, MOST_JOBS + 1))
    if count > MOST_JOBS:
        return f"stands for more than {MOST_JOBS:,} jobs, which is the most of one sweep: leave out values"
    return "" if count else "stands for no value: there would be no job"


def wrong_interval(override: Override) -> str:
    """What is wrong with an interval to draw from; empty if nothing is, or it is none."""
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return ""
    start, end = float(value.start or 0), float(value.end or 0)
    if start > end:
        return "an interval goes from the smaller number to the larger"
    return (
        "an interval with tag(log, ...) begins above 0"
        if "log" in value.tags and start <= 0
        else ""
    )


def words_of(override: Override) -> list[str]:
    """The words that an override stands for, one for each value of a sweep; none for an interval."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        return []
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def chosen_names(choices: Sequence[str], *, several: bool) -> Iterator[str]:
    """The names that words choose from a group, each one or, where there may be several, a list."""
    for word in choices:
        value = word.partition("=")[2]
        is_list = several and value[:1] == "[" and value[-1:] == "]"
        names = value[1:-1].split(",") if is_list else [value]
        yield from (name.strip().strip("'\"") for name in names)


def first_word(override: Override) -> str:
    """The word of the first value that an override stands for; of an interval its beginning."""
    alternatives = words_of(override)
    if alternatives:
        return alternatives[0]
    value = override.value()
    start = value.start if isinstance(value, IntervalSweep) else value
    whole = isinstance(start, float) and start.is_integer()
    return f"{override.get_key_element()}={int(start) if whole else start}"  # type: ignore[arg-type]
