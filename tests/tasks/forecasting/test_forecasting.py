"""A record split, scaled and cut into windows: nothing of a later split reaches an earlier one."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from small_records import COLUMNS, QUICK, TARGET, make_record, make_task, noise, stamps

from seqconv.config.errors import ConfigError, DataError
from seqconv.tasks.forecasting.task import SPLITS, SeriesData


def make_data(rows=100, values=None, **changes) -> SeriesData:
    return SeriesData("small", make_record(rows, values), make_task(**changes))


def all_batches(data: SeriesData, split: str) -> tuple[np.ndarray, np.ndarray]:
    return data.batch(split, np.arange(data.count(split)))


# Bounds

BOUNDS_OF_100 = {"train": (0, 50), "validation": (50, 75), "test": (75, 100)}


@pytest.mark.parametrize(
    ("train_end", "validation_end"),
    [
        (50, 75),
        (0.5, 0.75),
        ("2020-01-01T08:20", "2020-01-01 12:30:00"),
        (0.5, 75),
        (50, 0.75),
        ("2020-01-01T08:20", 75),
        (50, "2020-01-01T12:30"),
        (0.5, "2020-01-01T12:21"),  # the first row that is not before it
    ],
)
def test_bounds(train_end, validation_end):
    data = make_data(train_end=train_end, validation_end=validation_end)
    assert data.bounds == BOUNDS_OF_100


def test_bounds_by_day():
    data = make_data(rows=400, train_end="2020-01-02", validation_end="2020-01-03")
    assert data.bounds == {"train": (0, 144), "validation": (144, 288), "test": (288, 400)}


# Rows 70 to 79 of the source repeat the ten before them.
REPEATED = [*range(70), *range(60, 70), *range(70, 100)]


@pytest.mark.parametrize(
    ("train_end", "validation_end", "expected"),
    [
        pytest.param(60, 90, (60, 80), id="after the repeats"),
        pytest.param(80, 100, (70, 90), id="both after"),
        pytest.param(75, 100, (70, 90), id="inside the repeats"),
        pytest.param(0.5, 0.8, (55, 78), id="fractions of the rows as read"),
        pytest.param(60, "2020-01-01T13:20", (60, 80), id="row and date"),
        pytest.param("2020-01-01T11:40", 100, (70, 90), id="date of the row after the repeats"),
    ],
)
def test_row_numbers_count_the_source_as_read(train_end, validation_end, expected):
    task = make_task(train_end=train_end, validation_end=validation_end)
    data = SeriesData("small", make_record(REPEATED), task)
    first, second = expected
    assert data.bounds == {
        "train": (0, first),
        "validation": (first, second),
        "test": (second, 100),
    }
    assert data.describe()["rows"] == 110


def test_a_date_in_a_gap_splits_there():
    record = make_record([*range(50), *range(80, 150)])
    task = make_task(train_end="2020-01-01T10:00", validation_end=90)
    assert SeriesData("small", record, task).bounds["train"] == (0, 50)


@pytest.mark.parametrize(
    ("train_end", "validation_end", "problems"),
    [
        (100, 0.5, [("split.train_end", "row 100 lies beyond the record of 100 rows")]),
        (50, 2000, [("split.validation_end", "row 2000 lies beyond the record of 100 rows")]),
        (
            200_000,
            300_000,
            [
                (
                    "split.train_end",
                    "A shorter record needs its own split, such as split.train_end",
                ),
                ("split.validation_end", "row 300000 lies beyond"),
            ],
        ),
        (0.001, 50, [("split.train_end", "row 0 lies beyond the record of 100 rows")]),
        (75, 50, [("split.validation_end", "must lie after `split.train_end`")]),
        (0.5, 50, [("split.validation_end", "received row 50 after row 50")]),
        ("2020-01-01T12:00", 0.2, [("split.validation_end", "received row 20 after row 72")]),
        ("2019-06-01", 50, [("split.train_end", "2019-06-01 lies outside the record, 2020-01-01")]),
        (50, "2020-01-02", [("split.validation_end", "2020-01-02 lies outside the record")]),
        ("2020-01-01", 50, [("split.train_end", "2020-01-01 lies outside the record")]),
        ("summer", 50, [("split.train_end", "must be a date such as .*; received 'summer'")]),
        (50, "2020-13-01", [("split.validation_end", "must be a date such as")]),
        (50, "", [("split.validation_end", "must be a date such as .*; received ''")]),
        (50, "NaT", [("split.validation_end", "must be a date such as")]),
    ],
)
def test_wrong_splits(train_end, validation_end, problems):
    with pytest.raises(ConfigError, match=problems[0][1]) as caught:
        make_data(train_end=train_end, validation_end=validation_end)
    found = caught.value.problems
    assert [problem.key for problem in found] == [key for key, _ in problems]
    for problem, (_, message) in zip(found, problems, strict=True):
        assert re.search(message, problem.message)


def test_a_window_longer_than_a_split():
    with pytest.raises(ConfigError, match=r"lookback: a window needs 34 rows") as caught:
        make_data(lookback=30, step=1, delay=3)
    (first, second) = caught.value.problems
    assert (first.key, second.key) == ("lookback", "lookback")
    assert r"the validation split has 25 rows and no such run" in first.message
    assert r"the test split has 25 rows and no such run" in second.message


def test_a_window_longer_than_every_run():
    record = make_record([row + row // 10 for row in range(100)])  # a gap after every ten rows
    assert SeriesData("small", record, make_task(lookback=6, delay=3)).count("train") == 5
    with pytest.raises(ConfigError, match="the train split has 50 rows and no such run"):
        SeriesData("small", record, make_task(lookback=6, delay=4))


def test_the_longest_window_that_fits():
    data = make_data(lookback=20, step=2, delay=4)
    assert [data.count(split) for split in SPLITS] == [26, 1, 1]


# Scaling


def test_scaling_is_learnt_from_training_rows_alone():
    values = noise(100)
    data = make_data(values=values)
    np.testing.assert_allclose(data.mean, values[:50].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(data.deviation, values[:50].std(axis=0), rtol=1e-12)
    inputs, targets = data.batch("validation", np.array([0]))
    # The first window of validation: anchor 56, rows 50, 52 and 54; target row 59.
    expected = (values[[50, 52, 54]] - values[:50].mean(axis=0)) / values[:50].std(axis=0)
    np.testing.assert_allclose(inputs[0], expected, rtol=1e-5, atol=1e-6)
    target = (values[59, TARGET] - values[:50, TARGET].mean()) / values[:50, TARGET].std()
    np.testing.assert_allclose(targets, [[target]], rtol=1e-5)
    assert inputs.dtype == targets.dtype == np.float32


@pytest.mark.parametrize("constant", [0.0, 1.0, -9.81, 0.1, 989.3])
def test_a_constant_column_is_zero_and_does_not_blow_up(constant):
    values = noise(100)
    values[:, 0] = constant
    values[75:, 0] = constant + 1.0
    data = make_data(values=values)
    assert np.abs(all_batches(data, "train")[0][..., 0]).max() < 1e-6
    assert np.abs(all_batches(data, "validation")[0][..., 0]).max() < 1e-6
    np.testing.assert_allclose(all_batches(data, "test")[0][..., 0], 1.0, rtol=1e-5)


def test_a_constant_target_does_not_divide_by_zero():
    values = noise(100)
    values[:, TARGET] = 4.0
    inputs, targets = all_batches(make_data(values=values), "train")
    assert np.isfinite(inputs).all()
    assert np.abs(targets).max() < 1e-6


# Leakage

windows = {
    "step": st.integers(1, 3),
    "time_steps": st.integers(1, 4),
    "delay": st.integers(0, 5),
    "split": st.tuples(st.integers(25, 40), st.integers(60, 75)),
    "target": st.sampled_from(["value", "change"]),
}


@given(
    gaps=st.lists(st.integers(1, 98), max_size=4, unique=True),
    repeats=st.integers(0, 6),
    **windows,
)
@QUICK
def test_no_window_touches_another_split_or_spans_a_gap(
    gaps, repeats, step, time_steps, delay, split, target
):
    offsets = np.arange(100) + (np.arange(100)[:, None] >= np.array(gaps, int)).sum(axis=1)
    offsets = np.concatenate([offsets[:50], offsets[50 - repeats : 50], offsets[50:]])
    # Every column holds the row's number in the source, so that a batch tells what it was made of.
    values = np.repeat(np.arange(len(offsets), dtype=float)[:, None], 3, axis=1)
    record = make_record(offsets, values)
    task = make_task(time_steps * step, step, delay, *split, target=target)
    try:
        data = SeriesData("small", record, task)
    except ConfigError:
        reject()
    seconds = dict(zip(record.source_rows.tolist(), record.times.astype(int).tolist(), strict=True))
    ends = {"train": (0, split[0]), "validation": split, "test": (split[1], len(offsets))}
    for name, (first, stop) in ends.items():
        inputs, targets = all_batches(data, name)
        rows = np.rint(inputs * data.deviation + data.mean).astype(int)
        assert (rows == rows[..., :1]).all()
        rows = rows[..., 0]
        origin = rows[:, -1] if target == "change" else data.mean[TARGET]
        target_rows = np.rint(targets[:, 0] * data.deviation[TARGET] + origin).astype(int)
        np.testing.assert_array_equal(target_rows, data.truth(name))
        touched = np.column_stack([rows, target_rows])
        assert touched.min() >= first
        assert touched.max() < stop
        # In time, each stands where the window wants it: there is no gap in between.
        times = np.vectorize(seconds.__getitem__)(touched)
        wanted = [600 * step] * (time_steps - 1) + [600 * (delay + step)]
        assert (np.diff(times, axis=1) == wanted).all()


@given(seed=st.integers(1, 1000), later=st.sampled_from(["validation", "test"]), **windows)
@QUICK
def test_later_rows_change_no_earlier_batch(seed, later, step, time_steps, delay, split, target):
    values = noise(100)
    changed = values.copy()
    start = split[0] if later == "validation" else split[1]
    changed[start:] = 1e3 * noise(100, seed=seed)[start:]
    task = make_task(time_steps * step, step, delay, *split, target=target)
    first = SeriesData("small", make_record(100, values), task)
    second = SeriesData("small", make_record(100, changed), task)
    earlier = ["train"] if later == "validation" else ["train", "validation"]
    for name in earlier:
        for one, other in zip(all_batches(first, name), all_batches(second, name), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(first.truth(name), second.truth(name))
    assert first.preparation() == second.preparation()
    assert (all_batches(first, later)[0] != all_batches(second, later)[0]).any()


# Targets and figures


def test_change_is_the_value_minus_the_newest_known():
    values = noise(100)
    data = make_data(values=values, target="change")
    plain = make_data(values=values, target="value")
    inputs, targets = all_batches(data, "test")
    newest = inputs[:, -1, TARGET]
    np.testing.assert_allclose(
        targets[:, 0], all_batches(plain, "test")[1][:, 0] - newest, atol=1e-5
    )
    # By hand: the first test window has anchor 81; its newest row is 79, its target row 84.
    expected = (values[84, TARGET] - values[79, TARGET]) / values[:50, TARGET].std()
    np.testing.assert_allclose(targets[0, 0], expected, rtol=1e-5)


def test_truth_and_what_is_known():
    values = noise(100)
    data = make_data(values=values)
    anchors = np.arange(56, 72)  # of validation, rows 50 to 74, with lookback 6 and delay 3
    np.testing.assert_array_equal(data.truth("validation"), values[anchors + 3, TARGET])
    np.testing.assert_array_equal(data.known("validation", 0), data.truth("validation"))
    newest = data.known("validation", data.task.lead)
    np.testing.assert_array_equal(newest, values[anchors - 2, TARGET])
    oldest_and_newest = np.hstack([values[anchors - 6], values[anchors - 2]])
    np.testing.assert_array_equal(data.ends("validation"), oldest_and_newest)


def test_figures_by_hand():
    values = noise(100)
    data = make_data(values=values)
    scale = values[:50, TARGET].std()
    errors = np.array([1.0, -3.0, 0.5]) / scale
    targets = np.zeros((3, 1), np.float32)
    predictions = errors[:, None].astype(np.float32)
    found = data.sample_metrics(predictions, targets)
    np.testing.assert_allclose(found["mae"], [1.0, 3.0, 0.5], rtol=1e-6)
    rmse = data.summary_metrics(predictions, targets)["rmse"]
    assert rmse == pytest.approx(np.sqrt((1 + 9 + 0.25) / 3), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mean_absolute_error", lambda scale: 2.0 / scale),
        ("mean_squared_error", lambda scale: 4.0 / scale**2),
        ("huber", None),
    ],
)
@pytest.mark.parametrize("target", ["value", "change"])
def test_measure_is_in_the_targets_own_unit(loss, expected, target):
    values = noise(100)
    data = make_data(values=values, loss=loss, target=target)
    assert data.loss == loss
    signs = np.where(np.arange(data.count("test")) % 2, 1.0, -1.0)
    found = data.measure("test", data.truth("test") + 2.0 * signs)
    assert found["mae"] == pytest.approx(2.0)
    assert found["rmse"] == pytest.approx(2.0)
    if expected is None:
        assert "loss" not in found
    else:
        assert found["loss"] == pytest.approx(expected(values[:50, TARGET].std()))


@pytest.mark.parametrize("target", ["value", "change"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_model_that_says_zero_is_measured_as_its_baseline(split, target):
    data = make_data(target=target)
    targets = all_batches(data, split)[1]
    zeros = np.zeros_like(targets)
    if target == "change":
        forecast = data.known(split, data.task.lead)  # persistence
    else:
        forecast = np.full(data.count(split), data.mean[TARGET])
    measured = data.measure(split, forecast)
    assert data.sample_metrics(zeros, targets)["mae"].mean() == pytest.approx(measured["mae"])
    assert data.summary_metrics(zeros, targets)["rmse"] == pytest.approx(measured["rmse"])
    assert np.abs(targets).mean() == pytest.approx(measured["loss"])


# What is told


def test_describe():
    record = make_record(REPEATED, source="file", fingerprint="sha256:abc")
    data = SeriesData("jena", record, make_task())
    told = data.describe()
    notes = told.pop("notes")
    assert told == {
        "name": "jena",
        "source": "file",
        "fingerprint": "sha256:abc",
        "rows": 110,
        "columns": list(COLUMNS),
        "target": {"column": "T (degC)", "as": "value"},
        "windows": {"train": 46, "validation": 8, "test": 19},
        "unit": "degC",
        "lead": {"rows": 5, "hours": pytest.approx(5 / 6)},
    }
    assert [note.split(" rows")[0] for note in notes] == ["dropped 10"]
    json.dumps(data.describe())


@pytest.mark.parametrize(
    ("lookback", "step", "delay", "rows", "hours"),
    [(12, 6, 144, 150, 25.0), (12, 3, 144, 147, 24.5), (2, 1, 0, 1, 1 / 6), (12, 12, 0, 12, 2.0)],
)
def test_the_true_lead(lookback, step, delay, rows, hours):
    data = make_data(rows=700, lookback=lookback, step=step, delay=delay)
    assert data.describe()["lead"] == {"rows": rows, "hours": pytest.approx(hours)}
    # And it is true: so many rows lie between the newest input and the target.
    positions = np.repeat(np.arange(700.0)[:, None], 3, axis=1)
    data = make_data(700, positions, lookback=lookback, step=step, delay=delay)
    newest = all_batches(data, "test")[0][:, -1, 0] * data.deviation[0] + data.mean[0]
    np.testing.assert_allclose(data.truth("test") - newest, rows, atol=1e-3)


def test_the_hours_follow_the_records_own_period():
    times = stamps([6 * row for row in range(100)])  # hourly
    data = SeriesData("small", make_record(times), make_task())
    assert data.describe()["lead"] == {"rows": 5, "hours": 5.0}


def test_shapes():
    data = make_data(lookback=6, step=2)
    spec = data.spec
    assert (spec.time, spec.features, spec.vocabulary, spec.outputs, spec.targets) == (
        3,
        3,
        None,
        1,
        1,
    )
    inputs, targets = data.batch("train", np.array([4, 0, 4]))
    assert inputs.shape == (3, 3, 3)
    assert targets.shape == (3, 1)
    np.testing.assert_array_equal(inputs[0], inputs[2])


def test_preparation_feeds_the_model_again():
    data = make_data()
    found = json.loads(json.dumps(data.preparation()))
    rows = data.record.values[[0, 2, 4]]
    scaled = (rows - found["mean"]) / found["standard_deviation"]
    np.testing.assert_allclose(
        data.batch("train", np.array([0]))[0][0], scaled, rtol=1e-5, atol=1e-6
    )
    assert found["columns"] == list(COLUMNS)
    assert found["period_seconds"] == 600


@pytest.mark.parametrize("value", [1e308, -1e308, 1e200, 1e45])
@pytest.mark.parametrize("row", [0, 60, 99])
def test_a_number_that_the_others_cannot_be_compared_with(value, row):
    # In the training rows it makes the scale, later it does not fit into it.
    values = noise(100)
    values[row, 2] = value
    if abs(value) < 1e100 and row < 50:
        assert np.isfinite(all_batches(make_data(values=values), "train")[0]).all()
        return
    with pytest.raises(
        DataError, match=r"column `wv \(m/s\)` cannot be scaled: its values lie between"
    ):
        make_data(values=values)


def test_numbers_too_small_to_have_a_spread():
    values = noise(100)
    values[:, 0] = np.arange(100) * 1e-320
    with pytest.raises(DataError, match=r"column `p \(mbar\)` cannot be scaled"):
        make_data(values=values)
