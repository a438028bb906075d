"""Parsed tables in the cache: columns of numbers that are memory-mapped, complete or absent.

Any number of processes may make the same one at once: each writes its own, and the first to finish gives it its name.
It only saves time and memory: whatever is wrong with one, it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.cache import TABLES, cache_folder
from seqconv.data.files import parse_json, read_plain
from seqconv.data.scratch import temporary_folder

# Part of a table's name: changes with what is kept and with how files are parsed.
# 2: before, a short row beside a quoted cell was filled up.
# 3: before, stamps of 14 digits were milliseconds since 1970, and nothing was kept of columns that were left out.
# 4: before, a row with too many cells was cut where some columns were not read, a short one beside a quote within a
# cell filled up, and whole numbers of less than nine digits were seconds since 1970.
FORM = 4
METADATA = "table.json"
TYPES = {"times": "<M8[s]", "values": "<f4", "series": "<i4"}
BLOCK_ROWS = 2**18

Metadata = dict[str, Any]
"""What is known of a table besides its rows, as JSON holds it."""
Arrays = dict[str, np.ndarray]


class _WritingError(Exception):
    """A table cannot be written; the cause says why."""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Tell a folder that cannot be written from a source that cannot be read: both are errors of the system."""
    try:
        yield
    except OSError as error:
        raise _WritingError from error


class TableWriter:
    """Writes the rows of a table block by block.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows = 0
        self.columns = 0
        self._files: dict[str, IO[bytes]] = {}
        self._opened = contextlib.ExitStack()

    def write(
        self, times: np.ndarray | None, values: np.ndarray, series: np.ndarray | None
    ) -> None:
        """Add rows: times `(rows,)` datetime64[s], values `(rows, columns)`, numbers of series `(rows,)`."""
        self.rows += len(values)
        self.columns = values.shape[1]
        with _writing():
            for name, array in (("times", times), ("values", values), ("series", series)):
                if array is not None:
                    if name not in self._files:
                        self._files[name] = self._opened.enter_context(
                            (self.folder / name).open("wb")
                        )
                    self._files[name].write(
                        np.ascontiguousarray(array, TYPES[name]).view(np.uint8).data
                    )

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Sort the rows by series, and say what they are."""
        metadata = {
            **metadata,
            "rows": self.rows,
            "width": self.columns,
            "arrays": list(self._files),
        }
        with _writing():
            self.close()
            (self.folder / METADATA).write_text(json.dumps(metadata))
            if "series" in self._files:
                self._sort_by_series()

    def close(self) -> None:
        """Close the files, all of them even where one cannot write its last rows."""
        self._opened.close()

    def _sort_by_series(self) -> None:
        arrays, _ = _mapped(self.folder)
        order = np.argsort(arrays["series"], kind="stable")
        if np.array_equal(order, np.arange(len(order))):
            return
        for name, array in arrays.items():
            with (self.folder / f"{name}.sorted").open("wb") as stream:
                for first in range(0, len(order), BLOCK_ROWS):
                    part = array[order[first : first + BLOCK_ROWS]]
                    stream.write(np.ascontiguousarray(part).view(np.uint8).data)
            os.replace(self.folder / f"{name}.sorted", self.folder / name)


def load_or_make(
    settings: Mapping[str, Any], make: Callable[[TableWriter], None], *, keep: bool
) -> tuple[Arrays, Metadata]:
    """The arrays of a table, from the cache or made now, and what is known of them.

    Args:
        settings: all that the table depends on, as JSON holds it.
        make: writes it; called once more where the cache turns out to be full.
        keep: whether it is worth keeping.

    Raises:
        DataError: if there is no room for it.
    """
    text = json.dumps({**settings, "form": FORM}, sort_keys=True)
    folder = _folder() if keep else None
    final = None
    if folder is not None:
        final = folder / hashlib.sha256(text.encode()).hexdigest()[:32]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _mapped(final)
        # A cache that is full is none.
        with contextlib.suppress(_WritingError):
            return _made(make, folder, final)
    try:
        return _made(make, None, None)
    except _WritingError as error:
        raise DataError(
            f"{temporary_folder()}: a table cannot be written ({error.__cause__}). Free room there, or set TMPDIR to "
            "a folder that has it"
        ) from error


def _made(
    make: Callable[[TableWriter], None], folder: Path | None, final: Path | None
) -> tuple[Arrays, Metadata]:
    """A table made now.

    Args:
        make: writes it.
        folder: to write it in; None: the system's for temporary files.
        final: its name from then on; None: it has none, and goes with its arrays.
    """
    with _writing():
        staging = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        writer = TableWriter(staging)
        try:
            make(writer)
        finally:
            # All is written by now, or another error says why not.
            with contextlib.suppress(OSError):
                writer.close()
        found = _mapped(staging)  # Stays readable whatever becomes of the names.
        if final is not None:
            with contextlib.suppress(OSError):
                if final.exists():
                    # It could not be read above, or another process was faster: either way this one is good.
                    final.rename(staging / "replaced")
                staging.rename(final)
        return found
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if final is not None:
            shutil.rmtree(final / "replaced", ignore_errors=True)


def _folder() -> Path | None:
    """Where tables are kept; None where nothing can be written."""
    try:
        folder = cache_folder() / TABLES
        folder.mkdir(parents=True, exist_ok=True)
    except (DataError, OSError):
        return None
    return folder if os.access(folder, os.W_OK) else None


def _mapped(folder: Path) -> tuple[Arrays, Metadata]:
    """The arrays of a folder.

    Raises:
        OSError: if there are none.
        ValueError: if they are not those that the metadata tell of.
    """
    metadata = parse_json(read_plain(folder / METADATA, largest=10_000_000))
    rows, width = int(metadata["rows"]), int(metadata["width"])
    shapes = {"times": (rows,), "values": (rows, width), "series": (rows,)}
    arrays: Arrays = {}
    for name in metadata["arrays"]:
        path, shape = folder / name, shapes[name]
        if path.stat().st_size != np.dtype(TYPES[name]).itemsize * int(np.prod(shape)):
            raise ValueError(f"{path}: has another size than {shape}")
        arrays[name] = (
            np.memmap(path, TYPES[name], "r", shape=shape) if rows else np.empty(shape, TYPES[name])
        )
    return arrays, metadata
