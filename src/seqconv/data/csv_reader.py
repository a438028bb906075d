"""The reader of CSV files, packed or not, in blocks of lines."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from seqconv.config.errors import DataError, FileError
from seqconv.data.archives import is_packed, open_file, unpack
from seqconv.data.readers import SAMPLED, Block, Reader, Reading
from seqconv.data.tables import NOT_ASCII, decoded, header_names, latin_note

if TYPE_CHECKING:
    import polars

# A block and what is made of it stay in the processor's cache, and its memory is used again for the next.
BLOCK_BYTES = 2**22
# More are waited for: the checks of a block and the writing of the one before run by the side.
PARSING_THREADS = 3


class CsvReader(Reader):
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
        self.choose(sample)

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def blocks(self) -> Iterator[Block]:
        """All rows, in their order."""
        row = 0
        with ThreadPoolExecutor(PARSING_THREADS) as pool:
            pending = deque[tuple[bytes, Future[Block]]]()
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
        line = 2 + count(self._body, "\n")
        for block in self._rest:
            yield self._as_utf8(block, line)
            line += count(block, "\n")

    def _finished(self, body: bytes, future: Future[Block], first_row: int) -> Block:
        try:
            return future.result()
        except DataError:
            # Its row is named by a second reading: only now it is known how many rows are before.
            return self._parsed_block(body, first_row)

    def _parsed_block(self, body: bytes, first_row: int) -> Block:
        return self.block(self._parsed(body, first_row), first_row)

    def _as_utf8(self, block: bytes, line: int) -> bytes:
        # Nearly every block, and it need not be copied twice.
        plain = block.isascii() and b"\0" not in block
        return block if plain else self._decoded(block, line).encode()

    def _decoded(self, block: bytes, line: int) -> str:
        text, latin_line = decoded(block, self.path, line)
        if latin_line is not None:
            self._latin_line = self._latin_line or latin_line
            self.late_note = latin_note(self._latin_line)
        elif self._utf8_line is None and (other := NOT_ASCII.search(block)):
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

        wanted = [*self.columns, self.time_column, self.reading.series]
        schema = {name: pl.Float64 if name in self.columns else pl.String for name in self.names}
        indices = [index for index, name in enumerate(self.names) if name in wanted]
        whole = len(indices) == len(self.names)
        _refuse_uneven_rows(body, len(self.names), self.path, first_row, whole=whole)
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
            _refuse_uneven_rows(body, len(self.names), self.path, first_row, whole=False)
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{self.path}: cannot be read as CSV, at row {first_row} or after it ({reason})"
            ) from error
        return frame.with_columns(pl.all().str.strip_chars())


def _unpacked(path: Path) -> IO[bytes]:
    """The text of a file; a packed one is unpacked in memory."""
    stream = open_file(path)
    if not is_packed(stream.peek(4)[:4]):
        return stream
    with stream:
        return io.BytesIO(unpack(stream.read(), path))


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
    """Blocks of whole lines, a cell in quotes never in two; empty lines at the end of the file are left out."""
    held = b""
    while chunk := stream.read(BLOCK_BYTES):
        parts = [chunk if chunk.endswith(b"\n") else chunk + stream.readline()]
        is_within = count(parts[0], '"') % 2 == 1
        # A quote that is not closed within so many bytes never is: the reader refuses it.
        left = BLOCK_BYTES
        while is_within and left > 0 and (line := stream.readline()):
            parts.append(line)
            left -= len(line)
            is_within = line.count(b'"') % 2 == 0
        if held:
            yield held
        held = b"".join(parts)
    if held := held.rstrip(b"\r\n"):
        yield held + b"\n"


def count(body: bytes, character: str) -> int:
    """How often a character occurs; where it is frequent, several times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord(character)))


def _refuse_uneven_rows(
    body: bytes, columns: int, path: Path, first_row: int, *, whole: bool
) -> None:
    """Refuse rows with too few cells, which polars fills up, and too many, which it cuts where it reads some columns.

    Args:
        body: whole lines.
        columns: how many cells a row must have.
        path: for messages.
        first_row: the number of the first row.
        whole: whether all columns are going to be read.
    """
    if not body:
        return
    cells = np.frombuffer(body, np.uint8)
    is_comma, is_end = cells == ord(","), cells == ord("\n")
    if b'"' in body:
        quotes = cells == ord('"')
        opening = np.flatnonzero(quotes)[::2]
        before = cells[opening[opening > 0] - 1]
        if not np.isin(before, np.frombuffer(b',\n"', np.uint8)).all():
            # In the middle of a cell a quote is a character like others.
            _refuse_uneven(_lengths_of(body), columns, path, first_row)
            return
        # Within quotes neither is a separator. A doubled quote ends the cell and begins it again.
        outside = ~np.logical_xor.accumulate(quotes)
        is_comma &= outside
        is_end &= outside
    lines = np.count_nonzero(is_end) + (not body.endswith(b"\n"))
    if whole and np.count_nonzero(is_comma) == lines * (columns - 1):
        # Then a short row would have a long one beside it, which the reader refuses.
        return
    ends = np.flatnonzero(is_end)
    starts = np.concatenate([[0], ends + 1])
    starts = starts[starts < len(cells)]
    lengths = np.add.reduceat(is_comma, starts, dtype=np.int64) + 1
    # An empty line is reported as what it lacks.
    for row in np.flatnonzero(lengths != columns):
        stop = ends[row] if row < len(ends) else len(cells)
        if not body[starts[row] : stop].strip():
            lengths[row] = columns
    _refuse_uneven(lengths, columns, path, first_row)


def _lengths_of(body: bytes) -> np.ndarray:
    """How many cells each row has, empty lines left out."""
    try:
        rows = [len(row) for row in csv.reader(io.StringIO(body.decode(), newline="")) if row]
    except csv.Error:
        rows = []  # A cell that is too long for it is judged by polars.
    return np.array(rows, np.int64)


def _refuse_uneven(lengths: np.ndarray, columns: int, path: Path, first_row: int) -> None:
    uneven = np.flatnonzero(lengths != columns)
    if len(uneven):
        row = int(uneven[0])
        why = (
            "is the file cut off, or a quote not closed?"
            if lengths[row] < columns
            else "is there a comma in a number, or a line end missing?"
        )
        raise DataError(
            f"{path}: row {first_row + row}: must have {columns} cells; received {lengths[row]} ({why})"
        )
