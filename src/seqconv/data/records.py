"""A time series in memory: reading it from a table, and settling what is wrong with it.

Policies, each stated in the run's log when it applies:

- A row whose time stamp is not later than all before it (repeated, or going backward) is dropped.
- A missing value (an empty cell, or the source's own sentinel such as -9999) is carried forward from the row
  before it, which uses no later knowledge. In target columns nothing is invented: the row is dropped.
- Where the time between two kept rows is not the record's period, the record is cut: no window spans it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqconv.config.errors import DataError

# A record that loses more than this share of its rows to time stamps is not one series in order.
LARGEST_DISORDER = 0.1


@dataclass(frozen=True, kw_only=True)
class Record:
    """A cleaned series.

    Attributes:
        times: `(rows,)` datetime64[s], strictly ascending.
        values: `(rows, columns)` float64, without missing values, each column in its own unit.
        columns: their names, as in the source.
        targets: indices of the columns to predict.
        source_rows: `(rows,)` number of each row in the source as read, counting from 0.
        rows_read: rows of the source as read.
        period: seconds from one row to the next.
        segments: `(start, stop)` runs of rows without a gap in time.
        notes: what reading and cleaning did, one sentence each.
        source: `file`, `cache`, `download` or `simulated`.
        fingerprint: `sha256:` and the checksum of the source.
    """

    times: np.ndarray
    values: np.ndarray
    columns: tuple[str, ...]
    targets: tuple[int, ...]
    source_rows: np.ndarray
    rows_read: int
    period: int
    segments: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]
    source: str
    fingerprint: str


@dataclass(frozen=True)
class Gaps:
    """Where a series of ascending time stamps is cut.

    Attributes:
        period: seconds from one row to the next, the median.
        after: numbers of the rows after which another time than the period passes.
        seconds: that pass there.
    """

    period: int
    after: np.ndarray
    seconds: np.ndarray


def later_rows(times: np.ndarray) -> np.ndarray:
    """Whether each time stamp is later than every one before; the others repeat or go backward.

    Args:
        times: `(rows,)` datetime64[s].
    """
    seconds = times.astype("datetime64[s]").astype(np.int64)
    latest = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(seconds)[:-1]])
    return np.asarray(seconds > latest)


def find_gaps(times: np.ndarray) -> Gaps:
    """The period of a series and its gaps.

    Args:
        times: `(rows,)` datetime64[s], strictly ascending, at least two.
    """
    differences = np.diff(times.astype("datetime64[s]").astype(np.int64))
    period = int(np.median(differences))
    after = np.flatnonzero(differences != period)
    return Gaps(period, after, differences[after])


def unit_of(column: str) -> str:
    """`degC` of `T (degC)`; empty where the name holds no unit."""
    _, found, rest = column.rpartition("(")
    return rest.rstrip(")").strip() if found else ""


def clean_record(
    times: np.ndarray,
    values: np.ndarray,
    *,
    columns: tuple[str, ...],
    targets: tuple[int, ...],
    source: str,
    fingerprint: str,
    sentinel: float | None = None,
    notes: tuple[str, ...] = (),
) -> Record:
    """Settle repeated stamps, missing values and gaps by the policies above.

    Args:
        times: `(rows,)` datetime64[s] as read.
        values: `(rows, columns)` float64 as read; not-a-number is missing.
        columns: names.
        targets: indices of the columns to predict.
        source: `file`, `cache`, `download` or `simulated`.
        fingerprint: of the source.
        sentinel: a value that the source writes for a missing one.
        notes: what reading had to say.

    Raises:
        DataError: if nothing is left, or the stamps are in disorder.
    """
    found = list(notes)
    rows = len(times)
    kept = _ascending(times, found)
    missing = np.isnan(values)
    if sentinel is not None:
        missing |= values == sentinel
    values = np.where(missing, np.nan, values)
    kept = _without_missing(values, missing, kept, columns, targets, found)
    if len(kept) < 2:
        raise DataError(f"the record has {len(kept)} usable rows of {rows}; at least 2 are needed")
    times, values = times[kept], values[kept]
    gaps = find_gaps(times)
    if len(gaps.after):
        longest = np.argmax(gaps.seconds)
        found.append(
            f"cut at {len(gaps.after)} gaps in time; the longest lasts "
            f"{gaps.seconds[longest] / 3600:.1f} h from {times[gaps.after[longest]]}"
        )
    edges = [0, *(gaps.after + 1).tolist(), len(times)]
    return Record(
        times=times,
        values=values,
        columns=columns,
        targets=targets,
        source_rows=kept,
        rows_read=rows,
        period=gaps.period,
        segments=tuple(itertools.pairwise(edges)),
        notes=tuple(found),
        source=source,
        fingerprint=fingerprint,
    )


def array_fingerprint(*arrays: np.ndarray) -> str:
    """The checksum of a record that has no file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()}"


def _ascending(times: np.ndarray, notes: list[str]) -> np.ndarray:
    """Numbers of the rows whose stamp is later than every stamp before."""
    later = later_rows(times)
    dropped = np.flatnonzero(~later)
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
    return np.flatnonzero(later)


def _without_missing(
    values: np.ndarray,
    missing: np.ndarray,
    kept: np.ndarray,
    columns: Sequence[str],
    targets: Sequence[int],
    notes: list[str],
) -> np.ndarray:
    """Carry inputs forward in place; return `kept` without the rows that lack a target."""
    for column in map(int, np.flatnonzero(missing[kept].any(axis=0))):
        absent = missing[kept, column]
        if column in targets:
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
