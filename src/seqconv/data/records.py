"""A time series as read, and as cleaned by `seqconv.data.cleaning`: its rows, columns, segments and gaps."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from seqconv.data.measurements import Table
from seqconv.data.readers import Reading
from seqconv.data.scratch import empty_rows

BLOCK_ROWS = 2**18
# The period is the median of so many differences from the beginning.
PERIOD_ROWS = 2**21


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """A table of measurements as read.

    Attributes:
        times: `(rows,)` datetime64[s]; None for rows without time stamps.
        values: `(rows, columns)` float32 or float64, not-a-number where there is none; may be memory-mapped.
        columns: their names.
        targets: names of the columns to predict.
        features: how many columns, from the first, a model sees; the others are targets only.
        source: `file`, `cache`, `download` or `simulated`.
        fingerprint: `sha256:` and the checksum of the source.
        frequency: seconds from one row to the next, where the settings say so.
        series: `(rows,)` int32 number of each row's series; None for a single one. Rows of a series stand together.
        series_names: their names.
        scaled_apart: whether each series is scaled by its own mean and standard deviation.
        notes: what reading had to say.
        reading: how its files were read, and others of their form are.
    """

    times: np.ndarray | None
    values: np.ndarray
    columns: tuple[str, ...]
    targets: tuple[str, ...]
    features: int
    source: str
    fingerprint: str
    frequency: int | None = None
    series: np.ndarray | None = None
    series_names: tuple[str, ...] = ()
    scaled_apart: bool = False
    notes: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What cleaning found and did, for `metrics.json`.

    Attributes:
        duplicates: rows whose stamp repeats the newest one before.
        backward: rows whose stamp lies before it.
        gaps: places where rows are missing in time.
        irregular: steps in time that are no whole number of periods.
        missing: empty cells by column.
        sentinels: sentinels by column.
        filled: values carried forward by column.
        dropped_rows: rows left out.
    """

    duplicates: int = 0
    backward: int = 0
    gaps: int = 0
    irregular: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    sentinels: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    dropped_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Record:
    """A cleaned series, or several one after the other.

    Attributes:
        times: `(rows,)` datetime64[s], ascending within a series; row numbers as seconds where there are no stamps.
        values: `(rows, columns)`, without missing values, each column in its own unit; may be memory-mapped.
        columns: their names, as in the source.
        targets: indices of the columns to predict.
        features: how many columns, from the first, a model sees; the others are targets only.
        kept: `(rows,)` number of each row in the source as read, counting from 0; None: all rows were kept.
        rows_read: rows of the source as read.
        period: seconds from one row to the next; None for rows without time stamps.
        segments: `(start, stop)` runs of rows without a gap in time, none of them in two series.
        series: `(start, stop)` rows of each series; one for a plain record.
        series_names: their names; empty for a plain record.
        series_starts: the number of each series' first row in the source as read, which has series one after the other.
        scaled_apart: whether each series is scaled by its own mean and standard deviation.
        notes: what reading and cleaning did, one sentence each.
        counts: the same as numbers.
        source: `file`, `cache`, `download` or `simulated`.
        fingerprint: `sha256:` and the checksum of the source.
        reading: how its files were read.
        frequency: seconds from one row to the next, where the settings say so.
        stamped: whether rows have time stamps.
    """

    times: np.ndarray
    values: np.ndarray
    columns: tuple[str, ...]
    targets: tuple[int, ...]
    features: int
    kept: np.ndarray | None
    rows_read: int
    period: int | None
    segments: tuple[tuple[int, int], ...]
    series: tuple[tuple[int, int], ...]
    series_names: tuple[str, ...]
    series_starts: tuple[int, ...]
    scaled_apart: bool
    notes: tuple[str, ...]
    counts: Counts
    source: str
    fingerprint: str
    reading: Reading
    frequency: int | None
    stamped: bool

    @property
    def source_rows(self) -> np.ndarray:
        """The number of each row in the source as read, `(rows,)`."""
        return np.arange(len(self.times)) if self.kept is None else self.kept

    def with_columns(
        self, columns: tuple[str, ...], targets: tuple[str, ...], features: int
    ) -> Record:
        """The same rows with some of the columns, in the order given.

        Args:
            columns: their names, all of which are there.
            targets: names of those to predict.
            features: how many of them, from the first, a model sees.
        """
        found = replace(
            self,
            targets=tuple(columns.index(name) for name in targets),
            features=features,
            columns=columns,
        )
        if columns == self.columns:
            return found
        indices = [self.columns.index(name) for name in columns]
        return replace(found, values=some_columns(self.values, indices))

    def series_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the series of each row, counting from 0."""
        starts = [start for start, _ in self.series]
        return np.searchsorted(starts, rows, side="right") - 1

    def row_of(self, source_row: int) -> int:
        """The first row at or after a row of the source as read."""
        if self.kept is None:
            return source_row
        return int(np.searchsorted(self.kept, source_row))

    def source_row(self, row: int) -> int:
        """The number of a row in the source as read."""
        return row if self.kept is None else int(self.kept[row])


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


def chosen_columns(
    table: Table,
    columns: tuple[str, ...],
    reading: Reading,
    *,
    targets: tuple[str, ...],
    features: int,
    source: str,
    frequency: int | None,
    scaled_apart: bool = False,
) -> Measurements:
    """Some columns of a table, in the order given, as `Measurements`, which explains the arguments."""
    return Measurements(
        times=table.times,
        values=some_columns(table.values, [table.columns.index(name) for name in columns]),
        columns=columns,
        targets=targets,
        features=features,
        source=source,
        fingerprint=table.fingerprint,
        frequency=frequency,
        series=table.series,
        series_names=table.series_names,
        scaled_apart=scaled_apart,
        notes=table.notes,
        reading=replace(reading, found_format=table.time_format),
    )


def some_columns(values: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """Columns of `(rows, columns)` by number; the array itself where they are all of them."""
    if list(indices) == list(range(values.shape[1])):
        return values
    chosen = empty_rows((len(values), len(indices)), values.dtype)
    for block in blocks_of(len(values)):
        chosen[block] = values[block][:, indices]
    return chosen


def blocks_of(rows: int) -> Iterator[slice]:
    """Slices that cover so many rows."""
    for first in range(0, rows, BLOCK_ROWS):
        yield slice(first, min(first + BLOCK_ROWS, rows))


def later_rows(times: np.ndarray) -> np.ndarray:
    """Whether each time stamp is later than every one before; the others repeat or go backward.

    Args:
        times: `(rows,)` datetime64[s].
    """
    later = np.empty(len(times), bool)
    newest = np.iinfo(np.int64).min
    for block in blocks_of(len(times)):
        seconds = times[block].astype("datetime64[s]").astype(np.int64)
        latest = np.maximum.accumulate(np.concatenate([[newest], seconds]))
        later[block] = seconds > latest[:-1]
        newest = latest[-1]
    return later


def find_gaps(times: np.ndarray, period: int | None = None) -> Gaps:
    """The period of a series and its gaps.

    Args:
        times: `(rows,)` datetime64[s], ascending; at least two where the period is not known.
        period: seconds from one row to the next; None: the median of the differences.
    """
    if period is None:
        first = np.diff(times[:PERIOD_ROWS].astype("datetime64[s]").astype(np.int64))
        period = int(np.median(first))
    # A single row has no gaps.
    after, seconds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for block in blocks_of(len(times) - 1):
        part = times[block.start : block.stop + 1].astype("datetime64[s]").astype(np.int64)
        differences = np.diff(part)
        found = np.flatnonzero(differences != period)
        after.append(found + block.start)
        seconds.append(differences[found])
    return Gaps(period, np.concatenate(after), np.concatenate(seconds))


def unit_of(column: str) -> str:
    """`degC` of `T (degC)`; empty where the name holds no unit."""
    _, found, rest = column.rpartition("(")
    return rest.rstrip(")").strip() if found else ""


def runs_of(series: np.ndarray | None, rows: int) -> list[tuple[int, int]]:
    """Where each series of a table begins and ends."""
    if series is None or not rows:
        return [(0, rows)]
    edges = [0, *(np.flatnonzero(np.diff(series)) + 1).tolist(), rows]
    return list(itertools.pairwise(edges))


def array_fingerprint(*arrays: np.ndarray) -> str:
    """The checksum of a record that has no file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()}"
