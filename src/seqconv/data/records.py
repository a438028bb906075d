"""A time series in memory: reading it from a table, and settling what is wrong with it.

Policies, each stated in the run's log when it applies:

- A row whose time stamp is not later than all before it (repeated, or going backward) is dropped.
- A missing value (an empty cell, or the source's own mark such as -9999) is carried forward from the row
  before it, which uses no later knowledge. In the target column nothing is invented: the row is dropped.
- Where the time between two kept rows is not the record's period, the record is cut: no window spans it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seqconv.errors import DataError

# A record that loses more than this share of its rows to time stamps is not one series in order.
LARGEST_DISORDER = 0.1


@dataclass(frozen=True, kw_only=True)
class Record:
    """A cleaned series.

    Attributes:
        times: `(rows,)` datetime64[s], strictly ascending.
        values: `(rows, columns)` float64, without missing values.
        columns: their names, as in the source.
        target: index of the column to predict.
        source_rows: `(rows,)` number of each row in the source as read, counting from 0.
        rows_read: rows of the source as read.
        period: seconds from one row to the next.
        segments: `(start, stop)` runs of rows without a gap in time.
        notes: what cleaning did, one sentence each.
        source: `file`, `cache`, `download` or `simulated`.
        fingerprint: `sha256:` and the checksum of the source.
    """

    times: np.ndarray
    values: np.ndarray
    columns: tuple[str, ...]
    target: int
    source_rows: np.ndarray
    rows_read: int
    period: int
    segments: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = field(default=())
    source: str
    fingerprint: str

    @property
    def unit(self) -> str:
        """The unit of the target column, as its name has it in parentheses."""
        return unit_of(self.columns[self.target])


def unit_of(column: str) -> str:
    """`degC` of `T (degC)`; empty where the name holds no unit."""
    _, found, rest = column.rpartition("(")
    return rest.rstrip(")").strip() if found else ""


def clean_record(
    times: np.ndarray, values: np.ndarray, *, missing_mark: float | None = None, **facts: Any
) -> Record:
    """Settle repeated stamps, missing values and gaps by the policies above.

    Args:
        times: `(rows,)` datetime64[s] as read.
        values: `(rows, columns)` float64 as read; not-a-number is missing.
        missing_mark: a value that the source writes for a missing one.
        facts: `columns`, `target`, `source` and `fingerprint` of the `Record`.

    Raises:
        DataError: if nothing is left, or the stamps are in disorder.
    """
    notes: list[str] = []
    rows = len(times)
    kept = _ascending(times, notes)
    missing = np.isnan(values)
    if missing_mark is not None:
        missing |= values == missing_mark
    values = np.where(missing, np.nan, values)
    kept = _without_missing(values, missing, kept, facts["columns"], facts["target"], notes)
    if len(kept) < 2:
        raise DataError(f"the record has {len(kept)} usable rows of {rows}; at least 2 are needed")
    times, values = times[kept], values[kept]
    period, segments = _segments(times, notes)
    return Record(
        times=times,
        values=values,
        source_rows=kept,
        rows_read=rows,
        period=period,
        segments=segments,
        notes=tuple(notes),
        **facts,
    )


def array_fingerprint(*arrays: np.ndarray) -> str:
    """The checksum of a record that has no file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()}"


def _ascending(times: np.ndarray, notes: list[str]) -> np.ndarray:
    """Numbers of the rows whose stamp is later than every stamp before."""
    seconds = times.astype("datetime64[s]").astype(np.int64)
    latest = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(seconds)[:-1]])
    kept = np.flatnonzero(seconds > latest)
    dropped = np.flatnonzero(seconds <= latest)
    if len(dropped) > LARGEST_DISORDER * len(times):
        raise DataError(
            f"{len(dropped)} of {len(times)} time stamps are not later than the one before them "
            f"(first: row {dropped[0]}, {times[dropped[0]]}); sort the rows by time"
        )
    if len(dropped):
        notes.append(
            f"dropped {len(dropped)} rows whose time stamp repeats or goes backward "
            f"(first: row {dropped[0]}, {times[dropped[0]]})"
        )
    return kept


def _without_missing(
    values: np.ndarray,
    missing: np.ndarray,
    kept: np.ndarray,
    columns: Sequence[str],
    target: int,
    notes: list[str],
) -> np.ndarray:
    """Carry inputs forward in place; return `kept` without the rows that have no target."""
    for column in map(int, np.flatnonzero(missing[kept].any(axis=0))):
        absent = missing[kept, column]
        if column == target:
            notes.append(f"dropped {absent.sum()} rows without a value of `{columns[column]}`")
            continue
        newest = np.maximum.accumulate(np.where(absent, -1, np.arange(len(kept))))
        known = newest >= 0
        values[kept[known], column] = values[kept[newest[known]], column]
        if (absent & known).any():
            notes.append(
                f"carried {(absent & known).sum()} missing values of `{columns[column]}` forward "
                "from the row before"
            )
        if not known.all():
            notes.append(
                f"dropped {(~known).sum()} rows before the first known value of `{columns[column]}`"
            )
    complete = ~np.isnan(values[kept]).any(axis=1)
    return kept[complete]


def _segments(times: np.ndarray, notes: list[str]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The period in seconds, and the runs of rows that follow one another at it."""
    seconds = times.astype("datetime64[s]").astype(np.int64)
    differences = np.diff(seconds)
    period = int(np.median(differences))
    gaps = np.flatnonzero(differences != period)
    if len(gaps):
        longest = gaps[np.argmax(differences[gaps])]
        notes.append(
            f"cut at {len(gaps)} gaps in time; the longest lasts "
            f"{differences[longest] / 3600:.1f} h from {times[longest]}"
        )
    edges = np.concatenate([[0], gaps + 1, [len(times)]])
    return period, tuple((int(a), int(b)) for a, b in itertools.pairwise(edges))
