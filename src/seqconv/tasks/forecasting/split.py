"""Which rows of a record train, validate and test."""

from __future__ import annotations

import itertools
import re

import numpy as np

from seqconv.config.errors import ConfigError, Problem
from seqconv.data.records import Record
from seqconv.tasks.contract import Split
from seqconv.tasks.forecasting.settings import SeriesSplit

Bounds = dict[Split, tuple[tuple[int, int], ...]]
"""First row and first row after it, of each split in each series, in rows of the cleaned record."""
# At the end of a date with a time of day.
OFFSET = re.compile(r"T?\d\d:\d\d.*(Z|[+-]\d\d:?\d\d)$", re.IGNORECASE)
# Series and problems that one message names.
NAMED = 5


def split_bounds(record: Record, split: SeriesSplit, folds: int = 1, fold: int = 1) -> Bounds:
    """The rows of each split.

    Args:
        record: cleaned.
        split: where training and validation end, in the first fold.
        folds: parts of equal length of the test rows.
        fold: the one that is tested, from 1. The validation rows are as many as in the first fold, right before it, and
            training has all that is older.

    Raises:
        ConfigError: if an end lies outside the record, or the two are not in order.
    """
    points = {"train_end": split.train_end, "validation_end": split.validation_end}
    problems = [
        Problem(
            f"split.{key}",
            "must be a fraction or a date where there are several series, each of which is split by itself; "
            f"received row {point}",
        )
        for key, point in points.items()
        if isinstance(point, int) and len(record.series) > 1
    ]
    if problems:
        raise ConfigError(problems)
    found: Bounds = {"train": (), "validation": (), "test": ()}
    faults: dict[Problem, list[int]] = {}
    for number, (start, stop) in enumerate(record.series):
        ends = [
            _row(record, (start, stop), point, f"split.{key}", problems)
            for key, point in points.items()
        ]
        if not problems and not ends[0] < ends[1]:
            problems.append(
                Problem(
                    "split.validation_end",
                    "must lie after `split.train_end`; received row "
                    f"{record_row(record, ends[1])} after row {record_row(record, ends[0])}",
                )
            )
        if problems:
            for problem in problems:
                faults.setdefault(problem, []).append(number)
            problems = []
            continue
        first, second = ends
        tested = (stop - second) // folds
        moved = (fold - 1) * tested
        last = stop if fold == folds else second + fold * tested
        edges = itertools.pairwise([start, first + moved, second + moved, last])
        for name, bounds in zip(found, edges, strict=True):
            found[name] += (bounds,)
    if faults:
        named = [_of_series(record, *fault) for fault in faults.items()]
        raise ConfigError(named[:NAMED])
    return found


def _of_series(record: Record, problem: Problem, numbers: list[int]) -> Problem:
    """A problem with the names of the series that have it, unless all have."""
    if len(numbers) == len(record.series):
        return problem
    names = ", ".join(f"`{record.series_names[number]}`" for number in numbers[:NAMED])
    others = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    rule = f"series {names}{others}: {problem.message}. Leave out the rows of series that are too short"
    return Problem(problem.key, rule)


def record_row(record: Record, row: int) -> int:
    """A row of the cleaned record as one of the source."""
    return record.source_row(row) if row < len(record.times) else record.rows_read


def all_for_test(record: Record) -> Bounds:
    """Every row in the test split: of data that a finished run is evaluated on."""
    return {"train": (), "validation": (), "test": record.series}


def _row(
    record: Record,
    series: tuple[int, int],
    point: int | float | str,
    key: str,
    problems: list[Problem],
) -> int:
    """A split point as a row of the cleaned record."""
    start, stop = series
    if isinstance(point, str):
        return _row_of_date(record, series, point, key, problems)
    if len(record.series) > 1:
        row = start + int(point * (stop - start))
        if not start < row < stop:
            problems.append(Problem(key, f"leaves a series of {stop - start} rows without a part"))
        return row
    row = int(point * record.rows_read) if isinstance(point, float) else point
    if not 0 < row < record.rows_read:
        problems.append(
            Problem(
                key,
                f"row {row} lies beyond the record of {record.rows_read} rows. A shorter record needs its "
                "own split, such as split.train_end=0.5 split.validation_end=0.75",
            )
        )
        return 0
    return record.row_of(row)


def _row_of_date(
    record: Record, series: tuple[int, int], date: str, key: str, problems: list[Problem]
) -> int:
    start, stop = series
    if not record.stamped:
        problems.append(Problem(key, f"the rows have no times; received the date {date!r}"))
        return 0
    first, last = record.times[start], record.times[stop - 1]
    if OFFSET.search(date):
        rule = f"must have no offset from UTC, rows are split by their stamps; received {date!r}"
        problems.append(Problem(key, rule))
        return 0
    moment: np.datetime64
    try:
        moment = np.datetime64(date, "s")
    except ValueError:
        moment = np.datetime64("NaT", "s")
    if np.isnat(moment):
        problems.append(
            Problem(key, f"must be a date such as 2010-06-30 or a row; received {date!r}")
        )
        return 0
    if not first < moment <= last:
        problems.append(Problem(key, f"{date} lies outside the record, {first} to {last}"))
        return 0
    return start + int(np.searchsorted(record.times[start:stop], moment))
