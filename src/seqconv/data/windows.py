"""Which rows belong to a window, and gathering them. Numpy only.

With lookback=4, step=2, delay=1 the anchor row r=10 has

    input rows   6, 8      range(r - lookback, r, step); the newest is r - step
    target row   11        r + delay
    lead         3 rows    delay + step, from the newest input row to the target
"""

from __future__ import annotations

import math
from collections.abc import Iterable

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
        delay: rows from the anchor to the target.

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
    """Gathers windows from one array in memory; no window is stored.

    Rows are kept sorted by `row % step`, so that the rows of a window stand side by side and a batch is a few
    hundred block copies instead of tens of thousands of single rows.

    Args:
        values: `(rows, features)` float32.
        lookback: rows of history before the anchor.
        step: every how many rows one is read.
    """

    def __init__(self, values: np.ndarray, lookback: int, step: int):
        rows, features = values.shape
        time = lookback // step
        order = np.concatenate([np.arange(phase, rows, step) for phase in range(step)])
        self._position = np.empty(rows, np.int64)
        self._position[order] = np.arange(rows)
        blocks = np.ascontiguousarray(values[order], dtype=np.float32).reshape(-1)
        windows = np.lib.stride_tricks.sliding_window_view(blocks, time * features)
        self._windows = windows[::features]
        self._shape = (time, features)
        self._lookback = lookback

    def gather(self, anchors: np.ndarray) -> np.ndarray:
        """The windows of some anchors, `(len(anchors), lookback / step, features)` float32, aligned."""
        starts = self._position[anchors - self._lookback]
        batch = aligned_empty((len(anchors), *self._shape))
        # One by one into the aligned array: all at once would give another array, to be copied once more.
        for window, start in zip(
            batch.reshape(len(anchors), self._windows.shape[1]), starts.tolist(), strict=True
        ):
            window[:] = self._windows[start]
        return batch


def aligned_empty(shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array at an address that TensorFlow can use as it is; see `seqconv.steps.as_tensor`."""
    size = 4 * math.prod(shape)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT
    return raw[first : first + size].view(np.float32).reshape(shape)
