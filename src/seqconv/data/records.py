"""A time series as read, and what settles what is wrong with it; every change is counted and stated in the run's log.

By default (`seqconv.config.cleaning.Cleaning` has the policies):

- A row whose time stamp is not later than all before it (repeated, or going backward) is dropped.
- A missing value (an empty cell, or a sentinel such as -9999) is carried forward from the row before it, which uses no
  later knowledge. In target columns nothing is invented: the row is dropped.
- Where the time between two kept rows is not the record's period, the record is cut: no window spans it.

Rows are looked at in blocks, so that a record may be larger than the memory.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from seqconv.config.cleaning import Cleaning
from seqconv.config.errors import DataError
from seqconv.data.measurements import Table
from seqconv.data.readers import Reading
from seqconv.data.scratch import empty_rows

# A record that loses more than this share of its rows to time stamps is not one series in order.
LARGEST_DISORDER = 0.1
BLOCK_ROWS = 2**18
# The period is the median of so many differences from the beginning.
PERIOD_ROWS = 2**21
SECOND = np.timedelta64(1, "s")


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


def clean(read: Measurements, cleaning: Cleaning) -> Record:
    """Settle repeated stamps, missing values and gaps by the policies of the configuration.

    Raises:
        DataError: if nothing is left, the stamps are in disorder, or a policy says `error`.
    """
    cleaner = _Cleaner(read, cleaning)
    cleaner.order_rows()
    cleaner.settle_missing()
    return cleaner.record()


class _Cleaner:
    """Cleans one table, step by step.

    Attributes:
        times: of the rows that are left; row numbers as seconds where there are no stamps.
        values: of the rows that are left; the source's own array as long as nothing is changed.
        rows: their numbers in the source; None: all.
    """

    def __init__(self, read: Measurements, cleaning: Cleaning):
        self.read = read
        self.cleaning = cleaning
        self.values = read.values
        self.rows: np.ndarray | None = None
        self.series = read.series
        self.notes = list(read.notes)
        self.counts = Counts()
        count = len(read.values)
        self.times = (
            read.times
            if read.times is not None
            else np.arange(count, dtype=np.int64).view("datetime64[s]")
        )

    # Time stamps

    def order_rows(self) -> None:
        """Drop rows that are not later than those before, in each series by itself."""
        if self.cleaning.duplicates == "keep" or self.read.times is None:
            return
        later = np.empty(len(self.times), bool)
        repeated = 0
        for start, stop in self._series_runs():
            part = self.times[start:stop]
            later[start:stop] = later_rows(part)
            dropped = np.flatnonzero(~later[start:stop])
            repeated += (
                int((part[dropped] == np.maximum.accumulate(part)[dropped]).sum())
                if len(dropped)
                else 0
            )
        dropped = np.flatnonzero(~later)
        if not len(dropped):
            return
        first = f"first: row {dropped[0]}, {self.times[dropped[0]]}"
        if len(dropped) > LARGEST_DISORDER * len(later):
            raise DataError(
                f"{len(dropped)} of {len(later)} time stamps are not later than the one before them "
                f"({first}); sort the rows by time"
            )
        if self.cleaning.duplicates == "error":
            raise DataError(
                f"{len(dropped)} rows have a time stamp that repeats or goes backward ({first}). Correct the data, "
                "or set cleaning.duplicates=keep_first"
            )
        self.notes.append(
            f"dropped {len(dropped)} rows whose time stamp repeats or goes backward ({first})"
        )
        self.counts = replace(self.counts, duplicates=repeated, backward=len(dropped) - repeated)
        self._keep(later)

    def _series_runs(self) -> list[tuple[int, int]]:
        """Where each series begins and ends."""
        return runs_of(self.series, len(self.times))

    def _keep(self, wanted: np.ndarray) -> None:
        """Leave out rows."""
        kept = np.flatnonzero(wanted)
        values = empty_rows((len(kept), self.values.shape[1]), self.values.dtype)
        for block in blocks_of(len(kept)):
            values[block] = self.values[kept[block]]
        self.values = values
        self.times = self.times[kept]
        self.series = None if self.series is None else self.series[kept]
        self.rows = kept if self.rows is None else self.rows[kept]

    # Missing values

    def settle_missing(self) -> None:
        """Fill, or leave out, what is missing."""
        empty, sentinels = self._count_missing()
        total = empty + sentinels
        names = self.read.columns
        self.counts = replace(
            self.counts,
            missing={names[n]: int(empty[n]) for n in np.flatnonzero(empty)},
            sentinels={names[n]: int(sentinels[n]) for n in np.flatnonzero(sentinels)},
        )
        lacking = [int(column) for column in np.flatnonzero(total)]
        if not lacking:
            return
        if self.cleaning.missing == "error":
            self._refuse_missing(lacking[0], int(total[lacking[0]]))
        if self.values is self.read.values:
            self.values = _copy(self.values)
        wanted = np.ones(len(self.values), bool)
        filled: dict[str, int] = {}
        for column in lacking:
            name = names[column]
            missing = self._missing(column)
            if self.cleaning.missing == "drop_windows" or name in self.read.targets:
                wanted &= ~missing
                self.notes.append(f"dropped {missing.sum()} rows without a value of `{name}`")
                continue
            carried, unknown, late = self._fill(column, missing)
            wanted &= ~(unknown | late)
            if carried:
                filled[name] = carried
                self.notes.append(
                    f"carried {carried} missing values of `{name}` forward from the row before"
                )
            if unknown.any():
                self.notes.append(
                    f"dropped {unknown.sum()} rows before the first known value of `{name}`"
                )
            if late.any():
                self.notes.append(
                    f"dropped {late.sum()} rows more than {self.cleaning.fill_rows} after the last known value "
                    f"of `{name}`"
                )
        self.counts = replace(self.counts, filled=filled)
        if not wanted.all():
            self._keep(wanted)

    def _count_missing(self) -> tuple[np.ndarray, np.ndarray]:
        """Empty cells and sentinels of each column."""
        empty = np.zeros(self.values.shape[1], np.int64)
        sentinels = np.zeros(self.values.shape[1], np.int64)
        for block in blocks_of(len(self.values)):
            part = self.values[block]
            empty += np.isnan(part).sum(axis=0)
            for sentinel in self.cleaning.sentinels:
                sentinels += (part == sentinel).sum(axis=0)
        return empty, sentinels

    def _missing(self, column: int) -> np.ndarray:
        values = self.values[:, column]
        missing = np.isnan(values)
        for sentinel in self.cleaning.sentinels:
            missing |= values == sentinel
        return missing

    def _refuse_missing(self, column: int, count: int) -> None:
        row = int(np.flatnonzero(self._missing(column))[0])
        source = row if self.rows is None else int(self.rows[row])
        raise DataError(
            f"row {source}, column `{self.read.columns[column]}`: a value is missing, one of {count} in this column. "
            "Correct the data, or set cleaning.missing to forward_fill or drop_windows"
        )

    def _fill(self, column: int, missing: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        """Carry a column forward in place, within each series.

        Returns:
            How many values were, the rows before the first known one, and those too long after the last.
        """
        positions = np.arange(len(missing))
        newest = np.where(missing, -1, positions)
        unknown = np.zeros(len(missing), bool)
        for start, stop in self._series_runs():
            newest[start:stop] = np.maximum.accumulate(newest[start:stop])
            unknown[start:stop] = newest[start:stop] < start
        late = missing & ~unknown & self._too_far(positions, newest)
        used = np.flatnonzero(missing & ~unknown & ~late)
        self.values[used, column] = self.values[newest[used], column]
        return len(used), unknown, late

    def _too_far(self, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Whether known rows lie more rows before others than may be filled, or as much in time: gaps have no rows."""
        limit = self.cleaning.fill_rows
        if limit is None:
            return np.zeros(len(rows), bool)
        far = rows - known > limit
        if self.read.times is not None and len(rows) > 1:
            period = max(1, self._period(self._series_runs()))
            seconds = (self.times - self.times[known]).astype(np.int64)
            far |= np.rint(seconds / period) > limit
        return far

    # The result

    def record(self) -> Record:
        """What is left, cut at its gaps."""
        rows = len(self.read.values)
        if len(self.times) < 2:
            why = f" ({'; '.join(self.notes)})" if self.notes else ""
            raise DataError(
                f"the record has {len(self.times)} usable rows of {rows}; at least 2 are needed{why}"
            )
        series = self._series_runs()
        if self.cleaning.irregular == "resample" and self.read.times is not None:
            self._resample(series)
            series = self._series_runs()
        period, cuts = self._cuts(series)
        # The first row of every series but the first begins a segment too.
        edges = sorted({0, *cuts, *(start for start, _ in series), len(self.times)})
        return Record(
            times=self.times,
            values=self.values,
            columns=self.read.columns,
            targets=tuple(self.read.columns.index(name) for name in self.read.targets),
            features=self.read.features,
            kept=self.rows,
            rows_read=rows,
            period=period,
            segments=tuple(itertools.pairwise(edges)),
            series=tuple(series),
            series_names=self._names_of(series),
            scaled_apart=self.read.scaled_apart,
            notes=tuple(self.notes),
            counts=replace(self.counts, dropped_rows=rows - len(self.times)),
            source=self.read.source,
            fingerprint=self.read.fingerprint,
            reading=self.read.reading,
            frequency=self.read.frequency,
            stamped=self.read.times is not None,
        )

    def _names_of(self, series: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        """The names of the series that have rows left."""
        if self.series is None:
            return self.read.series_names
        return tuple(self.read.series_names[self.series[start]] for start, _ in series)

    def _period(self, series: Sequence[tuple[int, int]]) -> int:
        """Seconds from one row to the next: as configured, or the median of the longest series."""
        if self.read.frequency is not None:
            return self.read.frequency
        start, stop = max(series, key=lambda run: run[1] - run[0])
        if stop - start < 2:
            raise DataError("no series has two rows; at least 2 are needed")
        return find_gaps(self.times[start : min(stop, start + PERIOD_ROWS)]).period

    def _cuts(self, series: Sequence[tuple[int, int]]) -> tuple[int | None, list[int]]:
        """The period, and the rows that come after a gap."""
        if self.read.times is None:
            return self.read.frequency, self._cuts_of_dropped()
        period = self._period(series)
        if period < 1:
            raise DataError(
                "the time stamps must be a second or more apart. For faster rows set dataset.time=null"
            )
        found = [(find_gaps(self.times[start:stop], period), start) for start, stop in series]
        after = np.concatenate([gaps.after + start for gaps, start in found])
        seconds = np.concatenate([gaps.seconds for gaps, _ in found])
        irregular = np.flatnonzero(seconds % period)
        self.counts = replace(
            self.counts, gaps=len(after) - len(irregular), irregular=len(irregular)
        )
        if self.cleaning.irregular == "keep":
            # Gaps that cleaning made cut as always: else no window would hold a row that was dropped, but span it.
            made = np.intersect1d(after + 1, np.array(self._cuts_of_dropped(), np.int64))
            if len(after) > len(made):
                self.notes.append(
                    f"{len(after) - len(made)} gaps in time are kept (cleaning.irregular=keep): windows span them"
                )
            return period, made.tolist()
        if len(irregular) and self.cleaning.irregular == "error":
            row = int(after[irregular[0]])
            raise DataError(
                f"{len(irregular)} steps in time are no whole number of {period} s (first: "
                f"{seconds[irregular[0]]} s after row {self._source(row)}, {self.times[row]}). Give "
                "dataset.frequency if that is wrong, or set cleaning.irregular to resample or cut"
            )
        if len(after):
            longest = np.argmax(seconds)
            self.notes.append(
                f"cut at {len(after)} gaps in time; the longest lasts "
                f"{seconds[longest] / 3600:.1f} h from {self.times[after[longest]]}"
            )
        return period, (after + 1).tolist()

    def _source(self, row: int) -> int:
        return row if self.rows is None else int(self.rows[row])

    def _cuts_of_dropped(self) -> list[int]:
        """Without time stamps, rows that were left out are the gaps."""
        if self.rows is None:
            return []
        return (np.flatnonzero(np.diff(self.rows) > 1) + 1).tolist()

    def _resample(self, series: Sequence[tuple[int, int]]) -> None:
        """Means over periods, on a grid from the first stamp; a period without a row is a gap.

        Where rows come once a period, but not on time, the grid has them in the middle of its periods: from the first
        stamp, one that is a little early would fall into the period before.
        """
        period = self._period(series)
        starts, times, codes = [], [], []
        for start, stop in series:
            seconds = (self.times[start:stop] - self.times[start]).astype(np.int64)
            bins, firsts = np.unique(
                (seconds - _grid_start(seconds, period)) // period, return_index=True
            )
            starts.append(firsts + start)
            times.append(self.times[start] + bins * period * SECOND)
            # The source's number: a series that has lost all its rows keeps its own.
            code = 0 if self.series is None else self.series[start]
            codes.append(np.full(len(bins), code, np.int32))
        first_rows = np.concatenate(starts)
        if len(first_rows) == len(self.times) and np.array_equal(np.concatenate(times), self.times):
            return
        sums = np.add.reduceat(self.values, first_rows, axis=0, dtype=np.float64)
        sizes = np.diff(np.append(first_rows, len(self.values)))
        self.values = (sums / sizes[:, None]).astype(self.values.dtype)
        self.notes.append(
            f"resampled {len(self.times)} rows to {len(first_rows)} means over {period} s each"
        )
        self.times = np.concatenate(times)
        self.rows = first_rows if self.rows is None else self.rows[first_rows]
        self.series = np.concatenate(codes) if self.series is not None else None


def _grid_start(seconds: np.ndarray, period: int) -> int:
    """Where the periods begin of rows that come once a period, but seldom on time; else 0.

    Args:
        seconds: `(rows,)` of each row, ascending from 0.
        period: in seconds.
    """
    if len(seconds) < 2 or round(float(np.median(np.diff(seconds))) / period) != 1:
        return 0
    rests = seconds % period
    if np.count_nonzero(rests == 0) * 2 > len(rests):
        return 0
    phases = 2 * np.pi * rests / period
    middle = np.arctan2(np.sin(phases).mean(), np.cos(phases).mean()) * period / (2 * np.pi)
    return round(middle - period / 2)


def runs_of(series: np.ndarray | None, rows: int) -> list[tuple[int, int]]:
    """Where each series of a table begins and ends."""
    if series is None or not rows:
        return [(0, rows)]
    edges = [0, *(np.flatnonzero(np.diff(series)) + 1).tolist(), rows]
    return list(itertools.pairwise(edges))


def _copy(values: np.ndarray) -> np.ndarray:
    """The same rows in an array that may be written to."""
    copy = empty_rows(values.shape, values.dtype)
    for block in blocks_of(len(values)):
        copy[block] = values[block]
    return copy


def array_fingerprint(*arrays: np.ndarray) -> str:
    """The checksum of a record that has no file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()}"
