"""Which rows belong to a window, and gathering them. Numpy only.

With lookback=4, step=2, delay=1 the anchor row r=10, the forecast origin, has

    input rows   6, 8      range(r - lookback, r, step); the newest is r - step
    target row   11        r + delay
    lead         3 rows    delay + step, from the newest input row to the target
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from seqconv.data.scratch import aligned_empty, empty_rows
from seqconv.tasks.forecasting.settings import Windows


def input_rows(anchors: np.ndarray, lookback: int, step: int) -> np.ndarray:
    """Row numbers of the inputs, `(windows, lookback / step)`, oldest first."""
    return np.asarray(anchors)[:, None] + np.arange(-lookback, 0, step)


class Anchors:
    """Row numbers of forecast origins, ascending, as runs of neighbours: millions of them take no memory.

    Args:
        runs: `(first, stop)` of each.
    """

    def __init__(self, runs: Iterable[tuple[int, int]]):
        kept = [(first, stop) for first, stop in runs if first < stop]
        self.runs = tuple(kept)
        self._firsts = np.array([first for first, _ in kept], np.int64)
        self._ends = np.cumsum([stop - first for first, stop in kept], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        """The anchors of some positions, `(len(chosen),)` int64."""
        positions = np.arange(*chosen.indices(len(self))) if isinstance(chosen, slice) else chosen
        positions = np.asarray(positions)
        if not len(self._ends):
            return np.empty(0, np.int64)
        run = np.searchsorted(self._ends, positions, side="right")
        before = np.concatenate([[0], self._ends[:-1]])[run]
        return self._firsts[run] + positions - before


def anchor_runs(
    segments: Iterable[tuple[int, int]],
    first: int,
    stop: int,
    windows: Windows,
    *,
    reach_back: bool = False,
) -> Iterator[tuple[int, int]]:
    """Runs of all anchors whose window lies wholly in rows `first` to `stop - 1` and in one segment.

    Args:
        segments: `(start, stop)` runs of rows without a gap in time.
        first: first row of the split.
        stop: first row after the split.
        windows: lookback and leads.
        reach_back: whether inputs may lie before `first`; targets never do.
    """
    nearest, furthest = windows.delays[0], windows.delays[-1]
    for segment_start, segment_stop in segments:
        if reach_back:
            low = max(segment_start + windows.lookback, first - nearest)
        else:
            low = max(segment_start, first) + windows.lookback
        yield low, min(segment_stop, stop) - furthest


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
    shape: tuple[int, int], step: int, make: Callable[[slice], np.ndarray], block: int
) -> np.ndarray:
    """Rows sorted by `row % step`, as `WindowArray` wants them, made in blocks.

    Args:
        shape: rows and features.
        step: every how many rows one is read.
        make: the rows of a slice, `(rows, features)` float32.
        block: rows to make at once.
    """
    count = shape[0]
    rows = empty_rows(shape, np.float32)
    starts = np.array([phase_start(phase, count, step) for phase in range(step)])
    for first in range(0, count, block):
        part = slice(first, min(first + block, count))
        made = make(part)
        if step == 1:
            rows[part] = made
        else:
            rounds, phases = np.divmod(np.arange(part.start, part.stop), step)
            rows[starts[phases] + rounds] = made
    return rows
