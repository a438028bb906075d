"""Tables from CSV files: `.csv`, `.csv.gz` and `.zip`. One reader for measurements and for labelled texts."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqconv.config.errors import DataError, FileError
from seqconv.data.archives import read_bytes, unpack

if TYPE_CHECKING:
    import polars

# A table with more columns has lost its line ends.
MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class Cells:
    """A CSV file as text.

    Attributes:
        frame: all cells as they stand, as text.
        notes: what people must know of how it was read.
    """

    frame: polars.DataFrame
    notes: tuple[str, ...]


def read_cells(content: bytes, path: Path) -> Cells:
    """The cells of a CSV file with a header.

    Text is UTF-8, with or without a byte order mark; what is not is taken for Latin-1, as stations write it, and
    a note says so.

    Args:
        content: of the file, not packed.
        path: for messages.

    Raises:
        DataError: if it is empty, the header names a column twice, or it is no CSV.
    """
    import polars as pl

    text, notes = _decoded(content, path)
    _header_names(text.partition("\n")[0], path)
    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise FileError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as CSV ({reason})") from error
    return Cells(frame, notes)


def _decoded(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    if b"\0" in content:
        raise DataError(f"{path}: is no text (it holds a zero byte)")
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return content.decode("latin-1"), (f"read as Latin-1: line {line} is no UTF-8",)


def _header_names(header: str, path: Path) -> list[str]:
    """The columns that the first line names.

    Raises:
        DataError: if it names one twice (polars would call the second one something else), or far too many.
    """
    try:
        names = [name.strip() for name in next(csv.reader([header]), [])]
    except csv.Error as error:
        raise DataError(f"{path}: the header cannot be read ({error})") from error
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{path}: the header names {len(names):,} columns; at most {MOST_COLUMNS:,}"
        )
    counts = Counter(names)
    twice = next((name for name in names if name and counts[name] > 1), None)
    if twice is not None:
        raise DataError(f"{path}: the header names the column `{twice[:40]}` twice")
    return names


@dataclass(frozen=True)
class Table:
    """A table of measurements as read.

    Attributes:
        times: `(rows,)` datetime64[s].
        values: `(rows, columns)` float64; an empty cell is not-a-number.
        columns: names of the value columns.
        fingerprint: `sha256:` and the checksum of the file.
        notes: what people must know of how it was read.
    """

    times: np.ndarray
    values: np.ndarray
    columns: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...]


def read_table(
    path: Path, *, time_column: str, time_format: str, columns: Sequence[str] | None = None
) -> Table:
    """A CSV file with a header, one column of time stamps and else numbers.

    Args:
        path: `.csv`, `.csv.gz` or `.zip`.
        time_column: name of the column of time stamps.
        time_format: of the stamps, in the letters of `strftime`.
        columns: the value columns to read, all of which must be there; None: all there are.

    Raises:
        DataError: naming row and column of what cannot be read. Row 0 is the first after the header.
    """
    content = read_bytes(path)
    text = unpack(content, path)
    # Not before: a missing file is reported at once.
    import polars as pl

    cells = read_cells(text, path)
    _refuse_short_rows(text, cells.frame.width, path)
    frame = cells.frame.rename(lambda name: name.strip().strip('"'))
    absent = [name for name in (time_column, *(columns or ())) if name not in frame.columns]
    if absent:
        raise DataError(
            f"{path}: no column `{'`, `'.join(absent)}`; "
            f"the header has: {', '.join(frame.columns[:20])}"
        )
    if frame.height == 0:
        raise DataError(f"{path}: there are no rows after the header")
    frame = frame.with_columns(pl.all().str.strip_chars())
    times = _parse_times(frame[time_column], time_format, path)
    names = columns or [name for name in frame.columns if name != time_column]
    values = np.empty((frame.height, len(names)), np.float64)
    for index, name in enumerate(names):
        values[:, index] = _parse_numbers(frame[name], path)
    fingerprint = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Table(times, values, tuple(names), fingerprint, cells.notes)


def _refuse_short_rows(text: bytes, columns: int, path: Path) -> None:
    """Refuse rows with too few cells: polars would fill them up."""
    rows = text.rstrip().split(b"\n")[1:]
    # Within quotes a comma is no separator; such a file is left to the CSV reader.
    if any(b'"' in row for row in rows):
        return
    short = next((n for n, row in enumerate(rows) if row.count(b",") < columns - 1), None)
    if short is not None:
        raise DataError(
            f"{path}: row {short}: must have {columns} cells; received "
            f"{rows[short].count(b',') + 1} (is the file cut off?)"
        )


def _parse_times(texts: polars.Series, time_format: str, path: Path) -> np.ndarray:
    import polars as pl

    times = texts.str.to_datetime(time_format, time_unit="ms", strict=False)
    _refuse(texts, times.is_null(), path, f"a time stamp such as {time_format}")
    return times.cast(pl.Datetime("ms")).to_numpy().astype("datetime64[s]")


def _parse_numbers(texts: polars.Series, path: Path) -> np.ndarray:
    import polars as pl

    numbers = texts.cast(pl.Float64, strict=False)
    present = texts.is_not_null() & (texts != "")
    # "nan" reads as a number; it means that there is none.
    _refuse(texts, present & (numbers.is_null() | numbers.is_infinite()), path, "a number")
    return numbers.fill_null(np.nan).to_numpy().astype(np.float64)


def _refuse(texts: polars.Series, wrong: polars.Series, path: Path, wanted: str) -> None:
    """Raise, naming the first cell that is wrong."""
    rows = wrong.fill_null(False).arg_true()
    if len(rows):
        row = int(rows[0])
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise DataError(
            f"{path}: row {row}, column `{texts.name}`: must be {wanted}; "
            f"received {texts[row]!r}{more}"
        )
