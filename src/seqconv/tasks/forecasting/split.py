"""Which rows of a record train, validate and test."""

from __future__ import annotations

import numpy as np

from seqconv.config.errors import ConfigError, Problem
from seqconv.data.records import Record
from seqconv.tasks.contract import Split
from seqconv.tasks.forecasting.settings import SeriesSplit

Bounds = dict[Split, tuple[int, int]]
"""First row and first row after it, of each split, in rows of the cleaned record."""


def split_bounds(record: Record, split: SeriesSplit) -> Bounds:
    """The rows of each split.

    Raises:
        ConfigError: if an end lies outside the record, or the two are not in order.
    """
    problems: list[Problem] = []
    ends = [
        _source_row(record, point, f"split.{key}", problems)
        for key, point in (
            ("train_end", split.train_end),
            ("validation_end", split.validation_end),
        )
    ]
    if problems:
        raise ConfigError(problems)
    if not ends[0] < ends[1]:
        raise ConfigError(
            [
                Problem(
                    "split.validation_end",
                    f"must lie after `split.train_end`; received row {ends[1]} after row {ends[0]}",
                )
            ]
        )
    train_end, validation_end = (int(np.searchsorted(record.source_rows, end)) for end in ends)
    return {
        "train": (0, train_end),
        "validation": (train_end, validation_end),
        "test": (validation_end, len(record.times)),
    }


def all_for_test(record: Record) -> Bounds:
    """Every row in the test split: of data that a finished run is evaluated on."""
    return {"train": (0, 0), "validation": (0, 0), "test": (0, len(record.times))}


def _source_row(record: Record, point: int | float | str, key: str, problems: list[Problem]) -> int:
    """A split point as a row of the source as read."""
    if isinstance(point, str):
        return _row_of_date(record, point, key, problems)
    row = int(point * record.rows_read) if isinstance(point, float) else point
    if not 0 < row < record.rows_read:
        problems.append(
            Problem(
                key,
                f"row {row} lies beyond the record of {record.rows_read} rows. A shorter record needs its "
                "own split, such as split.train_end=0.5 split.validation_end=0.75",
            )
        )
    return row


def _row_of_date(record: Record, date: str, key: str, problems: list[Problem]) -> int:
    first, last = record.times[0], record.times[-1]
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
    return int(record.source_rows[np.searchsorted(record.times, moment)])
