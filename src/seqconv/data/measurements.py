"""Measurements out of CSV (plain, gzip, zip) and Parquet files: times, numbers, and which series a row belongs to.

Files are read in blocks of lines, and what they hold is kept in the cache as float32 (`seqconv.data.kept_tables`): a
file may be larger than the memory, and is parsed once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from seqconv.config.errors import ConfigError, DataError, FileError, Problem, did_you_mean
from seqconv.console import native_notices_in_log
from seqconv.data.archives import is_packed, read_bytes, unpack
from seqconv.data.checksums import file_checksum
from seqconv.data.files import open_plain
from seqconv.data.kept_tables import Arrays, Metadata, TableWriter, load_or_make
from seqconv.data.tables import decoded, header_names, latin_note

if TYPE_CHECKING:
    import polars

AUTO = "auto"
# A block and what is made of it stay in the processor's cache, and its memory is used again for the next.
BLOCK_BYTES = 2**22
# More are waited for: the checks of a block and the writing of the one before run by the side.
PARSING_THREADS = 3
# Files smaller than this are parsed in no time: nothing of them is kept.
SMALL_BYTES = 2**20
BLOCK_ROWS = 2**19
PARQUET = b"PAR1"
# Tried in this order; the first that reads every stamp of the first block is taken.
TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%#z",
    "%Y-%m-%d %H:%M:%S%#z",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
)
# Day and month may be either way round.
AMBIGUOUS = tuple(
    (form, form.replace("%d/%m", "%m/%d")) for form in TIME_FORMATS if form.startswith("%d/")
)
SAMPLED = 1000  # stamps that decide on the column and its format, from the beginning of the file
EPOCH = "seconds since 1970"
# Seconds since 1970 reach these many digits in the year 5138; what has more counts fractions of a second.
EPOCH_UNITS = ((10**11, 1), (10**14, 10**3), (10**17, 10**6), (10**20, 10**9))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What to read of a table.

    Attributes:
        time: name of the column of time stamps; `auto`: the only one there is; None: rows have no stamps.
        time_format: of the stamps, in the letters of `strftime`; None: found.
        series: name of the column that tells series apart; None: there is one series.
        columns: value columns that must be there; None: all columns of numbers.
    """

    time: str | None = AUTO
    time_format: str | None = None
    series: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """A table of measurements as read.

    Attributes:
        times: `(rows,)` datetime64[s]; None without a column of stamps.
        values: `(rows, columns)` float32; an empty cell is not-a-number. Memory-mapped where it lies in the cache.
        columns: names of the value columns.
        series: `(rows,)` int32 number of each row's series, ascending; None for a single one.
        series_names: their names.
        time_column: name of the column of stamps; None without one.
        time_format: of the stamps.
        fingerprint: `sha256:` and the checksum of the file, or of the checksums of the files.
        notes: what people must know of how it was read.
    """

    times: np.ndarray | None
    values: np.ndarray
    columns: tuple[str, ...]
    series: np.ndarray | None
    series_names: tuple[str, ...]
    time_column: str | None
    time_format: str | None
    fingerprint: str
    notes: tuple[str, ...]


def read_table(paths: Sequence[Path], reading: Reading) -> Table:
    """The tables of one or more files, joined in time order.

    Args:
        paths: `.csv`, `.csv.gz`, `.zip` or `.parquet`; recognized by what they begin with.
        reading: what to read.

    Raises:
        DataError: naming file, row and column of what cannot be read. Row 0 is the first after the header.
        ConfigError: if a column that the configuration names is not there, or time stamps cannot be found.
    """
    sums = [_checksum(path) for path in paths]
    fingerprint = sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest()
    settings = {"fingerprint": fingerprint, **asdict(reading)}
    found = load_or_make(
        settings,
        lambda writer: _parse(paths, reading, writer),
        keep=sum(path.stat().st_size for path in paths) >= SMALL_BYTES,
    )
    return _table(found, f"sha256:{fingerprint}")


def read_frame(frame: polars.DataFrame, reading: Reading) -> Table:
    """The table of a frame in memory, by the rules of a file's.

    Raises:
        DataError: naming row and column of what cannot be used.
        ConfigError: if a column that the configuration names is not there, or time stamps cannot be found.
    """
    found = load_or_make({}, lambda writer: _write([_Frame(frame, reading)], writer), keep=False)
    return _table(found, "")


def _table(found: tuple[Arrays, Metadata], fingerprint: str) -> Table:
    content, metadata = found
    return Table(
        times=content.get("times"),
        values=content["values"],
        columns=tuple(metadata["columns"]),
        series=content.get("series"),
        series_names=tuple(metadata["series_names"]),
        time_column=metadata["time_column"],
        time_format=metadata["time_format"],
        fingerprint=fingerprint,
        notes=tuple(metadata["notes"]),
    )


def _checksum(path: Path) -> str:
    with _opened(path) as stream:
        return file_checksum(stream)


def _opened(path: Path) -> io.BufferedReader:
    """A plain file, open for reading.

    Raises:
        FileError: if it is missing, a folder, a pipe, a device, unreadable or empty.
    """
    try:
        stream = open_plain(path, follow=True)
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    if not stream.peek(1):
        stream.close()
        raise FileError(f"{path}: the file is empty")
    return stream


def _parse(paths: Sequence[Path], reading: Reading, writer: TableWriter) -> None:
    """Read files into a writer, in the order of their first time stamps."""
    with contextlib.ExitStack() as opened:
        sources = [opened.enter_context(closing(_source(path, reading))) for path in paths]
        _write(sources, writer)


def _write(sources: list[_Source], writer: TableWriter) -> None:
    if all(source.first_time is not None for source in sources):
        sources.sort(key=lambda source: source.first_time or 0)
    first = sources[0]
    for source in sources[1:]:
        _refuse_other_form(first, source)
    notes = [note for source in sources for note in source.notes]
    series_names: dict[str, int] = {}
    for source in sources:
        for block in source.blocks():
            codes = None
            if block.series is not None:
                codes = np.array(
                    [series_names.setdefault(name, len(series_names)) for name in block.series],
                    np.int32,
                )
            writer.write(block.times, block.values, codes)
        if source.late_note:
            notes.append(source.late_note)
    writer.finish(
        {
            "columns": list(first.columns),
            "series_names": list(series_names),
            "time_column": first.time_column,
            "time_format": first.time_format,
            "notes": list(dict.fromkeys(notes)),
        }
    )


def _refuse_other_form(first: _Source, other: _Source) -> None:
    if first.columns != other.columns or first.time_column != other.time_column:
        differing = sorted(set(first.columns) ^ set(other.columns)) or list(other.columns)
        raise DataError(
            f"{other.path}: must have the columns of {first.path}; they differ in "
            f"{', '.join(f'`{name}`' for name in differing[:5])}"
        )
    if first.time_format != other.time_format:
        raise DataError(
            f"{other.path}: its time stamps look like {other.time_format}, those of {first.path} like "
            f"{first.time_format}"
        )


@dataclass
class _Block:
    """Some rows.

    Attributes:
        times: `(rows,)` datetime64[s], or None.
        values: `(rows, columns)` float32.
        series: name of the series of each row, or None.
    """

    times: np.ndarray | None
    values: np.ndarray
    series: list[str] | None


class _Source:
    """One file: its form, which its first rows tell, and its rows block by block.

    Attributes:
        path: for messages.
        columns: value columns.
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
        self.time_column: str | None = None
        self.time_format: str | None = None
        self.first_time: int | None = None
        self.notes: list[str] = []
        self.late_note = ""

    def blocks(self) -> Iterator[_Block]:
        """All rows, in their order."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the file."""

    # What CSV and Parquet have in common

    def _choose(self, sample: polars.DataFrame) -> None:
        """Find time and value columns in the first rows."""
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
        else:
            free = [name for name in names if name not in taken and not _is_padding(sample[name])]
            self.columns = tuple(name for name in free if _is_numeric(sample[name]))
            left_out = [name for name in free if name not in self.columns]
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
            found = _time_format(sample[reading.time], formats, named=True)
            # Where none fits, the first stamp that cannot be read is reported with the format that fits best.
            self.time_format = found or reading.time_format or _closest(sample[reading.time])
        else:
            fitting = {
                name: form
                for name in sample.columns
                if name != reading.series and (form := _time_format(sample[name], formats))
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
        times = _parse_times(sample[self.time_column].head(1), self.time_format, self.path, 0)
        self.first_time = int(times[0].astype(np.int64))

    def _refuse_ambiguous(self, sample: polars.DataFrame) -> None:
        """Day and month that may be either way round are not guessed."""
        if self.reading.time_format or self.time_column is None:
            return
        for pair in AMBIGUOUS:
            if self.time_format in pair:
                texts = sample[self.time_column]
                if all(_time_format(texts, (form,)) for form in pair):
                    raise ConfigError(
                        [
                            Problem(
                                "dataset.time_format",
                                f"{self.path}: {texts[0]!r} may be {pair[0]} or {pair[1]}; give one of them",
                            )
                        ]
                    )

    def _block(self, frame: polars.DataFrame, first_row: int) -> _Block:
        """A block whose cells are text or numbers."""
        import polars as pl

        times = None
        if self.time_column is not None:
            times = _parse_times(frame[self.time_column], self.time_format, self.path, first_row)
        series = None
        if self.reading.series is not None:
            texts = frame[self.reading.series].cast(pl.String).str.strip_chars()
            _refuse(texts, texts.is_null() | (texts == ""), self.path, first_row, "a series")
            series = texts.to_list()
        return _Block(times, self._numbers(frame.select(self.columns), first_row), series)

    def _numbers(self, cells: polars.DataFrame, first_row: int) -> np.ndarray:
        """The value columns as float32, in one piece where they are numbers already."""
        if all(dtype.is_float() for dtype in cells.dtypes):
            with np.errstate(over="ignore"):
                values = cells.to_numpy(order="c").astype(np.float32, copy=False)
            if not np.isinf(values).any():
                return values
        values = np.empty(cells.shape, np.float32)
        for index, name in enumerate(self.columns):
            values[:, index] = _parse_numbers(cells[name], self.path, first_row)
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


def _source(path: Path, reading: Reading) -> _Source:
    """The form of a file, by what it begins with."""
    with _opened(path) as stream:
        start = stream.read(4)
    return (_Parquet if start == PARQUET else _Csv)(path, reading)


class _Csv(_Source):
    """A CSV file, packed or not."""

    def __init__(self, path: Path, reading: Reading):
        super().__init__(path, reading)
        self._stream = _unpacked(path)
        # The first line that is UTF-8, but no ASCII, and the first that is no UTF-8.
        self._utf8_line: int | None = None
        self._latin_line: int | None = None
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        """Look at the first block."""
        path = self.path
        lines = _lines(self._stream)
        self._first = next(lines, b"")
        self._rest = lines
        if not self._first or self._first.isspace():
            raise FileError(f"{path}: the file is empty")
        first, _, body = self._as_utf8(self._first, 1).partition(b"\n")
        header = first.decode()
        self.names = _distinct(header_names(header, path))
        if len(self.names) == 1 and (";" in header or "\t" in header):
            raise DataError(
                f"{path}: columns must be separated by commas; the header is {header[:80]!r}"
            )
        self._body = body
        sample = self._as_text(self._body, 0, SAMPLED)
        self._choose(sample)

    def close(self) -> None:
        self._stream.close()

    def blocks(self) -> Iterator[_Block]:
        row = 0
        with ThreadPoolExecutor(PARSING_THREADS) as pool:
            pending = deque[tuple[bytes, Future[_Block]]]()
            for body in self._bodies():
                pending.append((body, pool.submit(self._parsed_block, body, 0)))
                if len(pending) > PARSING_THREADS:
                    block = self._finished(*pending.popleft(), row)
                    row += len(block.values)
                    yield block
            for body, future in pending:
                block = self._finished(body, future, row)
                row += len(block.values)
                yield block

    def _bodies(self) -> Iterator[bytes]:
        """Whole lines as UTF-8."""
        yield self._body
        line = 2 + _count(self._body, "\n")
        for block in self._rest:
            yield self._as_utf8(block, line)
            line += _count(block, "\n")

    def _finished(self, body: bytes, future: Future[_Block], first_row: int) -> _Block:
        try:
            return future.result()
        except DataError:
            # Its row is named by a second reading: only now it is known how many rows are before.
            return self._parsed_block(body, first_row)

    def _parsed_block(self, body: bytes, first_row: int) -> _Block:
        return self._block(self._parsed(body, first_row), first_row)

    def _as_utf8(self, block: bytes, line: int) -> bytes:
        # Nearly every block, and it need not be copied twice.
        plain = block.isascii() and b"\0" not in block
        return block if plain else self._decoded(block, line).encode()

    def _decoded(self, block: bytes, line: int) -> str:
        text, latin_line = decoded(block, self.path, line)
        if latin_line is not None:
            self._latin_line = self._latin_line or latin_line
            self.late_note = latin_note(self._latin_line)
        elif self._utf8_line is None and (other := re.search(rb"[\x80-\xff]", block)):
            self._utf8_line = line + block.count(b"\n", 0, other.start())
        if self._latin_line is not None and self._utf8_line is not None:
            # The same name would be two, depending on the block it stands in.
            raise DataError(
                f"{self.path}: must be UTF-8 or Latin-1 throughout; line {self._utf8_line} is UTF-8, line "
                f"{self._latin_line} is not. Convert the file, for instance with iconv"
            )
        return text

    def _parsed(self, body: bytes, first_row: int) -> polars.DataFrame:
        """A block with numbers where all of its cells are plain ones, else as text."""
        import polars as pl

        _refuse_short_rows(body, len(self.names), self.path, first_row)
        wanted = [*self.columns, self.time_column, self.reading.series]
        schema = {name: pl.Float64 if name in self.columns else pl.String for name in self.names}
        indices = [index for index, name in enumerate(self.names) if name in wanted]
        try:
            frame = pl.read_csv(io.BytesIO(body), has_header=False, schema=schema, columns=indices)
        except pl.exceptions.PolarsError:
            return self._as_text(body, first_row)
        infinite = frame.select(pl.any_horizontal(pl.col(self.columns).is_infinite().any()))
        return self._as_text(body, first_row) if infinite.item() else frame

    def _as_text(self, body: bytes, first_row: int, rows: int | None = None) -> polars.DataFrame:
        """All cells of a block as text without spaces around it."""
        import polars as pl

        if not body:
            return pl.DataFrame(
                {name: [] for name in self.names}, schema=dict.fromkeys(self.names, pl.String)
            )
        try:
            frame = pl.read_csv(
                io.BytesIO(body),
                has_header=False,
                schema=dict.fromkeys(self.names, pl.String),
                n_rows=rows,
            )
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{self.path}: cannot be read as CSV, at row {first_row} or after it ({reason})"
            ) from error
        return frame.with_columns(pl.all().str.strip_chars())


def _unpacked(path: Path) -> IO[bytes]:
    """The text of a file; a packed one is unpacked in memory."""
    stream = _opened(path)
    if is_packed(stream.peek(4)[:4]):
        stream.close()
        return io.BytesIO(unpack(read_bytes(path), path))
    return stream


def _distinct(names: Sequence[str]) -> list[str]:
    """The names of a header; columns without one, as trailing commas make them, are told apart by blanks."""
    distinct: list[str] = []
    unnamed = 0
    for name in names:
        # No name of a header has blanks at its ends.
        distinct.append(name or " " * unnamed)
        unnamed += not name
    return distinct


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines; one that ends within quotes goes on to the end of the cell."""
    while chunk := stream.read(BLOCK_BYTES):
        parts = [chunk if chunk.endswith(b"\n") else chunk + stream.readline()]
        is_within = _count(parts[0], '"') % 2 == 1
        # A quote that is not closed within so many bytes never is: the reader refuses it.
        left = BLOCK_BYTES
        while is_within and left > 0 and (line := stream.readline()):
            parts.append(line)
            left -= len(line)
            is_within = line.count(b'"') % 2 == 0
        yield b"".join(parts)


def _count(body: bytes, character: str) -> int:
    """How often a character occurs; where it is frequent, several times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def _refuse_short_rows(body: bytes, columns: int, path: Path, first_row: int) -> None:
    """Refuse rows with too few cells: polars would fill them up."""
    if columns < 2 or not body:
        return
    cells = np.frombuffer(body, np.uint8)
    is_comma, is_end = cells == ord(","), cells == ord("\n")
    if b'"' in body:
        quotes = cells == ord('"')
        opening = np.flatnonzero(quotes)[::2]
        before = cells[opening[opening > 0] - 1]
        if not np.isin(before, np.frombuffer(b',\n"', np.uint8)).all():
            # In the middle of a cell a quote is a character like others; the block is left to the CSV reader.
            return
        # Within quotes neither is a separator. A doubled quote ends the cell and begins it again.
        outside = ~np.logical_xor.accumulate(quotes)
        is_comma &= outside
        is_end &= outside
    lines = np.count_nonzero(is_end) + (not body.endswith(b"\n"))
    if np.count_nonzero(is_comma) == lines * (columns - 1):
        # Then a short row would have a long one beside it, which the reader refuses.
        return
    ends = np.flatnonzero(is_end)
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(cells)]
    commas = np.add.reduceat(is_comma, starts, dtype=np.int64)
    short = np.flatnonzero(commas < columns - 1)
    if not len(short):
        return
    row = int(short[0])
    stop = ends[row] if row < len(ends) else len(cells)
    if not body[starts[row] : stop].strip():
        return  # An empty line, which is reported as what it lacks.
    raise DataError(
        f"{path}: row {first_row + row}: must have {columns} cells; received "
        f"{commas[row] + 1} (is the file cut off?)"
    )


class _Parquet(_Source):
    """A Parquet file."""

    def __init__(self, path: Path, reading: Reading):
        super().__init__(path, reading)
        import polars as pl

        with self._refuse_damage():
            self._scan = pl.scan_parquet(path, glob=False)
            self._rows = int(self._scan.select(pl.len()).collect().item())
            sample = self._scan.head(SAMPLED).collect()
        self._choose(sample)

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

    def blocks(self) -> Iterator[_Block]:
        wanted = [name for name in (*self.columns, self.time_column, self.reading.series) if name]
        for first in range(0, self._rows, BLOCK_ROWS):
            with self._refuse_damage():
                frame = self._scan.select(wanted).slice(first, BLOCK_ROWS).collect()
            yield self._block(frame, first)


class _Frame(_Source):
    """A frame in memory."""

    def __init__(self, frame: polars.DataFrame, reading: Reading):
        super().__init__(Path("the frame"), reading)
        self._frame = frame
        self._choose(frame.head(SAMPLED))

    def blocks(self) -> Iterator[_Block]:
        for first in range(0, self._frame.height, BLOCK_ROWS):
            yield self._block(self._frame.slice(first, BLOCK_ROWS), first)


# Cells


def _is_numeric(cells: polars.Series) -> bool:
    """Whether a column holds numbers: by its type, or most of its cells."""
    import polars as pl

    if cells.dtype != pl.String:
        return cells.dtype.is_numeric() or cells.dtype in (pl.Boolean, pl.Null)
    present = cells.filter(cells.is_not_null() & (cells != ""))
    numbers = present.cast(pl.Float64, strict=False)
    return int(numbers.is_not_null().sum()) * 2 >= len(present)


def _is_padding(cells: polars.Series) -> bool:
    """Whether a column has neither a name nor a cell, as trailing commas make it."""
    import polars as pl

    if cells.name.strip() or cells.dtype != pl.String:
        return False
    return bool((cells.fill_null("") == "").all())


def _time_format(
    cells: polars.Series, formats: Sequence[str], *, named: bool = False
) -> str | None:
    """The format that reads every stamp of a sample; None if none does.

    Args:
        cells: the first rows.
        formats: to try.
        named: whether the settings name the column; whole numbers are seconds since 1970 then.
    """
    import polars as pl

    if cells.dtype in (pl.Datetime, pl.Date):
        return str(cells.dtype)
    if cells.dtype.is_integer():
        return EPOCH if named else None
    if cells.dtype != pl.String:
        return None
    present = cells.filter(cells.is_not_null() & (cells != ""))
    if not named and present.cast(pl.Float64, strict=False).is_not_null().any():
        return None  # A number is no stamp, and most columns are numbers: trying all formats on them takes long.
    if named and len(present) and present.str.contains(r"^\d{9,19}$").all():
        return EPOCH
    fitting = (form for form in formats if _to_datetime(present, form).is_not_null().all())
    return next(fitting, None) if len(present) else None


def _closest(cells: polars.Series) -> str:
    """The format that reads most stamps of a sample."""
    import polars as pl

    if cells.dtype != pl.String:
        return str(cells.dtype)
    return max(TIME_FORMATS, key=lambda form: int(_to_datetime(cells, form).is_not_null().sum()))


def _to_datetime(texts: polars.Series, form: str) -> polars.Series:
    """Stamps in milliseconds, UTC where they state an offset; null where they cannot be read."""
    import polars as pl

    try:
        if form == EPOCH:
            return _from_epoch(texts)
        if texts.dtype == pl.Datetime:
            # As they are in UTC, where they have a time zone.
            return texts.cast(pl.Datetime("ms", "UTC")).dt.replace_time_zone(None)
        if "z" in form:
            stamps = texts.str.to_datetime(form, time_unit="ms", strict=False, time_zone="UTC")
            return stamps.dt.replace_time_zone(None)
        if "%H" in form:
            return texts.str.to_datetime(form, time_unit="ms", strict=False)
        dates = texts if texts.dtype == pl.Date else texts.str.to_date(form, strict=False)
        return dates.cast(pl.Datetime("ms"))
    except pl.exceptions.PolarsError:
        return pl.Series(texts.name, [None] * len(texts), pl.Datetime("ms"))


def _from_epoch(cells: polars.Series) -> polars.Series:
    """Whole numbers since 1970; how large they are says whether they count seconds or parts of them."""
    import polars as pl

    numbers = cells.cast(pl.Int64, strict=False)
    largest = int(numbers.abs().max() or 0)  # type: ignore[arg-type]
    unit = next((unit for limit, unit in EPOCH_UNITS if largest < limit), EPOCH_UNITS[-1][1])
    scaled = numbers * (1000 // unit) if unit <= 1000 else numbers // (unit // 1000)
    return scaled.cast(pl.Datetime("ms"))


def _parse_times(texts: polars.Series, form: str | None, path: Path, first_row: int) -> np.ndarray:
    import polars as pl

    form = form or TIME_FORMATS[0]
    if texts.dtype == pl.String:
        texts = texts.str.strip_chars()
    times = _to_datetime(texts, form).cast(pl.Datetime("ms"))
    _refuse(texts, times.is_null(), path, first_row, f"a time stamp such as {form}")
    milliseconds = times.cast(pl.Int64).to_numpy()
    fractions = np.flatnonzero(milliseconds % 1000)
    if len(fractions):
        row = int(fractions[0])
        raise DataError(
            f"{path}: row {first_row + row}, column `{texts.name}`: must be a whole second; received "
            f"{_shown(texts, row)}. For faster rows set dataset.time=null"
        )
    return (milliseconds // 1000).view("datetime64[s]")


def _parse_numbers(cells: polars.Series, path: Path, first_row: int) -> np.ndarray:
    import polars as pl

    if cells.dtype == pl.String:
        present = cells.is_not_null() & (cells != "")
        numbers = cells.cast(pl.Float64, strict=False)
        wrong = present & numbers.is_null()
    elif cells.dtype.is_numeric() or cells.dtype in (pl.Boolean, pl.Null):
        numbers = cells.cast(pl.Float64)
        wrong = pl.Series([False]).new_from_index(0, len(cells))
    else:
        raise DataError(f"{path}: column `{cells.name}`: must hold numbers; received {cells.dtype}")
    with np.errstate(over="ignore"):
        found = numbers.fill_null(np.nan).to_numpy().astype(np.float32)
    # "nan" reads as a number; it means that there is none.
    infinite = pl.Series(np.isinf(found))
    _refuse(cells, wrong | infinite, path, first_row, "a number")
    return found


def _refuse(
    cells: polars.Series, wrong: polars.Series, path: Path, first_row: int, wanted: str
) -> None:
    """Raise, naming the first cell that is wrong."""
    rows = wrong.fill_null(False).arg_true()
    if len(rows):
        row = int(rows[0])
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise DataError(
            f"{path}: row {first_row + row}, column `{cells.name}`: must be {wanted}; "
            f"received {_shown(cells, row)}{more}"
        )


def _shown(cells: polars.Series, row: int) -> str:
    """A cell for messages."""
    import polars as pl

    if cells.dtype in (pl.Datetime, pl.Date):
        # Python knows no year before 1 or after 9999, as damage makes them.
        return str(cells.slice(row, 1).to_numpy()[0])
    return repr(cells[row])


def expand(pattern: str) -> list[Path]:
    """The files that a path, which may hold the wildcards `*`, `?` and `[`, stands for, by name.

    Raises:
        FileError: if there is none.
    """
    import glob
    import os

    expanded = os.path.expanduser(pattern)
    if not re.search(r"[*?\[]", pattern) or os.path.exists(expanded):
        return [Path(expanded)]
    found = sorted(path for path in glob.glob(expanded) if not os.path.isdir(path))
    if not found:
        raise FileError(f"{pattern}: no file of such a name")
    return [Path(path) for path in found]
