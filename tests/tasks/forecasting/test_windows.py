"""Which rows belong to a window, against tables written by hand and loops written plainly."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_records import QUICK, make_settings

from seqconv.tasks.forecasting.settings import Windows
from seqconv.tasks.forecasting.windows import (
    Anchors,
    WindowArray,
    anchor_runs,
    by_phase,
    input_rows,
)


def window_array(values, lookback, step, block=7):
    """Of unscaled values."""
    rows = by_phase(values.shape, step, lambda part: np.float32(values[part]), block)
    return WindowArray(rows, lookback, step)


def windows_of(lookback, delay, step=1):
    return Windows(lookback=lookback, step=step, leads=(delay + step,))


def rows_of(segments, first, stop, windows):
    """The anchor rows of a part, one by one."""
    return Anchors(anchor_runs(segments, first, stop, windows))[:]


@pytest.mark.parametrize(
    ("lookback", "step", "anchors", "rows"),
    [
        (1, 1, [1], [[0]]),
        (4, 1, [4], [[0, 1, 2, 3]]),
        (4, 2, [10], [[6, 8]]),
        (4, 4, [4, 9], [[0], [5]]),
        (6, 3, [6, 7, 8], [[0, 3], [1, 4], [2, 5]]),
        (6, 2, [20, 6], [[14, 16, 18], [0, 2, 4]]),
    ],
)
def test_input_rows(lookback, step, anchors, rows):
    assert input_rows(np.array(anchors), lookback, step).tolist() == rows


def test_the_books_window_reads_every_hour_of_ten_days():
    (rows,) = input_rows(np.array([1440]), lookback=1440, step=6)
    assert len(rows) == 240
    assert rows[:3].tolist() == [0, 6, 12]
    assert rows[-1] == 1434  # the newest is one step before the anchor


def test_the_example_in_the_documentation():
    anchors = rows_of([(0, 12)], 0, 12, windows_of(4, 1, step=2))
    assert anchors[-1] == 10  # its target, row 11, is the last one
    assert input_rows(anchors[-1:], lookback=4, step=2).tolist() == [[6, 8]]
    values = np.arange(12.0)[:, None]
    assert window_array(values, lookback=4, step=2).gather(np.array([10]))[0, :, 0].tolist() == [
        6,
        8,
    ]
    assert make_settings(lookback=4, step=2, delay=1).windows(600).leads == (11 - 8,)


@pytest.mark.parametrize(
    ("segments", "first", "stop", "lookback", "delay", "anchors"),
    [
        pytest.param([(0, 10)], 0, 10, 4, 1, [4, 5, 6, 7, 8], id="whole"),
        pytest.param([(0, 10)], 0, 10, 4, 0, [4, 5, 6, 7, 8, 9], id="no delay"),
        pytest.param([(0, 10)], 0, 10, 9, 0, [9], id="just fits"),
        pytest.param([(0, 10)], 0, 10, 9, 1, [], id="one row short"),
        pytest.param([(0, 10)], 0, 10, 40, 9, [], id="far too long"),
        pytest.param([(0, 20)], 5, 15, 4, 2, [9, 10, 11, 12], id="inner split"),
        pytest.param([(0, 6), (6, 14)], 0, 14, 3, 1, [3, 4, 9, 10, 11, 12], id="gap"),
        pytest.param([(0, 6), (6, 8), (8, 14)], 0, 14, 3, 1, [3, 4, 11, 12], id="short run"),
        pytest.param([(0, 6), (6, 14)], 2, 12, 3, 1, [9, 10], id="gap and split"),
        pytest.param([(0, 6), (6, 14)], 0, 6, 3, 1, [3, 4], id="split ends at the gap"),
        pytest.param([(0, 6), (6, 14)], 6, 14, 3, 1, [9, 10, 11, 12], id="split starts at the gap"),
        pytest.param([(0, 10)], 4, 4, 1, 0, [], id="empty split"),
        pytest.param([], 0, 10, 1, 0, [], id="no segment"),
    ],
)
def test_anchors(segments, first, stop, lookback, delay, anchors):
    found = rows_of(segments, first, stop, windows_of(lookback, delay))
    assert found.tolist() == anchors
    assert found.dtype == np.int64


@given(
    differences=st.lists(st.sampled_from([1, 1, 1, 1, 1, 2]), min_size=1, max_size=40),
    lookback=st.integers(1, 6),
    delay=st.integers(0, 4),
    bounds=st.tuples(st.integers(0, 41), st.integers(0, 41)).map(sorted),
)
@QUICK
def test_anchors_are_exactly_those_whose_rows_follow_one_another(
    differences, lookback, delay, bounds
):
    seconds = np.concatenate([[0], np.cumsum(differences)])
    rows = len(seconds)
    first, stop = (min(bound, rows) for bound in bounds)
    edges = [0, *(np.flatnonzero(np.diff(seconds) != 1) + 1).tolist(), rows]
    segments = list(itertools.pairwise(edges))

    expected = []
    for anchor in range(rows):
        window = range(anchor - lookback, anchor + delay + 1)
        inside = all(first <= row < stop for row in window)
        if inside and all(seconds[row + 1] - seconds[row] == 1 for row in window[:-1]):
            expected.append(anchor)

    assert rows_of(segments, first, stop, windows_of(lookback, delay)).tolist() == expected


@given(
    rows=st.integers(1, 60),
    features=st.integers(1, 4),
    step=st.integers(1, 5),
    time_steps=st.integers(1, 6),
    data=st.data(),
)
@QUICK
def test_gather_equals_plain_indexing(rows, features, step, time_steps, data):
    lookback = time_steps * step
    rows += lookback
    values = np.random.default_rng(rows).normal(size=(rows, features))
    anchors = np.array(data.draw(st.lists(st.integers(lookback, rows), max_size=8)), dtype=np.int64)
    batch = window_array(values, lookback, step).gather(anchors)
    assert batch.dtype == np.float32
    assert batch.shape == (len(anchors), time_steps, features)
    expected = values.astype(np.float32)[input_rows(anchors, lookback, step)]
    np.testing.assert_array_equal(batch, expected)


def test_a_batch_is_the_callers_own():
    values = np.arange(20.0).reshape(10, 2)
    windows = window_array(values, lookback=4, step=2)
    windows.gather(np.array([6]))[:] = -1.0
    values[:] = -1.0
    assert windows.gather(np.array([6])).tolist() == [[[4, 5], [8, 9]]]


def test_a_window_touches_only_the_rows_it_needs(tmp_path):
    # Memory-mapped, as records larger than memory are.
    numbers = by_phase((60, 1), 3, lambda part: np.arange(60.0, dtype=np.float32)[part, None], 7)
    mapped = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, numbers.shape)
    mapped[:] = numbers
    windows = WindowArray(mapped, lookback=12, step=3)
    (rows,) = input_rows(np.array([20]), lookback=12, step=3)
    mapped[~np.isin(numbers[:, 0], rows)] = np.nan
    assert windows.gather(np.array([20]))[0, :, 0].tolist() == rows.tolist()
