"""Labelled texts from files: CSV, JSON lines, Parquet, or a folder per class."""

from __future__ import annotations

import codecs
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from seqconv.config.errors import (
    ConfigError,
    DataError,
    FileError,
    Problem,
    SeqconvError,
    did_you_mean,
)
from seqconv.console import native_notices_in_log
from seqconv.data.archives import read_bytes, unpack
from seqconv.data.tables import read_cells

# A text longer than this is a file that lost its line ends, not a text.
LONGEST_TEXT = 10_000_000
# More classes than this, or more than half as many as texts, is a measurement and no label.
MOST_CLASSES = 1000
# More rows than these are believed only of a file with as many bytes: a repeated value takes none.
MANY_ROWS = 1_000_000
# Reviews without a label in the layout of aclImdb.
UNLABELLED_FOLDER = "unsup"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class LabelledTexts:
    """What was read.

    Attributes:
        texts: in an order of their own, which does not depend on that of the source.
        labels: the class of each, as text.
        parts: `train`, `validation` or `test` of each; None where the source has no parts.
        fingerprint: `sha256:` and a checksum of texts, labels and parts, whatever file they came from.
        origin: the file or folder, for messages.
        places: where each text stands in it, for messages.
        notes: what people must know of how it was read.
        refusal: why no model can be trained on them; raised where one is to be, since a finished one may be evaluated.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    parts: tuple[str, ...] | None
    fingerprint: str
    origin: str = field(compare=False)
    places: tuple[str, ...] = field(compare=False)
    notes: tuple[str, ...] = field(compare=False, default=())
    refusal: SeqconvError | None = field(compare=False, default=None)


@dataclass(frozen=True)
class _Row:
    """One labelled text, and where it stands."""

    text: Any
    label: Any
    part: Any
    place: str


def read_labelled(path: Path, *, text: str, label: str, part: str | None) -> LabelledTexts:
    """Read and check labelled texts.

    Args:
        path: `.csv`, `.jsonl` (either may be packed with gzip or zip), `.parquet`, or a folder with a folder per
            class, perhaps below `train` and `test`.
        text: column of the texts.
        label: column of the classes.
        part: column of `train`, `validation` and `test`; None: there is none.

    Raises:
        DataError: naming file and row of what cannot be used.
        ConfigError: if a column is not there.
    """
    columns: Columns = {"text": text, "label": label, "part": part}
    refusal: SeqconvError | None = None
    try:
        rows, notes = _labelled_rows(path, columns)
    except ConfigError as error:
        if [problem.key for problem in error.problems] != [COLUMN_KEYS["part"]]:
            raise
        refusal = error
        rows, notes = _labelled_rows(path, {**columns, "part": None})
    if not rows:
        raise DataError(f"{path}: there are no texts in it")
    checked = [_checked(row, path) for row in rows]
    refusal = refusal or _measurements(checked, path, label) or _missing_parts(checked, path)
    # The same texts in another order, or from another kind of file, give the same run.
    checked.sort(key=lambda row: (row.text, row.label, row.part or ""))
    digest = hashlib.sha256()
    for row in checked:
        digest.update(json.dumps([row.text, row.label, row.part]).encode())
    return LabelledTexts(
        texts=tuple(row.text for row in checked),
        labels=tuple(row.label for row in checked),
        parts=None if checked[0].part is None else tuple(row.part for row in checked),
        fingerprint=f"sha256:{digest.hexdigest()}",
        origin=str(path),
        places=tuple(row.place for row in checked),
        notes=notes,
        refusal=refusal,
    )


def _labelled_rows(path: Path, columns: Columns) -> tuple[list[_Row], tuple[str, ...]]:
    """The rows of a file or folder, and what reading had to say."""
    try:
        if not path.exists():
            raise FileError(f"{path}: no such file or folder (`dataset.path`)")
        if path.is_dir():
            return _folder_rows(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    found = _reader(path)(read_bytes(path), path, columns)
    return list(found.rows), found.notes


def read_unlabelled(path: Path, *, text: str) -> tuple[list[str], tuple[str, ...]]:
    """Texts of a file in its own order, and what reading had to say.

    Args:
        path: `.csv`, `.jsonl` (either may be packed with gzip or zip) or `.parquet`.
        text: column of the texts.

    Raises:
        DataError: naming file and row of what cannot be used, or the column that is not there.
    """
    if path.is_dir():
        raise DataError(
            f"{path}: is a folder; texts are predicted of a .csv, .jsonl or .parquet file"
        )
    texts = []
    try:
        found = _reader(path)(read_bytes(path), path, {"text": text, "label": None, "part": None})
        for row in found.rows:
            # One of a million must not keep the others from being predicted.
            if row.text is None or (isinstance(row.text, str) and not row.text.strip()):
                texts.append("")
                continue
            _check_text(row.text, f"{path}: {row.place}")
            texts.append(row.text)
    except ConfigError as error:
        # The column is the run's, so it is the file that is wrong.
        raise DataError(f"{path}: {error.problems[0].message}") from error
    if not texts:
        raise DataError(f"{path}: there are no texts in it")
    return texts, found.notes


Columns = dict[str, str | None]
COLUMN_KEYS = {"text": "dataset.text", "label": "dataset.label", "part": "dataset.split_column"}


@dataclass(frozen=True)
class Rows:
    """What a file holds, and what people must know of how it was read."""

    rows: Iterable[_Row]
    notes: tuple[str, ...] = ()


def _reader(path: Path) -> Callable[[bytes, Path, Columns], Rows]:
    names = path.name.lower().removesuffix(".gz").removesuffix(".zip")
    readers = {
        ".csv": _csv_rows,
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".parquet": _parquet_rows,
    }
    for suffix, reader in readers.items():
        if names.endswith(suffix):
            return reader
    raise ConfigError(
        [
            Problem(
                "dataset.path",
                f"must be a folder or end in {', '.join(readers)} (.gz and .zip may follow); received {path}",
            )
        ]
    )


def _decoded(content: bytes, path: Path) -> str:
    # Without the mark first: the error's position would be counted behind it.
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line} is no UTF-8 (byte {content[error.start]:#04x}); "
            "convert the file, for instance with iconv"
        ) from error


def _csv_rows(content: bytes, path: Path, columns: Columns) -> Rows:
    cells = read_cells(unpack(content, path), path)
    return Rows(_frame_rows(cells.frame, columns), cells.notes)


def _parquet_rows(content: bytes, path: Path, columns: Columns) -> Rows:
    import polars as pl

    unpacked = unpack(content, path)
    try:
        # Some damage makes polars panic, which it reports at length on stderr, and which is no Exception.
        with native_notices_in_log():
            rows = pl.scan_parquet(io.BytesIO(unpacked)).select(pl.len()).collect().item()
            if rows > max(MANY_ROWS, len(unpacked)):
                raise DataError(f"{path}: states {rows:,} rows, but has {len(unpacked):,} bytes")
            frame = pl.read_parquet(io.BytesIO(unpacked))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as Parquet ({reason})") from error
    return Rows(_frame_rows(frame, columns))


def _frame_rows(frame: Any, columns: Columns) -> Iterator[_Row]:
    _require_columns(frame.columns, columns)
    texts = frame[columns["text"]]
    labels = frame[columns["label"]] if columns["label"] else [None] * frame.height
    parts = frame[columns["part"]] if columns["part"] else [None] * frame.height
    for number, (text, label, part) in enumerate(zip(texts, labels, parts, strict=True)):
        yield _Row(text, label, _named(part, columns), f"row {number}")


def _json_rows(content: bytes, path: Path, columns: Columns) -> Rows:
    return Rows(_json_lines(content, path, columns))


def _json_lines(content: bytes, path: Path, columns: Columns) -> Iterator[_Row]:
    columns_are_checked = False
    for number, line in enumerate(_decoded(unpack(content, path), path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        if len(line) > 2 * LONGEST_TEXT:
            raise DataError(
                f"{path}: {place} has {len(line):,} characters; at most {LONGEST_TEXT:,}"
            )
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: {place} is no JSON ({error})") from error
        if not isinstance(found, dict):
            raise DataError(f"{path}: {place} must be an object; received {type(found).__name__}")
        if not columns_are_checked:
            _require_columns(list(found), columns)
            columns_are_checked = True
        part = found.get(columns["part"]) if columns["part"] else None
        label = found.get(columns["label"]) if columns["label"] else None
        yield _Row(found.get(columns["text"]), label, _named(part, columns), place)


def _named(part: Any, columns: Columns) -> Any:
    """A part that is missing from a column of parts is reported by its row, not taken for «no parts»."""
    return "" if part is None and columns["part"] else part


def _require_columns(found: list[str], columns: Columns) -> None:
    shown = ", ".join(name[:40] for name in found[:20])
    problems = [
        Problem(
            COLUMN_KEYS[role],
            f"no column `{name}`.{did_you_mean(name, found)} The file has: {shown}",
        )
        for role, name in columns.items()
        if name is not None and name not in found
    ]
    if problems:
        raise ConfigError(problems)


def _folder_rows(path: Path) -> tuple[list[_Row], tuple[str, ...]]:
    """The texts of a folder with a folder per class, perhaps below those of parts, and what was left out."""
    inner = _folders(path)
    parted = [folder for folder in inner if folder.name in PARTS and _folders(folder)]
    for folder in inner:
        if parted and folder not in parted:
            raise DataError(
                f"{folder}: beside {', '.join(part.name for part in parted)} there may be no other folder; parts are "
                f"{', '.join(PARTS)}"
            )
    rows: list[_Row] = []
    others = 0
    parts: list[Path | None] = [*parted] or [None]
    for part in parts:
        for folder in _folders(part or path):
            inside = sorted(folder.iterdir())
            files = [file for file in inside if file.suffix.lower() == ".txt"]
            others += len(inside) - len(files)
            if not files:
                raise DataError(f"{folder}: has no text: files must end in .txt")
            for file in files:
                # A link could lead to any file of the machine.
                if file.is_symlink() or not file.is_file():
                    raise DataError(f"{file}: must be a plain file")
                place = str(file.relative_to(path))
                text = _decoded(read_bytes(file), file)
                rows.append(_Row(text, folder.name, None if part is None else part.name, place))
    return rows, (f"left out {others} files that do not end in .txt",) if others else ()


def _folders(path: Path) -> list[Path]:
    """The folders in a folder by name, but for hidden ones and those of texts without a class.

    Raises:
        DataError: if one is a link.
    """
    found = sorted(folder for folder in path.iterdir() if folder.is_dir())
    for folder in found:
        if folder.is_symlink():
            raise DataError(f"{folder}: must be a plain folder, not a link")
    hidden = (".", "__")
    return [
        folder
        for folder in found
        if folder.name != UNLABELLED_FOLDER and not folder.name.startswith(hidden)
    ]


def _checked(row: _Row, path: Path) -> _Row:
    """The row as text, or an error that names it."""
    where = f"{path}: {row.place}"
    _check_text(row.text, where)
    # Not-a-number is the one value that is not itself.
    absent = row.label is None or row.label != row.label or not str(row.label).strip()
    if absent or isinstance(row.label, list | dict):
        raise DataError(f"{where}: the label is missing")
    if not _is_unicode(str(row.label)):
        raise DataError(f"{where}: holds half a character (a lone surrogate)")
    if row.part is not None and row.part not in PARTS:
        raise DataError(
            f"{where}: the part must be one of {', '.join(PARTS)}; received {row.part!r}"
        )
    return replace(row, label=_label(row.label))


def _check_text(text: Any, where: str) -> None:
    """Refuse what is no text, an empty one, or far too long a one."""
    if text is not None and not isinstance(text, str):
        raise DataError(
            f"{where}: must be a text; received {repr(text)[:40]}. Is `dataset.text` the right column?"
        )
    if text is None or not text.strip():
        received = "nothing" if not text else repr(text)[:40]
        raise DataError(f"{where}: the text is empty; received {received}")
    if len(text) > LONGEST_TEXT:
        raise DataError(
            f"{where}: a text of {len(text):,} characters; at most {LONGEST_TEXT:,} are read"
        )
    if not _is_unicode(text):
        raise DataError(f"{where}: holds half a character (a lone surrogate)")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _label(value: Any) -> str:
    """A class by name: 1, 1.0, "1" and "1.0" are one, and so are true and "true"."""
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # Cells of a CSV file are texts.
    name = str(value).strip()
    return name.partition(".")[0] if re.fullmatch(r"-?\d+\.0+", name) else name


def _measurements(rows: list[_Row], path: Path, column: str) -> DataError | None:
    """That there is one class, or that labels are measurements."""
    distinct = {row.label for row in rows}
    if len(distinct) == 1:
        return DataError(
            f"{path}: all texts have one label, {rows[0].label!r}; at least two are needed"
        )
    fractional = next((row for row in rows if _is_fraction(row.label)), None)
    if fractional is not None:
        return DataError(
            f"{path}: {fractional.place}: the labels (`dataset.label={column}`) must be classes; "
            f"received the measurement {fractional.label}"
        )
    if len(distinct) > min(MOST_CLASSES, max(2, len(rows) // 2)):
        return DataError(
            f"{path}: the labels (`dataset.label={column}`) have {len(distinct)} distinct values in "
            f"{len(rows)} texts; that is a measurement or a name, not a class"
        )
    return None


def _is_fraction(label: str) -> bool:
    try:
        number = float(label)
        # "nan" and "inf" read as numbers; they may be names.
        return math.isfinite(number) and not number.is_integer()
    except (ValueError, OverflowError):
        return False


def _missing_parts(rows: list[_Row], path: Path) -> DataError | None:
    """That there are parts, but none for training or none for testing."""
    found = {row.part for row in rows}
    if None in found:
        return None
    for part in ("train", "test"):
        if part not in found:
            return DataError(
                f"{path}: there is no {part} part; the parts are {', '.join(sorted(found))}"
            )
    return None
