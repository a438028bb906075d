"""Which rows belong to a window, and gathering them. Numpy only.

With lookback=4, step=2, delay=1 the anchor row r=10, the forecast origin, has

    input rows   6, 8      range(r - lookback, r, step); the newest is r - step
    target row   11        r + delay
    lead         3 rows    delay + step, from the newest input row to the target
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np

ALIGNMENT = 64  # bytes; Eigen's, with AVX-512


def input_rows(anchors: np.ndarray, lookback: int, step: int) -> np.ndarray:
    """Row numbers of the inputs, `(windows, lookback / step)`, oldest first."""
    return np.asarray(anchors)[:, None] + np.arange(-lookback, 0, step)


def anchor_rows(
    segments: Iterable[tuple[int, int]], first: int, stop: int, lookback: int, delay: int
) -> np.ndarray:
    """All anchors whose window lies wholly in rows `first` to `stop - 1` and in one segment.

    Args:
        segments: `(start, stop)` runs of rows without a gap in time.
        first: first row of the split.
        stop: first row after the split.
        lookback: rows of history before the anchor.
        delay: rows from the anchor to its last target.

    Returns:
        Ascending row numbers, `(windows,)` int64; empty where nothing fits.
    """
    runs = []
    for segment_start, segment_stop in segments:
        low = max(segment_start, first) + lookback
        high = min(segment_stop, stop) - delay
        runs.append(np.arange(low, max(high, low), dtype=np.int64))
    return np.concatenate(runs) if runs else np.empty(0, np.int64)


class WindowArray:
    """Gathers windows from one array; no window is stored, and only the rows asked for are read.

    Rows are kept sorted by `row % step` (`by_phase`), so that the rows of a window stand side by side and a batch is a
    few hundred block copies instead of tens of thousands of single rows.

    Args:
        rows: `(rows, features)` float32 sorted by phase, contiguous; may be memory-mapped.
        lookback: rows of history before the anchor.
        step: every how many rows one is read.
    """

    def __init__(self, rows: np.ndarray, lookback: int, step: int):
        count, features = rows.shape
        time = lookback // step
        self._windows = np.lib.stride_tricks.sliding_window_view(rows.reshape(-1), time * features)[
            ::features
        ]
        self._shape = (time, features)
        self._lookback = lookback
        self._step = step
        self._phase_starts = np.array([phase_start(phase, count, step) for phase in range(step)])

    def gather(self, anchors: np.ndarray) -> np.ndarray:
        """The windows of some anchors, `(len(anchors), lookback / step, features)` float32, aligned."""
        rounds, phases = np.divmod(anchors - self._lookback, self._step)
        starts = self._phase_starts[phases] + rounds
        batch = aligned_empty((len(anchors), *self._shape))
        # One by one into the aligned array: all at once would give another array, to be copied once more.
        for window, start in zip(
            batch.reshape(len(anchors), self._windows.shape[1]), starts.tolist(), strict=True
        ):
            window[:] = self._windows[start]
        return batch


def phase_start(phase: int, rows: int, step: int) -> int:
    """Where the rows `phase`, `phase + step`, ... begin in an array of `rows` rows sorted by phase."""
    whole, rest = divmod(rows, step)
    return phase * whole + min(phase, rest)


def by_phase(
    values: np.ndarray, step: int, scale: Callable[[np.ndarray], np.ndarray], block: int
) -> np.ndarray:
    """Scaled rows sorted by `row % step`, as `WindowArray` wants them, computed in blocks.

    Args:
        values: `(rows, features)`; may be memory-mapped.
        step: every how many rows one is read.
        scale: from some rows to the same rows, float32.
        block: rows to scale at once.
    """
    count, features = values.shape
    rows = np.empty((count, features), np.float32)
    for phase in range(step):
        start, phase_rows = phase_start(phase, count, step), values[phase::step]
        for first in range(0, len(phase_rows), block):
            part = phase_rows[first : first + block]
            rows[start + first : start + first + len(part)] = scale(part)
    return rows


def aligned_empty(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array at an address that TensorFlow can use as it is; see `seqconv.training.steps.as_tensor`."""
    size = 4 * math.prod(shape)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT
    return raw[first : first + size].view(np.float32).reshape(shape)
