"""Tables of text cells out of CSV files, as they stand; `seqconv.data.measurements` makes numbers and times of them."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqconv.config.errors import DataError, FileError

if TYPE_CHECKING:
    import polars

# A table with more columns has lost its line ends.
MOST_COLUMNS = 10_000
# A character of UTF-8 that takes several bytes.
UTF8_LETTER = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
NOT_ASCII = re.compile(rb"[\x80-\xff]")


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

    text, line = decoded(content, path)
    header_names(text.partition("\n")[0], path)
    # Empty lines at the end are no rows; in between they would move the numbers of those behind them.
    text = text.rstrip("\r\n") + "\n"
    try:
        frame = pl.read_csv(io.BytesIO(text.encode()), infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise FileError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError:
        # It takes no quote within a cell that does not begin with one, and names no row.
        frame = _read_by_rows(text, path)
    # As tables of measurements have them.
    frame.columns = [name.strip() for name in frame.columns]
    return Cells(frame, () if line is None else (latin_note(line),))


def _read_by_rows(text: str, path: Path) -> polars.DataFrame:
    """As polars reads CSV, but slowly, and a quote in the middle of a cell is a character like others.

    Raises:
        DataError: naming the first row that has more or fewer cells than the header.
    """
    import polars as pl

    # Strict: a quote that is not closed is an error.
    rows = csv.reader(io.StringIO(text), strict=True)
    try:
        header, *cells = [row for row in rows if row]
    except csv.Error as error:
        raise DataError(f"{path}: line {rows.line_num} cannot be read as CSV ({error})") from error
    for number, row in enumerate(cells):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number}: must have {len(header)} cells; received {len(row)}"
            )
    return pl.DataFrame(cells, schema=dict.fromkeys(header, pl.String), orient="row")


def decoded(content: bytes, path: Path, first_line: int = 1) -> tuple[str, int | None]:
    """The text of a file, or of whole lines of it; if it is Latin-1 also the first line that is no UTF-8.

    Raises:
        DataError: if it is neither, but UTF-8 with a few wrong bytes: as Latin-1 all other letters would be wrong.
    """
    if b"\0" in content:
        raise DataError(f"{path}: is no text (it holds a zero byte)")
    # Without the mark first: the error's position would be counted behind it.
    is_marked, content = content.startswith(codecs.BOM_UTF8), content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode(), None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + first_line
        letters = UTF8_LETTER.findall(content)
        others = len(NOT_ASCII.findall(content)) - sum(map(len, letters))
        if is_marked or len(letters) >= others:
            raise DataError(
                f"{path}: line {line} is no UTF-8 (byte {content[error.start]:#04x}), where the rest is. Correct it, "
                "or convert the file, for instance with iconv"
            ) from error
        return content.decode("latin-1"), line


def latin_note(line: int) -> str:
    """What people must know of a file whose line is no UTF-8."""
    return f"read as Latin-1: line {line} is no UTF-8"


def header_names(header: str, path: Path) -> list[str]:
    """The columns that the first line names.

    Raises:
        DataError: if it names one twice (polars would call the second one something else), or far too many.
    """
    try:
        names = [name.strip().strip('"') for name in next(csv.reader([header]), [])]
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
