"""What is in a file, before anybody trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqconv.config.errors import DataError
from seqconv.console import printable
from seqconv.data.measurements import read_table
from seqconv.data.readers import Reading
from seqconv.data.records import find_gaps, later_rows

# A value that stands alone far below everything else in its column means "missing".
SENTINELS = (-9999.0, -999.0, -99999.0)

Report = dict[str, str | int | list[str] | dict[str, int]]
"""What is shown, by name."""


def inspect_series(path: Path) -> Report:
    """Rows, columns, gaps, repeats and likely sentinels of a table with time stamps; training knows those it is told.

    Raises:
        DataError: if it cannot be read, or has fewer than two rows in order.
    """
    table = read_table([path], Reading())
    if table.times is None:
        raise DataError(f"{path}: has no column of time stamps")
    later = later_rows(table.times)
    times = table.times[later]
    if len(times) < 2:
        raise DataError(f"{path}: has {len(times)} row in order of time; at least 2 are needed")
    gaps = find_gaps(times)
    backward = np.flatnonzero(np.diff(table.times) <= np.timedelta64(0, "s"))
    rows = np.flatnonzero(later)[gaps.after]
    return {
        "file": str(path),
        "fingerprint": table.fingerprint,
        "rows": len(table.times),
        # Shown as they are by whoever asked for this.
        "columns": [printable(name) for name in table.columns],
        "first": str(table.times[0]),
        "last": str(table.times[-1]),
        "period_seconds": gaps.period,
        "rows_that_repeat_or_go_backward": int((~later).sum()),
        "jumps_back": [_place(table.times, row) for row in backward],
        "gaps": [
            f"{_place(table.times, row)}, {seconds / 3600:.2f} h"
            for row, seconds in zip(rows, gaps.seconds, strict=True)
        ],
        "sentinels": _counts(table.columns, np.isin(table.values, SENTINELS)),
        "empty_cells": _counts(table.columns, np.isnan(table.values)),
        "notes": list(table.notes),
    }


def _place(times: np.ndarray, row: np.integer) -> str:
    return f"after row {row} ({times[row]})"


def _counts(columns: tuple[str, ...], found: np.ndarray) -> dict[str, int]:
    return {
        printable(name): int(count)
        for name, count in zip(columns, found.sum(axis=0), strict=True)
        if count
    }
