"""Readers of tables, each of one file or frame: its form, which its first rows tell, and its rows block by block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqconv.config.errors import ConfigError, DataError, FileError, Problem, did_you_mean
from seqconv.console import native_notices_in_log
from seqconv.data.cells import (
    AMBIGUOUS,
    EPOCH,
    TIME_FORMATS,
    Coarse,
    closest_time_format,
    find_coarse,
    find_time_format,
    first_without_number,
    is_numeric,
    is_padding,
    parse_numbers,
    parse_times,
    refuse_cells,
)

if TYPE_CHECKING:
    import polars

AUTO = "auto"
BLOCK_ROWS = 2**19
TIME_OF_DAY = r"^\d{1,2}:\d{2}(:\d{2}(\.0+)?)?$"
SAMPLED = 1000  # stamps that decide on the column and its format, from the beginning of the file
STEPS_SAMPLED = 200  # rows that decide whether float32 keeps their steps, of each block the first


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What to read of a table.

    Attributes:
        time: name of the column of time stamps; `auto`: the only one there is; None: rows have no stamps.
        time_format: of the stamps, in the letters of `strftime`; None: found.
        series: name of the column that tells series apart; None: there is one series.
        columns: value columns that must be there; None: all columns of numbers.
        wanted: of all columns of numbers these alone, where all of them are there; None: all.
        found_format: of the stamps of another file of this form, for what may be read in two ways.
    """

    time: str | None = AUTO
    time_format: str | None = None
    series: str | None = None
    columns: tuple[str, ...] | None = None
    wanted: tuple[str, ...] | None = None
    found_format: str | None = None


@dataclass
class Block:
    """Some rows.

    Attributes:
        times: `(rows,)` datetime64[s], or None.
        values: `(rows, columns)` float32.
        series: name of the series of each row, or None.
        coarse: columns that float32 hardly keeps, as far as the first rows tell.
    """

    times: np.ndarray | None
    values: np.ndarray
    series: list[str] | None
    coarse: list[Coarse]


class Reader:
    """One file: its form, which its first rows tell, and its rows block by block.

    Attributes:
        path: for messages.
        columns: value columns.
        left_out: columns that hold no numbers, and the first cell of each that is none.
        time_column: name, or None.
        time_format: of the stamps, or None.
        first_time: of the first row, in seconds; None without stamps.
        notes: of its form.
        late_note: what only reading to the end showed.
    """

    def __init__(self, path: Path, reading: Reading):
        self.path = path
        self.reading = reading
        self.columns: tuple[str, ...] = ()
        self.left_out: dict[str, str] = {}
        self.time_column: str | None = None
        self.time_format: str | None = None
        self.first_time: int | None = None
        self.notes: list[str] = []
        self.late_note = ""

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""

    # What CSV and Parquet have in common

    def choose(self, sample: polars.DataFrame) -> None:
        """Find time and value columns in the first rows.

        Raises:
            DataError: naming what the configuration asks for and the table lacks.
            ConfigError: if time stamps cannot be found.
        """
        reading, names = self.reading, sample.columns
        named = [name for name in (reading.time, reading.series) if name not in (None, AUTO)]
        absent = [name for name in named if name not in names]
        if absent:
            raise _absent_column(self.path, str(absent[0]), names, reading)
        if sample.height == 0:
            raise DataError(f"{self.path}: there are no rows after the header")
        self._choose_time(sample)
        taken = {self.time_column, reading.series}
        if reading.columns is not None:
            missing = [name for name in reading.columns if name not in names]
            if missing:
                raise DataError(
                    f"{self.path}: no column `{'`, `'.join(missing)}`; the header has: {', '.join(names[:20])}"
                )
            self.columns = reading.columns
        elif reading.wanted is not None and set(reading.wanted) <= {*names} - taken:
            # Others may hold what they like. In the order of the file.
            self.columns = tuple(name for name in names if name in reading.wanted)
        else:
            free = [name for name in names if name not in taken and not is_padding(sample[name])]
            self.columns = tuple(name for name in free if is_numeric(sample[name]))
            left_out = [name for name in free if name not in self.columns]
            self.left_out = {name: first_without_number(sample[name]) for name in left_out}
            if left_out:
                self.notes.append(f"left out columns that hold no numbers: {', '.join(left_out)}")
        if not self.columns:
            raise DataError(
                f"{self.path}: has no column of numbers; it has {', '.join(names[:20])}"
            )

    def _choose_time(self, sample: polars.DataFrame) -> None:
        reading = self.reading
        if reading.time is None:
            return
        formats = (reading.time_format,) if reading.time_format else TIME_FORMATS
        if reading.time != AUTO:
            self.time_column = reading.time
            found = find_time_format(sample[reading.time], formats, named=True)
            # Where none fits, the first stamp that cannot be read is reported with the format that fits best.
            self.time_format = (
                found or reading.time_format or closest_time_format(sample[reading.time])
            )
        else:
            fitting = {
                name: form
                for name in sample.columns
                if name != reading.series and (form := find_time_format(sample[name], formats))
            }
            if len(fitting) != 1:
                rule = (
                    f"there are several columns of time stamps: {', '.join(fitting)}"
                    if fitting
                    else f"there is no column of time stamps among {', '.join(sample.columns[:20])}"
                )
                raise ConfigError(
                    [
                        Problem(
                            "dataset.time",
                            f"{self.path}: {rule}. Name one, give dataset.time_format, or set dataset.time=null for "
                            "rows without stamps",
                        )
                    ]
                )
            ((self.time_column, self.time_format),) = fitting.items()
        self._refuse_ambiguous(sample)
        times = parse_times(sample[self.time_column].head(1), self.time_format, self.path, 0)
        self.first_time = int(times[0].astype(np.int64))
        self._note_time_of_day(sample)

    def _note_time_of_day(self, sample: polars.DataFrame) -> None:
        """Say so where a stamp stands in two columns: days repeat, and another column has times of day."""
        import polars as pl

        if self.time_column is None or self.reading.series is not None:
            # A day comes once for each series.
            return
        if sample[self.time_column].n_unique() * 2 > sample.height:
            return
        for name in sample.columns:
            cells = sample[name]
            if cells.dtype == pl.Time or (
                cells.dtype == pl.String and cells.str.contains(TIME_OF_DAY).fill_null(False).all()
            ):
                self.notes.append(
                    f"`{self.time_column}` holds days, and `{name}` times of day: join them into one column of stamps"
                )
                return

    def _refuse_ambiguous(self, sample: polars.DataFrame) -> None:
        """What may be read in two ways is not guessed."""
        if self.reading.time_format or self.time_column is None:
            return
        for pair in AMBIGUOUS:
            if self.time_format in pair:
                texts = sample[self.time_column]
                if self.reading.found_format in pair:
                    self.time_format = self.reading.found_format
                elif all(find_time_format(texts, (form,), named=True) for form in pair):
                    raise ConfigError(
                        [
                            Problem(
                                "dataset.time_format",
                                f"{self.path}: {texts[0]!r} may be {pair[0]} or {pair[1]}; give one of them"
                                + (" (%s for the second)" if EPOCH in pair else ""),
                            )
                        ]
                    )

    def block(self, frame: polars.DataFrame, first_row: int) -> Block:
        """A block whose cells are text or numbers."""
        import polars as pl

        times = None
        if self.time_column is not None:
            times = parse_times(frame[self.time_column], self.time_format, self.path, first_row)
        series = None
        if self.reading.series is not None:
            texts = frame[self.reading.series].cast(pl.String).str.strip_chars()
            refuse_cells(texts, texts.is_null() | (texts == ""), self.path, first_row, "a series")
            series = texts.to_list()
        cells = frame.select(self.columns)
        values = self._numbers(cells, first_row)
        order = None if series is None else np.argsort(series[:STEPS_SAMPLED], kind="stable")
        return Block(times, values, series, find_coarse(cells.head(STEPS_SAMPLED), order))

    def _numbers(self, cells: polars.DataFrame, first_row: int) -> np.ndarray:
        """The value columns as float32, in one piece where they are numbers already."""
        if all(dtype.is_float() for dtype in cells.dtypes):
            with np.errstate(over="ignore"):
                values = cells.to_numpy(order="c").astype(np.float32, copy=False)
            if not np.isinf(values).any():
                return values
        values = np.empty(cells.shape, np.float32)
        for index, name in enumerate(self.columns):
            values[:, index] = parse_numbers(cells[name], self.path, first_row)
        return values


def _absent_column(
    path: Path, name: str, names: Sequence[str], reading: Reading
) -> ConfigError | DataError:
    """The configuration names a column wrongly, or a file of known form is none."""
    listed = ", ".join(names[:20])
    if reading.columns is not None:
        return DataError(f"{path}: no column `{name}`; the header has: {listed}")
    key = "dataset.series" if name == reading.series else "dataset.time"
    hint = did_you_mean(name, names)
    return ConfigError(
        [Problem(key, f"{path}: no column `{name}`.{hint} The header has: {listed}")]
    )


class ParquetReader(Reader):
    """A Parquet file."""

    def __init__(self, path: Path, reading: Reading):
        super().__init__(path, reading)
        import polars as pl

        with self._refuse_damage():
            self._scan = pl.scan_parquet(path, glob=False)
            self._rows = int(self._scan.select(pl.len()).collect().item())
            sample = self._scan.head(SAMPLED).collect()
        self.choose(sample)

    @contextlib.contextmanager
    def _refuse_damage(self) -> Iterator[None]:
        import polars as pl

        try:
            # Some damage makes polars panic, which it reports at length on stderr, and which is no Exception.
            with native_notices_in_log():
                yield
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise FileError(
                f"{self.path}: the Parquet file is cut off or damaged ({str(error).splitlines()[0]})"
            ) from error

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        wanted = [name for name in (*self.columns, self.time_column, self.reading.series) if name]
        for first in range(0, self._rows, BLOCK_ROWS):
            with self._refuse_damage():
                frame = self._scan.select(wanted).slice(first, BLOCK_ROWS).collect()
            yield self.block(frame, first)


class FrameReader(Reader):
    """A frame in memory."""

    def __init__(self, frame: polars.DataFrame, reading: Reading):
        super().__init__(Path("the frame"), reading)
        self._frame = frame
        self.choose(frame.head(SAMPLED))

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        for first in range(0, self._frame.height, BLOCK_ROWS):
            yield self.block(self._frame.slice(first, BLOCK_ROWS), first)
