"""What is in a file, before anybody trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqconv.config.errors import DataError
from seqconv.console import printable
from seqconv.data.measurements import read_table
from seqconv.data.readers import Reading
from seqconv.data.records import find_gaps, later_rows, runs_of

# A value that stands alone far below everything else in its column means "missing".
SENTINELS = (-9999.0, -999.0, -99999.0)

Report = dict[str, str | int | list[str] | dict[str, int]]
"""What is shown, by name."""


def inspect_series(path: Path, reading: Reading | None = None) -> Report:
    """Rows, columns, gaps, repeats and likely sentinels of a table with time stamps; training knows those it is told.

    Args:
        path: of the file.
        reading: what training would be told of it.

    Raises:
        DataError: if it cannot be read, or has fewer than two rows in order.
    """
    table = read_table([path], reading or Reading())
    if table.times is None:
        raise DataError(f"{path}: has no column of time stamps")
    period: int | None = None
    late, gaps, backward = 0, [], []
    for start, stop in runs_of(table.series, len(table.times)):
        times = table.times[start:stop]
        later = later_rows(times)
        late += int((~later).sum())
        steps = np.diff(times) <= np.timedelta64(0, "s")
        backward += [_place(table.times, row) for row in start + np.flatnonzero(steps)]
        if later.sum() < 2:
            continue
        # That of the first series is taken for all.
        found = find_gaps(times[later], period)
        period = found.period
        rows = start + np.flatnonzero(later)[found.after]
        gaps += [
            f"{_place(table.times, row)}, {seconds / 3600:.2f} h"
            for row, seconds in zip(rows, found.seconds, strict=True)
        ]
    if period is None:
        raise DataError(
            f"{path}: needs two rows in order of time; received {len(table.times)} rows"
        )
    return {
        "file": str(path),
        "fingerprint": table.fingerprint,
        "rows": len(table.times),
        # Shown as they are by whoever asked for this.
        "columns": [printable(name) for name in table.columns],
        "first": str(table.times.min()),
        "last": str(table.times.max()),
        **({"series": len(table.series_names)} if table.series_names else {}),
        "period_seconds": period,
        "rows_that_repeat_or_go_backward": late,
        "jumps_back": backward,
        "gaps": gaps,
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
