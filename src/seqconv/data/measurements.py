"""Measurements out of CSV (plain, gzip, zip) and Parquet files: times, numbers, and which series a row belongs to.

Files are read in blocks of lines, and what they hold is kept in the cache as float32 (`seqconv.data.kept_tables`): a
file may be larger than the memory, and is parsed once.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seqconv.config.errors import ConfigError, DataError, FileError, Problem
from seqconv.data.archives import open_file
from seqconv.data.cells import Coarse
from seqconv.data.checksums import file_checksum
from seqconv.data.csv_reader import CsvReader
from seqconv.data.kept_tables import Arrays, Metadata, TableWriter, load_or_make
from seqconv.data.readers import FrameReader, ParquetReader, Reader, Reading

if TYPE_CHECKING:
    import polars

# Files smaller than this are parsed in no time: nothing of them is kept.
SMALL_BYTES = 2**20
PARQUET = b"PAR1"
# So many columns are named in one note or message.
NAMED = 5


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
        left_out: columns that hold no numbers, and the first cell of each that is none.
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
    left_out: dict[str, str] = field(default_factory=dict)


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
    found = load_or_make(
        {}, lambda writer: _write([FrameReader(frame, reading)], writer), keep=False
    )
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
        left_out=metadata["left_out"],
    )


def _checksum(path: Path) -> str:
    with open_file(path) as stream:
        return file_checksum(stream)


def _parse(paths: Sequence[Path], reading: Reading, writer: TableWriter) -> None:
    """Read files into a writer, in the order of their first time stamps."""
    with contextlib.ExitStack() as opened:
        sources = [opened.enter_context(closing(_source(path, reading))) for path in paths]
        _write(sources, writer)


def _write(sources: list[Reader], writer: TableWriter) -> None:
    if all(source.first_time is not None for source in sources):
        sources.sort(key=lambda source: source.first_time or 0)
    first = sources[0]
    is_ordered = first.time_column is not None or len(sources) == 1
    if not is_ordered and first.reading.series is None:
        raise _without_order()
    # Without stamps each series must be in one file.
    file_of: dict[str, Path | None] = {}
    for source in sources[1:]:
        _refuse_other_form(first, source)
        # They may stand in another order there.
        source.columns = first.columns
    notes = [note for source in sources for note in source.notes]
    series_names: dict[str, int] = {}
    coarse: dict[str, Coarse] = {}
    for source in sources:
        for block in source.blocks():
            codes = None
            if block.series is not None:
                if not is_ordered:
                    names = set(block.series)
                    if any(file_of.setdefault(name, source.path) != source.path for name in names):
                        raise _without_order()
                codes = np.array(
                    [series_names.setdefault(name, len(series_names)) for name in block.series],
                    np.int32,
                )
            writer.write(block.times, block.values, codes)
            for each in block.coarse:
                known = coarse.get(each.column)
                if known is None or each.spacing / each.step > known.spacing / known.step:
                    coarse[each.column] = each
        if source.late_note:
            notes.append(source.late_note)
    notes += _coarse_notes([coarse[name] for name in first.columns if name in coarse])
    writer.finish(
        {
            "columns": list(first.columns),
            "series_names": list(series_names),
            "time_column": first.time_column,
            "time_format": first.time_format,
            "notes": list(dict.fromkeys(notes)),
            "left_out": first.left_out,
        }
    )


def _without_order() -> ConfigError:
    """The error of rows in several files that nothing puts in order."""
    rule = "rows in several files without time stamps have no order; name the column of stamps, or join the files"
    return ConfigError([Problem("dataset.time", rule)])


def _coarse_notes(found: Sequence[Coarse]) -> list[str]:
    """What people must know of columns that float32 hardly keeps."""
    notes = [
        f"`{each.column}` is kept as float32, to about {each.spacing:.2g} at {each.size:.9g}, but changes by about "
        f"{each.step:.2g} from row to row: subtract an offset in the file, or write differences into it"
        for each in found[:NAMED]
    ]
    if len(found) > NAMED:
        notes.append(f"float32 is too coarse for {len(found) - NAMED} more columns")
    return notes


def _refuse_other_form(first: Reader, other: Reader) -> None:
    """Columns may stand in another order, but must have the same names."""
    if set(first.columns) != set(other.columns) or first.time_column != other.time_column:
        differing = sorted(set(first.columns) ^ set(other.columns))
        differing = differing or [f"{first.time_column}", f"{other.time_column}"]
        raise DataError(
            f"{other.path}: must have the columns of {first.path}; they differ in "
            f"{', '.join(f'`{name}`' for name in differing[:NAMED])}"
        )
    if first.time_format != other.time_format:
        raise DataError(
            f"{other.path}: its time stamps look like {other.time_format}, those of {first.path} like "
            f"{first.time_format}"
        )


def _source(path: Path, reading: Reading) -> Reader:
    """The form of a file, by what it begins with."""
    with open_file(path) as stream:
        start = stream.read(4)
    return (ParquetReader if start == PARQUET else CsvReader)(path, reading)


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
