"""Nothing of one part reaches another: every split, lead, feature, target and series, by altering rows."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_records import (
    CLEANING,
    COLUMNS,
    PERIOD,
    QUICK,
    make_record,
    make_settings,
    noise,
    stamps,
)

from seqconv.tasks.contract import SPLITS
from seqconv.tasks.forecasting.prepare import prepare
from seqconv.tasks.forecasting.settings import InputSettings

ROWS = 120
ENDS = {
    "rows": (60, 90),
    "fractions": (0.5, 0.75),
    "dates": (str(stamps(61)[60]), str(stamps(91)[90])),
}
INPUTS = {
    "none": InputSettings(calendar=(), target_calendar=(), wind_vectors=(), differences=()),
    "all": InputSettings(
        calendar=("day", "week", "year"),
        target_calendar=("day",),
        wind_vectors=((COLUMNS[2], COLUMNS[0]),),
        differences=(COLUMNS[1],),
    ),
}
CASES = st.fixed_dictionaries(
    {
        "ends": st.sampled_from(sorted(ENDS)),
        "inputs": st.sampled_from(sorted(INPUTS)),
        "target": st.sampled_from(["value", "change", "normalized"]),
        "delay": st.sampled_from([(0,), (3,), (0, 1, 2, 3), (1, 5)]),
        "targets": st.sampled_from([(1,), (0, 2)]),
        "back": st.booleans(),
        "step": st.integers(1, 3),
        "gaps": st.sets(st.integers(5, ROWS - 5), max_size=2),
    }
)


def record_with(values, gaps, **facts):
    offsets = np.arange(ROWS)
    for row in sorted(gaps):
        offsets[row:] += 3
    return make_record(stamps(offsets), values, **facts)


def settings_of(case):
    train_end, validation_end = ENDS[case["ends"]]
    return make_settings(
        lookback=4 * case["step"],
        step=case["step"],
        delay=case["delay"],
        train_end=train_end,
        validation_end=validation_end,
        target=case["target"],
        inputs=INPUTS[case["inputs"]],
        inputs_may_reach_back=case["back"],
    )


def batches(task, split):
    samples = task.samples(split)
    return samples.batch(np.arange(len(samples)))


@QUICK
@given(case=CASES, split=st.sampled_from(SPLITS), seed=st.integers(1, 99))
def test_rows_of_one_part_change_no_array_of_another(case, split, seed):
    """With inputs that may reach back, earlier parts may be seen; later ones never."""
    gaps = case["gaps"] if case["ends"] != "dates" else set()
    values = noise(ROWS)
    settings, facts = settings_of(case), {"targets": case["targets"]}
    task = prepare("r", record_with(values, gaps, **facts), settings)
    edges = {"train": (0, 60), "validation": (60, 90), "test": (90, ROWS)}
    start, stop = edges[split]
    altered = values.copy()
    altered[start:stop] = noise(stop - start, seed=seed) * 3
    other = prepare("r", record_with(altered, gaps, **facts), settings)
    untouched = [name for name in SPLITS if name != split]
    if split == "train":
        # All is scaled by the training rows; so only unscaled numbers are compared.
        if not case["back"]:
            for name in untouched:
                ours, theirs = task.samples(name), other.samples(name)
                assert (ours.target_values() == theirs.target_values()).all()
                assert (ours.persistence() == theirs.persistence()).all()
        return
    if case["back"]:
        untouched = untouched[: SPLITS.index(split)]
    for name in untouched:
        for ours, theirs in zip(batches(task, name), batches(other, name), strict=True):
            assert np.array_equal(ours, theirs), name
    assert task.preparation.to_json() == other.preparation.to_json()


@QUICK
@given(case=CASES)
def test_windows_are_those_of_a_plain_reference(case):
    """Anchors row by row, as the contract words them."""
    gaps = case["gaps"] if case["ends"] != "dates" else set()
    record = record_with(noise(ROWS), gaps, targets=case["targets"])
    settings = settings_of(case)
    task = prepare("r", record, settings)
    step, lookback = case["step"], 4 * case["step"]
    edges = dict(zip(SPLITS, [(0, 60), (60, 90), (90, ROWS)], strict=True))
    for split, (start, stop) in edges.items():
        expected = []
        for anchor in range(ROWS + 1):
            inputs = list(range(anchor - lookback, anchor, step))
            targets = [anchor + delay for delay in case["delay"]]
            rows = range(min(*inputs, *targets), max(*inputs, *targets) + 1)
            if rows.start < 0 or rows.stop > ROWS:
                continue
            whole = range(anchor - lookback, max(anchor, rows.stop))
            seconds = record.times[whole.start : whole.stop].astype(np.int64)
            unbroken = (np.diff(seconds) == PERIOD).all()
            inside = all(start <= row < stop for row in targets)
            reach_back = case["back"] and split != "train"
            if unbroken and inside and (reach_back or whole.start >= start):
                expected.append(anchor)
        assert task.samples(split).anchors[:].tolist() == expected


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("target", ["value", "change", "normalized"])
def test_no_window_goes_from_one_series_to_the_next(back, target):
    values = noise(ROWS)
    series = np.repeat(np.arange(3, dtype=np.int32), ROWS // 3)
    times = np.tile(stamps(ROWS // 3), 3)
    facts = {"series": series, "series_names": ("a", "b", "c")}
    settings = make_settings(delay=(1, 2), target=target, inputs_may_reach_back=back)
    task = prepare("r", make_record(times, values, **facts), settings)
    for split in SPLITS:
        samples = task.samples(split)
        assert len(samples)
        anchors = samples.anchors[:]
        newest, oldest = anchors - samples.windows.step, anchors - samples.windows.lookback
        furthest = samples.target_rows()[:, -1]
        assert (series[newest] == series[oldest]).all()
        assert (series[newest] == series[furthest]).all()
    # Each series has its own share in each part.
    altered = values.copy()
    altered[series == 1] += 5.0
    other = prepare("r", make_record(times, altered, **facts), settings)
    for split in SPLITS:
        ours, theirs = task.samples(split), other.samples(split)
        unchanged = series[ours.anchors[:] - ours.windows.step] != 1
        assert (ours.target_values()[unchanged] == theirs.target_values()[unchanged]).all()
        assert (ours.target_values()[~unchanged] != theirs.target_values()[~unchanged]).all()


def test_calendar_features_are_those_of_the_rows_and_of_the_target():
    inputs = InputSettings(
        calendar=("day",), target_calendar=("day",), wind_vectors=(), differences=()
    )
    task = prepare("r", make_record(stamps(ROWS)), make_settings(delay=3, inputs=inputs))
    samples = task.samples("test")
    batch, _ = samples.batch(np.arange(len(samples)))
    made = batch[:, -1, len(COLUMNS) :] * task.preparation.made_std + task.preparation.made_mean
    for index, rows in enumerate([samples.anchors[:] - 2, samples.target_rows()[:, 0]]):
        seconds = task.record.times[rows].astype(np.int64) % 86_400
        angle = 2 * np.pi * seconds / 86_400
        assert made[:, 2 * index] == pytest.approx(np.sin(angle), abs=1e-5)
        assert made[:, 2 * index + 1] == pytest.approx(np.cos(angle), abs=1e-5)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_folds_roll_along_and_later_rows_change_nothing(fold):
    values = noise(ROWS)
    settings = make_settings(train_end=45, validation_end=60, folds=3, fold=fold)
    task = prepare("r", make_record(stamps(ROWS), values), settings)
    ends = (45 + 20 * (fold - 1), 60 + 20 * (fold - 1), 60 + 20 * fold)
    for split, start, stop in zip(SPLITS, (0, *ends), ends, strict=False):
        rows = task.samples(split).target_rows()
        assert rows.min() >= start
        assert rows.max() == stop - 1
    altered = values.copy()
    altered[ends[2] :] = 1e3
    other = prepare("r", make_record(stamps(ROWS), altered), settings)
    for split in SPLITS:
        for ours, theirs in zip(batches(task, split), batches(other, split), strict=True):
            assert np.array_equal(ours, theirs)


DURATIONS = {
    "lookback": {"lookback": datetime.timedelta(hours=1), "step": datetime.timedelta(minutes=20)},
    "lead": {"lead": (datetime.timedelta(minutes=50),), "step": 2},
}


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_rows_of_any_record(name):
    by_rows = {"lookback": {"lookback": 6, "step": 2}, "lead": {"lead": (5,), "step": 2}}[name]
    record = make_record(stamps(ROWS))
    one = prepare("r", record, make_settings(**DURATIONS[name]))
    other = prepare("r", record, make_settings(**by_rows))
    assert one.windows == other.windows
    assert CLEANING.irregular == "cut"
