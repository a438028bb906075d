"""What is in a file, before anybody trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seqconv.console import printable
from seqconv.data.sets import jena

# A value that stands alone far below everything else in its column is a mark for "missing".
SENTINELS = (-9999.0, -999.0, -99999.0)


def inspect_series(path: Path) -> dict[str, Any]:
    """Rows, columns, gaps, repeats and sentinels of a file in Jena's format.

    Raises:
        DataError: if it cannot be read.
    """
    table = jena.read(path, columns=None)
    seconds = table.times.astype(np.int64)
    differences = np.diff(seconds)
    period = int(np.median(differences)) if len(differences) else 0
    backward = np.flatnonzero(differences <= 0)
    gaps = np.flatnonzero(differences > period)
    latest = np.concatenate([[seconds[0] - 1], np.maximum.accumulate(seconds)[:-1]])
    return {
        "file": str(path),
        "fingerprint": table.fingerprint,
        "rows": len(seconds),
        # Shown as they are by whoever asked for this.
        "columns": [printable(name) for name in table.columns],
        "first": str(table.times[0]),
        "last": str(table.times[-1]),
        "period_seconds": period,
        "rows_that_repeat_or_go_backward": int((seconds <= latest).sum()),
        "jumps_back": [_place(table.times, row) for row in backward],
        "gaps": [f"{_place(table.times, row)}, {differences[row] / 3600:.2f} h" for row in gaps],
        "sentinels": _counts(table.columns, np.isin(table.values, SENTINELS)),
        "empty_cells": _counts(table.columns, np.isnan(table.values)),
    }


def _place(times: np.ndarray, row: np.integer) -> str:
    return f"after row {row} ({times[row]})"


def _counts(columns: tuple[str, ...], found: np.ndarray) -> dict[str, int]:
    return {
        printable(name): int(count)
        for name, count in zip(columns, found.sum(axis=0), strict=True)
        if count
    }
