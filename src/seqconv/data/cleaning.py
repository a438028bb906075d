"""What settles what is wrong with a time series as read; every change is counted and stated in the run's log.

By default (`seqconv.config.cleaning.Cleaning` has the policies):

- A row whose time stamp is not later than all before it (repeated, or going backward) is dropped.
- A missing value (an empty cell, or a sentinel such as -9999) is carried forward from the row before it, which uses no
  later knowledge. In target columns nothing is invented: the row is dropped.
- Where the time between two kept rows is not the record's period, the record is cut: no window spans it.

Rows are looked at in blocks, so that a record may be larger than the memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from seqconv.config.cleaning import Cleaning
from seqconv.config.errors import DataError
from seqconv.data.records import (
    BLOCK_ROWS,
    PERIOD_ROWS,
    Counts,
    Measurements,
    Record,
    blocks_of,
    find_gaps,
    later_rows,
    runs_of,
)
from seqconv.data.scratch import empty_rows

# A record that loses more than this share of its rows to time stamps is not one series in order.
LARGEST_DISORDER = 0.1
SECOND = np.timedelta64(1, "s")
# Length of the mean direction of the rows' places in their periods: 1 if all have one place, 0 if they have any.
LEAST_IN_COMMON = 0.3


def clean(read: Measurements, cleaning: Cleaning) -> Record:
    """Settle repeated stamps, missing values and gaps by the policies of the configuration.

    Raises:
        DataError: if nothing is left, the stamps are in disorder, or a policy says `error`.
    """
    cleaner = _Cleaner(read, cleaning)
    cleaner.order_rows()
    cleaner.count_missing()
    # First, since the mean of a period is that of all values that a column has there, whatever other columns lack.
    if cleaning.irregular == "resample" and read.times is not None:
        cleaner.resample()
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
        # Rows that are in the mean of a period with others.
        self.merged = 0
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
        row = int(dropped[0])
        start = max(start for start, _ in self._series_runs() if start <= row)
        # Where one stamp lies far ahead, it is that one that is wrong.
        newest = start + int(np.argmax(self.times[start:row]))
        first = f"first: {self._place(row)}, behind {self._place(newest)}"
        if len(dropped) > LARGEST_DISORDER * len(later):
            raise DataError(
                f"{len(dropped)} of {len(later)} time stamps are not later than the one before them "
                f"({first}); sort the rows by time{self._notes_so_far()}"
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

    def _notes_so_far(self) -> str:
        """What reading and cleaning did until now, for errors that may be due to it."""
        return f" ({'; '.join(self.notes)})" if self.notes else ""

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

    def count_missing(self) -> None:
        """Count what is missing, or refuse it.

        Raises:
            DataError: if something is and `cleaning.missing` is `error`.
        """
        empty, sentinels = self._count_missing()
        total = empty + sentinels
        names = self.read.columns
        self.counts = replace(
            self.counts,
            missing={names[n]: int(empty[n]) for n in np.flatnonzero(empty)},
            sentinels={names[n]: int(sentinels[n]) for n in np.flatnonzero(sentinels)},
        )
        lacking = np.flatnonzero(total)
        if len(lacking) and self.cleaning.missing == "error":
            self._refuse_missing(int(lacking[0]), int(total[lacking[0]]))

    def settle_missing(self) -> None:
        """Fill, or leave out, what is missing."""
        names = self.read.columns
        lacking = [int(column) for column in np.flatnonzero(sum(self._count_missing()))]
        if not lacking:
            return
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
        place = self._place(int(np.flatnonzero(self._missing(column))[0]))
        raise DataError(
            f"{place}, column `{self.read.columns[column]}`: a value is missing, one of {count} in this column. "
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
        late = np.zeros(len(missing), bool)
        used = np.flatnonzero(missing & ~unknown)
        late[used] = self._too_far(used, newest[used])
        used = used[~late[used]]
        self.values[used, column] = self.values[newest[used], column]
        return len(used), unknown, late

    def _too_far(self, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Whether known rows lie more rows before others than may be filled, or as much in time: gaps have no rows."""
        limit = self.cleaning.fill_rows
        if limit is None or not len(rows):
            return np.zeros(len(rows), bool)
        far = rows - known > limit
        # Rows that are kept whatever their times are have no gaps between them.
        keeps = "keep" in (self.cleaning.irregular, self.cleaning.duplicates)
        if self.read.times is not None and not keeps:
            period = max(1, self._period(self._series_runs()))
            seconds = (self.times[rows] - self.times[known]).astype(np.int64)
            far |= np.rint(seconds / period) > limit
        return far

    # The result

    def record(self) -> Record:
        """What is left, cut at its gaps."""
        rows = len(self.read.values)
        if len(self.times) < 2:
            raise DataError(
                f"the record has {len(self.times)} usable rows of {rows}; at least 2 are needed"
                f"{self._notes_so_far()}"
            )
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
            series_starts=self._starts_of(series),
            scaled_apart=self.read.scaled_apart,
            notes=tuple(self.notes),
            counts=replace(self.counts, dropped_rows=rows - self.merged - len(self.times)),
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

    def _starts_of(self, series: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """The first row of each series in the source, which may have been dropped."""
        if self.series is None or self.read.series is None:
            return (0,) * len(series)
        found = np.searchsorted(self.read.series, [self.series[start] for start, _ in series])
        return tuple(found.tolist())

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
                f"{seconds[irregular[0]]} s after {self._place(row)}). Give "
                "dataset.frequency if that is wrong, or set cleaning.irregular to resample or cut"
            )
        if len(after):
            longest = np.argmax(seconds)
            self.notes.append(
                f"cut at {len(after)} gaps in time; the longest lasts "
                f"{seconds[longest] / 3600:.1f} h from {self.times[after[longest]]}"
            )
        return period, (after + 1).tolist()

    def _place(self, row: int) -> str:
        """A row for messages: its number in the source, or its series, whose rows stood among others; and its time."""
        source = row if self.rows is None else int(self.rows[row])
        place = f"row {source}"
        if self.series is not None:
            place = f"series `{self.read.series_names[self.series[row]]}`"
            if self.read.times is None:
                start = next(start for start, stop in self._series_runs() if start <= row < stop)
                place += f", its row {row - start}"
        return place if self.read.times is None else f"{place}, {self.times[row]}"

    def _cuts_of_dropped(self) -> list[int]:
        """Without time stamps, rows that were left out are the gaps."""
        if self.rows is None:
            return []
        return (np.flatnonzero(np.diff(self.rows) > 1) + 1).tolist()

    # Means

    def resample(self) -> None:
        """Means over periods, on a grid from the first stamp; a period without a row is a gap.

        Where rows come once a period, but not on time, the grid has them in the middle of its periods: from the first
        stamp, one that is a little early would fall into the period before. Their means have the time at which rows
        usually come.
        """
        if len(self.times) < 2:
            return
        period = self._period(self._series_runs())
        self._drop_begun_periods(period)
        starts, times, codes = [], [], []
        for start, stop in self._series_runs():
            seconds, place = self._seconds_on_grid(start, stop, period)
            bins, firsts = np.unique(seconds // period, return_index=True)
            starts.append(firsts + start)
            times.append(self.times[start] + (place + bins * period) * SECOND)
            # The source's number: a series that has lost all its rows keeps its own.
            code = 0 if self.series is None else self.series[start]
            codes.append(np.full(len(bins), code, np.int32))
        first_rows = np.concatenate(starts)
        if len(first_rows) == len(self.times) and np.array_equal(np.concatenate(times), self.times):
            return
        self.values = _means(self.values, first_rows, self.cleaning.sentinels)
        self.notes.append(
            f"resampled {len(self.times)} rows to {len(first_rows)} means over {period} s each"
        )
        self.merged = len(self.times) - len(first_rows)
        self.times = np.concatenate(times)
        self.rows = first_rows if self.rows is None else self.rows[first_rows]
        self.series = np.concatenate(codes) if self.series is not None else None

    def _seconds_on_grid(self, start: int, stop: int, period: int) -> tuple[np.ndarray, int]:
        """Seconds from the beginning of the first period to each row of a series, and from its first row to the time
        that the first period is called by."""
        seconds = (self.times[start:stop] - self.times[start]).astype(np.int64)
        begin, place = _grid(seconds, period)
        return seconds - begin, place

    def _drop_begun_periods(self, period: int) -> None:
        """Leave out a last period that has only begun: the mean of its first minutes is no mean of it."""
        wanted = np.ones(len(self.times), bool)
        begun = 0
        for start, stop in self._series_runs():
            if stop - start < 2:
                continue
            seconds, _ = self._seconds_on_grid(start, stop, period)
            numbers = seconds // period
            step = float(np.median(np.diff(seconds)))
            end = (numbers[-1] + 1) * period
            # Half a step may be missing where rows are not on time.
            if seconds[-1] + 1.5 * step < end and numbers[0] < numbers[-1]:
                wanted[start:stop] &= numbers < numbers[-1]
                begun += 1
        if begun:
            self.notes.append(
                f"left out {np.count_nonzero(~wanted)} rows at the end, which do not fill a period of {period} s"
                + (f" ({begun} series)" if self.series is not None else "")
            )
            self._keep(wanted)


def _means(values: np.ndarray, first_rows: np.ndarray, sentinels: Sequence[float]) -> np.ndarray:
    """Means of rows, each column over the values that it has; not-a-number where it has none.

    Args:
        values: `(rows, columns)`.
        first_rows: where each group of rows begins.
        sentinels: numbers that stand for missing values.
    """
    ends = np.append(first_rows[1:], len(values))
    means = empty_rows((len(first_rows), values.shape[1]), values.dtype)
    first = 0
    while first < len(first_rows):
        row = first_rows[first]
        last = max(first + 1, int(np.searchsorted(ends, row + BLOCK_ROWS, side="right")))
        part = values[row : ends[last - 1]]
        missing = np.isnan(part)
        for sentinel in sentinels:
            # In the precision of the values: in double precision -999.9 is not what was read.
            missing |= part == sentinel
        block = part.astype(np.float64)
        block[missing] = 0.0
        places = first_rows[first:last] - row
        known = np.add.reduceat(~missing, places, axis=0, dtype=np.int64)
        sums = np.add.reduceat(block, places, axis=0)
        means[first:last] = np.where(known > 0, sums / np.maximum(known, 1), np.nan)
        first = last
    return means


def _grid(seconds: np.ndarray, period: int) -> tuple[int, int]:
    """Where the first period begins, and the time it is called by; both 0 unless rows come once a period, but seldom
    on time: then that time is the middle.

    Args:
        seconds: `(rows,)` of each row, ascending from 0.
        period: in seconds.
    """
    if len(seconds) < 2 or round(float(np.median(np.diff(seconds))) / period) != 1:
        return 0, 0
    rests = seconds % period
    if np.count_nonzero(rests == 0) * 2 > len(rests):
        return 0, 0
    phases = 2 * np.pi * rests / period
    sine, cosine = np.sin(phases).mean(), np.cos(phases).mean()
    # Of rows that drift through the period there is no middle.
    if np.hypot(sine, cosine) < LEAST_IN_COMMON:
        return 0, 0
    usual = np.arctan2(sine, cosine) * period / (2 * np.pi)
    # A mean is moved by a single row that is far from it.
    apart = (rests - usual + period / 2) % period - period / 2
    return round(usual - period / 2), round(usual + float(np.median(apart)))


def _copy(values: np.ndarray) -> np.ndarray:
    """The same rows in an array that may be written to."""
    copy = empty_rows(values.shape, values.dtype)
    for block in blocks_of(len(values)):
        copy[block] = values[block]
    return copy
