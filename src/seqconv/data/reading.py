"""Tables of numbers from files: `.csv`, `.csv.gz` and `.zip`, checked cell by cell."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqconv.errors import DataError, FileError
from seqconv.rundir import read_plain

if TYPE_CHECKING:
    import polars

# The whole Jena record unpacks to 43 MB. More than this from one archive is an attack or a mistake.
LARGEST_UNPACKED = 4 * 2**30
# Tables and texts are packed to a tenth. What is packed to less than this is a bomb, unless it is small.
LARGEST_RATIO = 200
SMALL_UNPACKED = 64 * 2**20
# A table with more columns has lost its line ends.
MOST_COLUMNS = 10_000
# What zipfile and the decompressors behind it raise for a file that is cut off, changed or no archive.
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Table:
    """A table as read.

    Attributes:
        times: `(rows,)` datetime64[s].
        values: `(rows, columns)` float64; an empty cell is not-a-number.
        columns: names of the value columns.
        fingerprint: `sha256:` and the checksum of the file.
    """

    times: np.ndarray
    values: np.ndarray
    columns: tuple[str, ...]
    fingerprint: str


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        FileError: if it is missing, a folder, a pipe, a device, unreadable or empty.
    """
    try:
        content = read_plain(path, follow=True)
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    if not content:
        raise FileError(f"{path}: the file is empty")
    return content


def unpack(content: bytes, path: Path) -> bytes:
    """The CSV inside; told by the first bytes, not by the name.

    Raises:
        FileError: if the archive is truncated, damaged, too large, or holds other than one file.
    """
    if content[:2] == b"\x1f\x8b":
        return _gunzip(content, path)
    # A header may start with PK; the byte after it in a zip file is no letter.
    if content[:2] == b"PK" and content[2:3] in (b"", b"\x03", b"\x05"):
        return _unzip(content, path)
    return content


def _gunzip(content: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(largest_unpacked(len(content)) + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise FileError(f"{path}: the gzip file is truncated or damaged ({error})") from error
    if len(unpacked) > largest_unpacked(len(content)):
        raise FileError(f"{path}: unpacks to more than {largest_unpacked(len(content)):,} bytes")
    return unpacked


def largest_unpacked(packed: int) -> int:
    """Bytes that an archive of so many bytes may unpack to."""
    return min(LARGEST_UNPACKED, max(SMALL_UNPACKED, LARGEST_RATIO * packed))


def _unzip(content: bytes, path: Path) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # macOS adds a folder of its own to what it packs; the original Jena archive has one.
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir() and not member.filename.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                raise FileError(f"{path}: the zip file must hold one CSV file, not {len(members)}")
            if members[0].file_size > largest_unpacked(len(content)):
                raise FileError(
                    f"{path}: unpacks to more than {largest_unpacked(len(content)):,} bytes"
                )
            return archive.read(members[0])
    except DAMAGED_ARCHIVE as error:
        raise FileError(f"{path}: the zip file is truncated or damaged ({error})") from error


def read_table(
    path: Path, *, time_column: str, time_format: str, columns: Sequence[str] | None = None
) -> Table:
    """A CSV file with a header, one column of time stamps and else numbers.

    Args:
        path: `.csv`, `.csv.gz` or `.zip`. Text that is no UTF-8 is taken for Latin-1, as stations write it.
        time_column: name of the column of time stamps.
        time_format: of the stamps, in the letters of `strftime`.
        columns: the value columns to read, all of which must be there; None: all there are.

    Raises:
        DataError: naming row and column of what cannot be read. Row 0 is the first after the header.
    """
    content = read_bytes(path)
    frame = _read_text(unpack(content, path), path)
    absent = [name for name in (time_column, *(columns or ())) if name not in frame.columns]
    if absent:
        raise DataError(
            f"{path}: no column `{'`, `'.join(absent)}`; "
            f"the header has: {', '.join(frame.columns[:20])}"
        )
    if frame.height == 0:
        raise DataError(f"{path}: there are no rows after the header")
    times = _parse_times(frame[time_column], time_format, path)
    names = columns or [name for name in frame.columns if name != time_column]
    values = np.empty((frame.height, len(names)), np.float64)
    for index, name in enumerate(names):
        values[:, index] = _parse_numbers(frame[name], path)
    fingerprint = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Table(times, values, tuple(names), fingerprint)


def _read_text(text: bytes, path: Path) -> polars.DataFrame:
    """All cells as stripped text."""
    import polars as pl

    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        text = text.decode("latin-1").encode("utf-8")
    _check_shape(text, path)
    try:
        frame = pl.read_csv(io.BytesIO(text), infer_schema=False)
    except pl.exceptions.NoDataError as error:
        raise FileError(f"{path}: the file is empty") from error
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as CSV ({reason})") from error
    frame = frame.rename(lambda name: name.strip().strip('"'))
    return frame.with_columns(pl.all().str.strip_chars())


def header_names(header: bytes, path: Path) -> list[str]:
    """The columns that the first line of a CSV file names.

    Raises:
        DataError: if it names one twice (polars would call the second one something else), or far too many.
    """
    try:
        names = [name.strip() for name in next(csv.reader([header.decode()]), [])]
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


def _check_shape(text: bytes, path: Path) -> None:
    """Refuse a header that names a column twice, and rows with too few cells: polars would fill them up."""
    header, *rows = text.rstrip().split(b"\n")
    names = header_names(header, path)
    # Within quotes a comma is no separator; such a file is left to the CSV reader.
    if any(b'"' in row for row in rows):
        return
    separators = len(names) - 1
    short = next((n for n, row in enumerate(rows) if row.count(b",") < separators), None)
    if short is not None:
        raise DataError(
            f"{path}: row {short}: must have {len(names)} cells; received "
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
