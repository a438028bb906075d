"""A record split, scaled and cut into windows: nothing of a later split reaches an earlier one."""

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from small_records import (
    CLEANING,
    COLUMNS,
    NO_INPUTS,
    QUICK,
    TARGET,
    make_measurements,
    make_record,
    make_settings,
    noise,
    stamps,
)

from seqconv.config.errors import ConfigError, DataError
from seqconv.config.yaml_files import leaves
from seqconv.data.cleaning import clean
from seqconv.tasks.contract import SPLITS, Loss, Predicted, StoredPreparation
from seqconv.tasks.forecasting import FORECASTING
from seqconv.tasks.forecasting import samples as samples_module
from seqconv.tasks.forecasting import task as forecasting_task
from seqconv.tasks.forecasting.preparation import Moments
from seqconv.tasks.forecasting.prepare import prepare
from seqconv.tasks.forecasting.split import split_bounds
from seqconv.tasks.forecasting.task import Forecasting


def make_task(rows=100, values=None, **changes) -> Forecasting:
    return prepare("small", make_record(rows, values), make_settings(**changes))


def bounds_of(rows, **changes):
    """Of each split, in rows of the cleaned record."""
    found = split_bounds(make_record(rows), make_settings(**changes).split)
    return {split: bounds for split, (bounds,) in found.items()}


def all_batches(task: Forecasting, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and targets of the one column at the one lead."""
    samples = task.samples(split)
    inputs, targets = samples.batch(np.arange(len(samples)))
    assert targets.shape == (len(samples), 1, 1)
    return inputs, targets[:, :, 0]


def truth(task: Forecasting, split: str) -> np.ndarray:
    return task.samples(split).target_values()[:, 0, 0]


def newest(task: Forecasting, split: str) -> np.ndarray:
    return task.samples(split).persistence()[:, 0, 0]


def judged(task: Forecasting, split: str, forecast: np.ndarray) -> dict[str, float]:
    """The metrics of a forecast in the target's own unit."""
    return task._scored(Says(forecast[:, None, None]), split)[0]


class Says:
    """A baseline that says what it is given."""

    def __init__(self, forecasts: np.ndarray):
        self.forecasts = forecasts

    def forecast(self, samples, part):
        return self.forecasts[part]


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
    assert bounds_of(100, train_end=train_end, validation_end=validation_end) == BOUNDS_OF_100


def test_bounds_by_day():
    found = bounds_of(400, train_end="2020-01-02", validation_end="2020-01-03")
    assert found == {"train": (0, 144), "validation": (144, 288), "test": (288, 400)}


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
    first, second = expected
    found = bounds_of(REPEATED, train_end=train_end, validation_end=validation_end)
    assert found == {
        "train": (0, first),
        "validation": (first, second),
        "test": (second, 100),
    }
    assert make_record(REPEATED).rows_read == 110


def test_a_date_in_a_gap_splits_there():
    rows = [*range(50), *range(80, 150)]
    found = bounds_of(rows, train_end="2020-01-01T10:00", validation_end=90)
    assert found["train"] == (0, 50)


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
        ("2020-01-01T05:00Z", 50, [("split.train_end", "must have no offset from UTC, .*05:00Z")]),
        ("2020-01-01T05:00", "2020-01-01 04:00", [("split.validation_end", "must lie after")]),
        ("summer", 50, [("split.train_end", "must be a date such as .*; received 'summer'")]),
        (50, "2020-13-01", [("split.validation_end", "must be a date such as")]),
        (50, "", [("split.validation_end", "must be a date such as .*; received ''")]),
        (50, "NaT", [("split.validation_end", "must be a date such as")]),
    ],
)
def test_wrong_splits(train_end, validation_end, problems):
    with pytest.raises(ConfigError, match=problems[0][1]) as caught:
        make_task(train_end=train_end, validation_end=validation_end)
    found = caught.value.problems
    assert [problem.key for problem in found] == [key for key, _ in problems]
    for problem, (_, message) in zip(found, problems, strict=True):
        assert re.search(message, problem.message)


def test_a_window_longer_than_a_split():
    with pytest.raises(ConfigError, match=r"lookback: a window needs 34 rows") as caught:
        make_task(lookback=30, step=1, delay=3)
    (first, second) = caught.value.problems
    assert (first.key, second.key) == ("lookback", "lookback")
    assert r"the validation split has 25 rows and no such run" in first.message
    assert r"the test split has 25 rows and no such run" in second.message


def test_a_window_longer_than_every_run():
    record = make_record([row + row // 10 for row in range(100)])  # a gap after every ten rows
    task = prepare("small", record, make_settings(lookback=6, delay=3))
    assert len(task.samples("train")) == 5
    with pytest.raises(ConfigError, match="the train split has 50 rows and no such run"):
        prepare("small", record, make_settings(lookback=6, delay=4))


def test_the_longest_window_that_fits():
    data = make_task(lookback=20, step=2, delay=4)
    assert [len(data.samples(split)) for split in SPLITS] == [26, 1, 1]


# Scaling


def test_scaling_is_learnt_from_training_rows_alone():
    values = noise(100)
    data = make_task(values=values)
    np.testing.assert_allclose(data.preparation.mean[0], values[:50].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(data.preparation.std[0], values[:50].std(axis=0), rtol=1e-12)
    inputs, targets = data.samples("validation").batch(np.array([0]))
    # The first window of validation: anchor 56, rows 50, 52 and 54; target row 59.
    expected = (values[[50, 52, 54]] - values[:50].mean(axis=0)) / values[:50].std(axis=0)
    np.testing.assert_allclose(inputs[0], expected, rtol=1e-5, atol=1e-6)
    target = (values[59, TARGET] - values[:50, TARGET].mean()) / values[:50, TARGET].std()
    np.testing.assert_allclose(targets, [[[target]]], rtol=1e-5)
    assert inputs.dtype == targets.dtype == np.float32


@pytest.mark.parametrize("constant", [0.0, 1.0, -9.81, 0.1, 989.3])
def test_a_constant_column_is_zero_and_does_not_blow_up(constant):
    values = noise(100)
    values[:, 0] = constant
    values[75:, 0] = constant + 1.0
    data = make_task(values=values)
    assert np.abs(all_batches(data, "train")[0][..., 0]).max() < 1e-6
    assert np.abs(all_batches(data, "validation")[0][..., 0]).max() < 1e-6
    np.testing.assert_allclose(all_batches(data, "test")[0][..., 0], 1.0, rtol=1e-5)


def test_a_constant_target_does_not_divide_by_zero():
    values = noise(100)
    values[:, TARGET] = 4.0
    inputs, targets = all_batches(make_task(values=values), "train")
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
    settings = make_settings(time_steps * step, step, delay, *split, target=target)
    try:
        data = prepare("small", record, settings)
    except ConfigError:
        reject()
    seconds = dict(zip(record.source_rows.tolist(), record.times.astype(int).tolist(), strict=True))
    ends = {"train": (0, split[0]), "validation": split, "test": (split[1], len(offsets))}
    for name, (first, stop) in ends.items():
        inputs, targets = all_batches(data, name)
        rows = np.rint(inputs * data.preparation.std + data.preparation.mean).astype(int)
        assert (rows == rows[..., :1]).all()
        rows = rows[..., 0]
        origin = rows[:, -1] if target == "change" else data.preparation.mean[0, TARGET]
        target_rows = np.rint(targets[:, 0] * data.preparation.std[0, TARGET] + origin).astype(int)
        np.testing.assert_array_equal(target_rows, truth(data, name))
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
    settings = make_settings(time_steps * step, step, delay, *split, target=target)
    first = prepare("small", make_record(100, values), settings)
    second = prepare("small", make_record(100, changed), settings)
    earlier = ["train"] if later == "validation" else ["train", "validation"]
    for name in earlier:
        for one, other in zip(all_batches(first, name), all_batches(second, name), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(truth(first, name), truth(second, name))
    assert first.preparation.to_json() == second.preparation.to_json()
    assert (all_batches(first, later)[0] != all_batches(second, later)[0]).any()


# Targets and figures


def test_change_is_the_value_minus_the_newest_known():
    values = noise(100)
    data = make_task(values=values, target="change")
    plain = make_task(values=values, target="value")
    inputs, targets = all_batches(data, "test")
    newest = inputs[:, -1, TARGET]
    np.testing.assert_allclose(
        targets[:, 0], all_batches(plain, "test")[1][:, 0] - newest, atol=1e-5
    )
    # By hand: the first test window has anchor 81; its newest row is 79, its target row 84.
    expected = (values[84, TARGET] - values[79, TARGET]) / values[:50, TARGET].std()
    np.testing.assert_allclose(targets[0, 0], expected, rtol=1e-5)


def test_targets_and_lagged_values():
    values = noise(100)
    samples = make_task(values=values).samples("validation")
    anchors = np.arange(56, 72)  # of validation, rows 50 to 74, with lookback 6 and delay 3
    np.testing.assert_array_equal(samples.target_values()[:, 0, 0], values[anchors + 3, TARGET])
    np.testing.assert_array_equal(samples.lagged(0, 0), samples.target_values()[:, 0])
    np.testing.assert_array_equal(samples.persistence()[:, 0, 0], values[anchors - 2, TARGET])
    first_and_last = np.hstack([values[anchors - 6], values[anchors - 2]])
    np.testing.assert_array_equal(samples.first_and_last_rows(), first_and_last)


def test_metrics_by_hand():
    values = noise(100)
    data = make_task(values=values)
    scale = values[:50, TARGET].std()
    targets = np.zeros((len(data.samples("test")), 1, 1), np.float32)
    errors = np.resize([1.0, -3.0, 0.5], len(targets))
    predictions = (errors / scale).astype(np.float32)[:, None, None]
    samples = data.samples("test")
    real = samples.batch(np.arange(len(samples)))[1]
    running = data.running_metrics(predictions, targets)
    assert list(running) == ["mae"]
    np.testing.assert_allclose(running["mae"], np.abs(errors), rtol=1e-6)
    found = data.measure(
        "test", Predicted(real + predictions, real, np.ones(len(real), np.float32))
    )
    assert list(found) == ["loss", "mae", "rmse", "r2", "mase"] == [m.name for m in data.metrics]
    assert found["loss"] == 1.0
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)
    assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
    spread = truth(data, "test").var()
    assert found["r2"] == pytest.approx(1 - (errors**2).mean() / spread, rel=1e-5)
    naive = np.abs(truth(data, "train") - newest(data, "train")).mean()
    assert found["mase"] == pytest.approx(np.abs(errors).mean() / naive, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mean_absolute_error", lambda scaled: scaled),
        ("mean_squared_error", lambda scaled: scaled**2),
        ("huber", lambda scaled: scaled**2 / 2 if scaled <= 1 else scaled - 0.5),
    ],
)
@pytest.mark.parametrize("target", ["value", "change"])
def test_baselines_are_measured_in_the_targets_own_unit(loss, expected, target):
    values = noise(100)
    data = make_task(values=values, loss=loss, target=target)
    assert data.loss == Loss(name=loss)
    signs = np.where(np.arange(len(data.samples("test"))) % 2, 1.0, -1.0)
    found = judged(data, "test", truth(data, "test") + 2.0 * signs)
    assert found["mae"] == pytest.approx(2.0)
    assert found["rmse"] == pytest.approx(2.0)
    assert found["loss"] == pytest.approx(expected(2.0 / values[:50, TARGET].std()))


@pytest.mark.parametrize("target", ["value", "change"])
@pytest.mark.parametrize("split", SPLITS)
def test_a_model_that_says_zero_is_measured_as_its_baseline(split, target):
    data = make_task(target=target)
    targets = all_batches(data, split)[1][:, :, None]
    zeros = np.zeros_like(targets)
    forecast = newest(data, split)
    if target == "value":
        forecast = np.full(len(forecast), data.preparation.mean[0, TARGET])
    measured = judged(data, split, forecast)
    found = data.measure(split, Predicted(zeros, targets, np.abs(targets)[:, 0, 0]))
    assert found == pytest.approx(measured, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("most", [40, 2**26], ids=["some", "all"])
def test_intervals_of_a_model_that_says_zero_are_those_of_persistence(monkeypatch, most):
    # Ten of twelve validation windows to learn from, forecast three at a time.
    monkeypatch.setattr(forecasting_task, "MOST_CALIBRATED", most)
    monkeypatch.setattr(samples_module, "BLOCK_NUMBERS", 12)
    data = two_by_two(target="change", interval=0.8)
    predicted = {}
    for split in ("validation", "test"):
        targets = data.samples(split).batch(np.arange(len(data.samples(split))))[1]
        predicted[split] = Predicted(np.zeros_like(targets), targets, np.zeros(len(targets)))
    found = data.calibrated(predicted["validation"]).details(predicted["test"])
    persistence = data.baselines(slow=False)["persistence"].metrics
    assert found["interval"]["width"] > 0
    assert {f"interval.{name}" for name in found["interval"]} <= set(data.detail_names("test"))
    assert found["interval"] == pytest.approx(persistence["test"]["interval"], rel=1e-6)
    assert "interval" not in persistence["validation"]


@pytest.mark.parametrize("target", ["value", "change"])
def test_predictions_in_their_own_unit(target):
    data = make_task(target=target)
    samples = data.samples("test")
    targets = samples.batch(np.arange(len(samples)))[1]
    np.testing.assert_allclose(samples.in_own_unit(targets), samples.target_values(), rtol=1e-5)


def test_baselines_of_a_day():
    hourly = stamps([6 * row for row in range(400)])
    settings = make_settings(lookback=48, step=1, delay=5)
    data = prepare("small", make_record(hourly), settings)
    found = {name: each.metrics for name, each in data.baselines(slow=True).items()}
    assert list(found) == ["persistence", "seasonal_naive", "ridge"]
    assert found["seasonal_naive"]["days"] == 1
    test = data.samples("test")
    day = test.lagged(0, 24)[:, 0]
    assert found["seasonal_naive"]["test"] == judged(data, "test", day)
    assert found["persistence"]["test"] == judged(data, "test", newest(data, "test"))
    # White noise: nothing is to be learnt but the mean, which beats what happened to be last.
    assert found["ridge"]["test"]["mae"] < found["persistence"]["test"]["mae"]


# Several targets and leads


def two_by_two(values=None, **changes) -> Forecasting:
    record = make_record(100, values, targets=(0, 2))
    return prepare("small", record, make_settings(delay=(3, 7), **changes))


@pytest.mark.parametrize("target", ["value", "change"])
def test_targets_have_axes_for_leads_and_columns(target):
    values = noise(100)
    data = two_by_two(values, target=target)
    assert data.spec.outputs == data.spec.targets == (2, 2)
    inputs, targets = data.samples("test").batch(np.array([3, 0]))
    assert (inputs.shape, targets.shape) == ((2, 3, 3), (2, 2, 2))
    anchor = data.samples("test").anchors[:][3]
    wanted = values[[anchor + 3, anchor + 7]][:, [0, 2]]
    origin = values[anchor - 2, [0, 2]] if target == "change" else values[:50, [0, 2]].mean(axis=0)
    expected = (wanted - origin) / values[:50, [0, 2]].std(axis=0)
    np.testing.assert_allclose(targets[0], expected, rtol=1e-4)


def test_metrics_of_each_target_and_lead():
    data = two_by_two()
    samples = data.samples("test")
    targets = samples.batch(np.arange(len(samples)))[1]
    predictions = targets.copy()
    predictions[:, 1, 0] += 1.0  # one standard deviation off at the second lead
    found = data.measure("test", Predicted(predictions, targets, np.ones(len(targets), np.float32)))
    assert list(found) == ["loss", "scaled", "targets"]
    names = [metric.name for metric in data.metrics]
    assert names == ["loss", "scaled.mae", "scaled.mse"]
    # One of four was off by one.
    assert found["scaled"] == pytest.approx({"mae": 0.25, "mse": 0.25}, rel=1e-5)
    assert {name: list(leads) for name, leads in found["targets"].items()} == {
        "p (mbar)": ["5", "9"],
        "wv (m/s)": ["5", "9"],
    }
    std = data.preparation.target_std[0, 0]
    assert found["targets"]["p (mbar)"]["9"]["mae"] == pytest.approx(std, rel=1e-5)
    assert found["targets"]["p (mbar)"]["5"]["mae"] == pytest.approx(0.0, abs=1e-6)
    assert data.running_metrics(predictions, targets) == {}
    for baseline in data.baselines(slow=False).values():
        results = baseline.metrics
        assert results["test"]["targets"].keys() == found["targets"].keys()
        assert results["test"]["loss"] > 0
    described = data.describe()
    assert described["targets"] == ["p (mbar)", "wv (m/s)"]
    assert [lead["rows"] for lead in described["leads"]] == [5, 9]
    assert data.subject == "0.833333 to 1.5 h ahead"


def test_metrics_of_many_targets_and_leads_are_those_of_some_leads(monkeypatch):
    """A `metrics.json` of all pairs of 800 columns and 720 leads could not be read again."""
    data = two_by_two(lead=[5, 7, 9])
    samples = data.samples("test")
    targets = samples.batch(np.arange(len(samples)))[1]
    predicted = Predicted(targets + 1, targets, np.ones(len(targets), np.float32))
    whole = data.measure("test", predicted)
    monkeypatch.setattr(forecasting_task, "MOST_PAIRS", 5)
    found = data.measure("test", predicted)
    assert found["scaled"] == whole["scaled"]
    assert {name: list(leads) for name, leads in found["targets"].items()} == {
        "p (mbar)": ["5", "9"],
        "wv (m/s)": ["5", "9"],
    }
    assert found["targets"]["wv (m/s)"]["9"] == whole["targets"]["wv (m/s)"]["9"]
    shown = data.breakdown("gru", found, {})
    assert [row[:2] for row in shown.rows] == [
        [column, lead] for column in found["targets"] for lead in ("5", "9")
    ]
    named = {name for name, _ in leaves({"targets": found["targets"]})}
    assert set(data.detail_names("test")) == named


def test_targets_of_a_batch_touch_only_the_rows_they_need(tmp_path):
    values = np.lib.format.open_memmap(tmp_path / "values.npy", "w+", float, (100, 3))
    values[:] = noise(100)
    record = dataclasses.replace(make_record(100), values=values)
    samples = prepare("small", record, make_settings()).samples("train")
    _, before = samples.batch(np.array([7]))
    values[np.arange(100) != samples.anchors[:][7] + 3] = np.nan
    np.testing.assert_array_equal(samples.batch(np.array([7]))[1], before)


# The preparation, learnt and stored


@pytest.mark.parametrize("block", [1, 7, 50, 1000])
def test_blocks_give_what_all_rows_give(block):
    values = noise(100)
    values[:, 0] = 4.0
    moments = Moments()
    for first in range(0, 100, block):
        moments.add(values[first : first + block])
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.std, [1.0, *values.std(axis=0)[1:]], rtol=1e-12)


def stored(data: Forecasting, **changes) -> StoredPreparation:
    content = json.loads(json.dumps(data.preparation.to_json())) | changes
    return StoredPreparation(content, data.fingerprint, "run/preparation.json")


def test_a_stored_preparation_gives_the_same_batches():
    data = make_task()
    again = prepare("small", data.record, data.settings, stored(data))
    for split in SPLITS:
        for one, other in zip(all_batches(data, split), all_batches(again, split), strict=True):
            np.testing.assert_array_equal(one, other)
    assert again.preparation.to_json() == data.preparation.to_json()


def test_other_data_is_one_test_split():
    data = make_task()
    other = make_record(60, noise(60, seed=4), fingerprint="sha256:other")
    again = prepare("small", other, data.settings, stored(data))
    assert [len(again.samples(split)) for split in SPLITS] == [0, 0, 60 - 6 - 3]
    assert list(again.baselines(slow=True)) == ["persistence"]
    np.testing.assert_array_equal(again.preparation.mean, data.preparation.mean)


def test_other_data_that_may_have_rows_of_training_says_so():
    data = make_task()
    validation = data.samples("validation")
    last = data.record.times[validation.anchors[np.array([len(validation) - 1])] + 3].max()
    assert data.preparation.known_until == str(last)
    known = int((data.record.times <= last).sum())

    longer = make_record(90, noise(90), fingerprint="sha256:longer")
    (note,) = prepare("small", longer, data.settings, stored(data)).record.notes
    assert note.startswith(f"{known} of 90 rows are of 2020-01-01 ")
    assert "leave them out" in note

    later = make_record(range(known, 90), noise(90 - known), fingerprint="sha256:later")
    assert prepare("small", later, data.settings, stored(data)).record.notes == ()
    old = stored(data, known_until=None)  # of a run trained before this was kept
    assert prepare("small", longer, data.settings, old).record.notes == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known_until": "soon"}, "known_until: "),
        ({"mean": [[1.0]]}, "do not belong together"),
        ({"series": ["a", "b"]}, "do not belong together"),
        ({"std": [[1.0, 0.0, 1.0]]}, "must be larger than zero"),
        ({"naive_mae": [[1.0, 2.0]]}, "do not belong together"),
        ({"targets": ["nothing"]}, "do not belong together"),
        ({"period_seconds": "600"}, "period_seconds: "),
        ({"task": "classification"}, "task: "),
        ({"shell": "sh"}, "shell: "),
    ],
)
def test_a_stored_preparation_of_another_form(changes, message):
    data = make_task()
    with pytest.raises(DataError, match=rf"run/preparation\.json: no preparation .*{message}"):
        prepare("small", data.record, data.settings, stored(data, **changes))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (make_record(60, fingerprint="o", columns=("p (mbar)", "T (degC)", "x")), r"no column `wv"),
        (make_record([2 * n for n in range(60)], fingerprint="o"), "1200 s apart"),
    ],
)
def test_data_that_a_trained_model_cannot_be_fed_with(record, message):
    data = make_task()
    with pytest.raises(DataError, match=message):
        prepare("small", record, data.settings, stored(data))


# Series that are scaled apart

LEVELS = {"a": (1.0, 0.0), "b": (50.0, 4000.0), "c": (0.1, -3.0)}


def sensors(names: str, **facts):
    """The same rows by each sensor, in units of its own."""
    one, count = noise(90), len(names)
    values = np.vstack([one * LEVELS[name][0] + LEVELS[name][1] for name in names])
    series = np.repeat(np.arange(count, dtype=np.int32), len(one))
    times = np.tile(stamps(len(one)), count)
    usual = {"series": series, "series_names": tuple(names), "scaled_apart": True}
    return make_record(times, values, **(usual | facts))


@pytest.mark.parametrize("target", ["value", "change", "normalized"])
def test_series_scaled_apart_look_alike_to_a_model(target):
    settings = make_settings(target=target, delay=(1, 3))
    task, alone = (prepare("r", sensors(names), settings) for names in ("abc", "a"))
    for split in SPLITS:
        ours, theirs = task.samples(split), alone.samples(split)
        inputs, targets = ours.batch(np.arange(len(ours)))
        expected = theirs.batch(np.arange(len(theirs)))
        assert len(inputs) == 3 * len(theirs)
        for part in range(3):
            rows = slice(part * len(theirs), (part + 1) * len(theirs))
            np.testing.assert_allclose(inputs[rows], expected[0], atol=1e-5)
            np.testing.assert_allclose(targets[rows], expected[1], atol=1e-4)
    # Errors in standard deviations are those of one of them; in own units they are not.
    zeros = np.zeros((len(ours), 2, 1), np.float32)
    losses = np.zeros(len(ours), np.float32)
    found = task.measure("test", Predicted(zeros, targets, losses))
    one = alone.measure("test", Predicted(zeros[: len(theirs)], expected[1], losses[: len(theirs)]))
    assert found["scaled"] == pytest.approx(one["scaled"], rel=1e-4)
    assert (
        found["targets"][COLUMNS[TARGET]]["3"]["mae"]
        > 10 * one["targets"][COLUMNS[TARGET]]["3"]["mae"]
    )
    ridge = [each.baselines(slow=True)["ridge"].metrics["test"]["scaled"] for each in (task, alone)]
    # The penalty weighs less beside three times as many windows.
    assert ridge[0] == pytest.approx(ridge[1], rel=0.02)


def test_a_scaling_is_that_of_its_series_in_any_order():
    settings = make_settings()
    task = prepare("r", sensors("abc"), settings)
    other = prepare("r", sensors("ca", fingerprint="sha256:o"), settings, stored(task))
    assert other.preparation.series == ("c", "a")
    (inputs, _) = all_batches(other, "test")
    half = len(inputs) // 2
    np.testing.assert_allclose(inputs[:half], inputs[half:], atol=1e-5)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (sensors("a", fingerprint="o", series_names=("d",)), "series `d` was not trained on"),
        (make_record(60, fingerprint="o"), "must tell in a column"),
    ],
)
def test_a_series_whose_scaling_is_not_known(record, message):
    task = prepare("r", sensors("abc"), make_settings())
    with pytest.raises(DataError, match=message):
        prepare("r", record, task.settings, stored(task))


def test_a_series_that_loses_all_its_rows_loses_its_name():
    values = np.vstack([noise(60), np.full((20, 3), np.nan), noise(60)])
    series = np.repeat(np.arange(3, dtype=np.int32), [60, 20, 60])
    times = np.concatenate([stamps(60), stamps(20), stamps(60)])
    record = make_record(times, values, series=series, series_names=("a", "b", "c"))
    assert record.series_names == ("a", "c")
    assert record.series_of(np.array([0, 59, 60, 119])).tolist() == [0, 0, 1, 1]


def test_columns_that_a_run_does_not_use_take_no_part_in_its_cleaning():
    source = make_measurements(stamps(60), noise(60))
    settings = make_settings()
    task = FORECASTING.prepare("r", source, settings, None)
    extra = np.where(np.arange(60) < 50, np.nan, 1.0)[:, None]
    wider = dataclasses.replace(
        source,
        values=np.hstack([extra, source.values]),
        columns=("extra", *COLUMNS),
        targets=("extra", COLUMNS[TARGET]),
        features=4,
        fingerprint="sha256:1",
    )
    found = FORECASTING.prepare("r", wider, settings, stored(task))
    assert len(found.samples("test")) == 60 - 6 - 3
    assert found.record.columns == COLUMNS
    assert found.record.counts.dropped_rows == 0


# Errors of test samples


def errors_of(record):
    task = prepare("r", record, make_settings())
    targets = task.samples("test").batch(np.arange(len(task.samples("test"))))[1]
    return task.sample_errors(Predicted(targets, targets, targets[:, 0, 0]))


def test_a_sample_is_known_by_its_row_in_the_source():
    """Runs that leave out other rows are compared where both predict the same value."""
    values = noise(200)
    whole = errors_of(make_record(200, values))
    # One in the training part, so that all rows behind it have another place, and one in the test part.
    holed = np.where(np.isin(np.arange(200), [70, 180])[:, None], np.nan, values)
    cleaning = dataclasses.replace(CLEANING, missing="drop_windows")
    fewer = errors_of(make_record(200, holed, cleaning=cleaning))
    assert len(fewer.ids) < len(whole.ids)
    both = np.intersect1d(whole.ids, fewer.ids)
    assert len(both) > 10
    places = [np.isin(errors.ids, both) for errors in (whole, fewer)]
    assert whole.times[places[0]].tolist() == fewer.times[places[1]].tolist()


def test_rows_without_stamps_have_a_time_each():
    read = make_measurements(None, noise(60), frequency=3600)
    found = errors_of(clean(read, CLEANING))
    assert len(set(found.times)) == len(found.ids) > 5


def test_a_calendar_of_whole_turns_is_constant():
    """Else noise of rounding would be scaled to a deviation of 1."""
    days = np.datetime64("2015-01-01T00:00:00", "s") + np.arange(400) * np.timedelta64(86_400, "s")
    inputs = dataclasses.replace(NO_INPUTS, calendar=("day", "year"))
    task = prepare("r", make_record(days, noise(400)), make_settings(inputs=inputs))
    found, _ = task.samples("train").batch(np.arange(20))
    assert task.preparation.made[:2] == ("sine of day", "cosine of day")
    assert (found[:, :, 3:5] == 0).all()
    assert found[:, :, 5:].std() > 0.1


def test_ridge_does_not_depend_on_units():
    values, settings = noise(300).cumsum(axis=0), make_settings()
    tasks = [prepare("r", make_record(300, values * unit), settings) for unit in (1.0, 1e-12)]
    errors = [task.baselines(slow=True)["ridge"].metrics["test"]["mae"] for task in tasks]
    assert errors[1] * 1e12 == pytest.approx(errors[0], rel=1e-6)


# Intervals


@pytest.mark.parametrize(
    ("columns", "wide"),
    [
        (COLUMNS, "are 3.25 degC wide (persistence 4.5)"),
        (("p", "t", "w"), "are 3.25 wide (persistence 4.5)"),
    ],
)
def test_intervals_are_in_the_targets_unit(columns, wide):
    task = prepare("r", make_record(60, columns=columns), make_settings(interval=0.9))
    test = {"interval": {"level": 0.9, "coverage": 0.91, "width": 3.25}}
    (remark,) = task.remarks(test, {"persistence": {"test": {"interval": {"width": 4.5}}}})
    assert remark == f"90% intervals hold 91.0% of the test targets and {wide}"


def test_intervals_of_several_targets_are_in_standard_deviations():
    test = {"interval": {"level": 0.9, "coverage": 0.91, "width": 3.25}}
    (remark,) = two_by_two(interval=0.9).remarks(test, {})
    assert remark.endswith("are 3.25 standard deviations wide")


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"interval": 0.9}, "p_upper"), ({"quantiles": (0.1, 0.5, 0.9)}, "p_q0.1")],
)
def test_a_target_that_is_named_as_an_interval_of_another(changes, name):
    record = make_record(60, columns=("p", name, "t"), targets=(0, 1))
    with pytest.raises(ConfigError, match=f"have a column `{name}`, which is a target, too"):
        prepare("r", record, make_settings(**changes))
    prepare("r", record, make_settings())


# The picture


@pytest.mark.parametrize("kind", ["plain", "gap", "two leads"])
def test_a_picture_of_targets_and_forecasts(tmp_path, kind):
    if kind == "two leads":
        data = two_by_two()
    else:
        rows = 100 if kind == "plain" else [*range(85), *range(95, 120)]
        data = prepare("small", make_record(rows), make_settings())
    samples = data.samples("test")
    targets = samples.batch(np.arange(len(samples)))[1]
    data.draw(tmp_path, Predicted(targets, targets, targets[:, 0, 0]), "small, model")
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")


# What is described


def test_describe():
    record = make_record(REPEATED, source="file", fingerprint="sha256:abc")
    data = prepare("jena", record, make_settings())
    described = data.describe()
    notes = described.pop("notes")
    assert described == {
        "name": "jena",
        "source": "file",
        "fingerprint": "sha256:abc",
        "rows": 110,
        "columns": list(COLUMNS),
        "features": [],
        "series": [],
        "period_seconds": 600,
        "lookback": {"rows": 6, "step": 2},
        "cleaning": {
            "duplicates": 1,
            "backward": 9,
            "gaps": 0,
            "irregular": 0,
            "missing": {},
            "sentinels": {},
            "filled": {},
            "dropped_rows": 10,
        },
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
    data = make_task(rows=700, lookback=lookback, step=step, delay=delay)
    assert data.describe()["lead"] == {"rows": rows, "hours": pytest.approx(hours)}
    # And it is true: so many rows lie between the newest input and the target.
    positions = np.repeat(np.arange(700.0)[:, None], 3, axis=1)
    data = make_task(700, positions, lookback=lookback, step=step, delay=delay)
    last = all_batches(data, "test")[0][:, -1, 0] * data.preparation.std[0, 0]
    last += data.preparation.mean[0, 0]
    np.testing.assert_allclose(truth(data, "test") - last, rows, atol=1e-3)


def test_the_hours_follow_the_records_own_period():
    times = stamps([6 * row for row in range(100)])  # hourly
    data = prepare("small", make_record(times), make_settings())
    assert data.describe()["lead"] == {"rows": 5, "hours": 5.0}


def test_shapes():
    data = make_task(lookback=6, step=2)
    spec = data.spec
    assert (spec.time, spec.features, spec.vocabulary, spec.outputs, spec.targets) == (
        3,
        3,
        None,
        (1, 1),
        (1, 1),
    )
    inputs, targets = data.samples("train").batch(np.array([4, 0, 4]))
    assert inputs.shape == (3, 3, 3)
    assert targets.shape == (3, 1, 1)
    np.testing.assert_array_equal(inputs[0], inputs[2])


def test_preparation_feeds_the_model_again():
    data = make_task()
    found = json.loads(json.dumps(data.preparation.to_json()))
    rows = data.record.values[[0, 2, 4]]
    scaled = (rows - found["mean"]) / found["std"]
    np.testing.assert_allclose(
        data.samples("train").batch(np.array([0]))[0][0], scaled, rtol=1e-5, atol=1e-6
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
        assert np.isfinite(all_batches(make_task(values=values), "train")[0]).all()
        return
    with pytest.raises(
        DataError, match=r"column `wv \(m/s\)` cannot be scaled: its values lie between"
    ):
        make_task(values=values)


def test_numbers_too_small_to_have_a_spread():
    values = noise(100)
    values[:, 0] = np.arange(100) * 1e-320
    with pytest.raises(DataError, match=r"column `p \(mbar\)` cannot be scaled"):
        make_task(values=values)
