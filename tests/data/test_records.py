"""What cleaning does to repeats, disorder, missing values and gaps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from small_records import (
    CLEANING,
    COLUMNS,
    PERIOD,
    QUICK,
    TARGET,
    make_measurements,
    make_record,
    noise,
    stamps,
)

from seqconv.config.errors import DataError
from seqconv.data.cleaning import clean
from seqconv.data.records import array_fingerprint, unit_of

NAN = np.nan


def test_a_clean_record_is_left_alone():
    times, values = stamps(20), noise(20)
    record = make_record(times, values)
    np.testing.assert_array_equal(record.times, times)
    np.testing.assert_array_equal(record.values, values)
    np.testing.assert_array_equal(record.source_rows, np.arange(20))
    assert record.segments == ((0, 20),)
    assert record.notes == ()
    assert (record.rows_read, record.period) == (20, PERIOD)
    assert record.columns == COLUMNS


# Time stamps


def test_a_block_of_rows_that_stands_twice():
    offsets = [*range(70), *range(60, 70), *range(70, 100)]
    values = noise(110)
    record = make_record(offsets, values)
    np.testing.assert_array_equal(record.times, stamps(100))
    kept = [*range(70), *range(80, 110)]
    assert record.source_rows.tolist() == kept
    np.testing.assert_array_equal(record.values, values[kept])
    assert record.segments == ((0, 100),)  # the copy is gone, and leaves no gap
    assert record.rows_read == 110
    (note,) = record.notes
    assert note.startswith("dropped 10 rows whose time stamp repeats or goes backward")
    assert "first: row 70, 2020-01-01T10:00:00, behind row 69, 2020-01-01T11:30:00" in note


def test_a_backward_stamp_is_dropped_and_leaves_a_gap():
    offsets = list(range(20))
    offsets[5] = 2
    record = make_record(offsets)
    assert record.source_rows.tolist() == [row for row in range(20) if row != 5]
    assert record.segments == ((0, 5), (5, 19))
    assert any("dropped 1 rows" in note for note in record.notes)
    assert any(note.startswith("cut at 1 gaps in time") for note in record.notes)


def test_times_always_ascend():
    offsets = [0, 1, 2, 2, 3, 1, 4, *range(5, 60)]
    record = make_record(offsets)
    assert (np.diff(record.times.astype(np.int64)) > 0).all()


def test_a_tenth_in_disorder_is_borne():
    record = make_record([*range(90), *range(80, 90)])
    assert len(record.times) == 90


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([*range(89), *range(78, 89)], r"11 of 100 time stamps are not later .*first: row 89, "),
        (list(range(100, 0, -1)), r"99 of 100 time stamps .*sort the rows by time"),
        ([0, 10_000, *range(2, 100)], r"98 of 100 time stamps .*first: row 2, .*, behind row 1, "),
    ],
    ids=["repeats", "descending", "one stamp far ahead"],
)
def test_too_much_disorder(offsets, message):
    with pytest.raises(DataError, match=message):
        make_record(offsets)


def test_disorder_is_told_with_what_reading_had_to_say():
    read = make_measurements(stamps([0] * 10), noise(10), notes=("`day` holds days",))
    with pytest.raises(DataError, match=r"sort the rows by time \(`day` holds days\)$"):
        clean(read, CLEANING)


# Missing values


def test_missing_inputs_are_carried_forward():
    values = noise(12)
    values[[3, 4], 0] = -9999.0
    values[7, 0] = NAN
    values[9, 2] = NAN
    record = make_record(stamps(12), values, sentinel=-9999.0)
    expected = values.copy()
    expected[[3, 4], 0] = values[2, 0]
    expected[7, 0] = values[6, 0]
    expected[9, 2] = values[8, 2]
    np.testing.assert_array_equal(record.values, expected)
    assert record.segments == ((0, 12),)
    assert record.notes == (
        "carried 3 missing values of `p (mbar)` forward from the row before",
        "carried 1 missing values of `wv (m/s)` forward from the row before",
    )


def test_the_mark_is_a_number_like_others_where_the_source_has_none():
    values = noise(12)
    values[3, 0] = -9999.0
    assert make_record(stamps(12), values).values[3, 0] == -9999.0


@pytest.mark.parametrize("missing", [NAN, -9999.0])
def test_a_missing_target_is_never_invented(missing):
    values = noise(20)
    values[[8, 9], TARGET] = missing
    record = make_record(stamps(20), values, sentinel=-9999.0)
    assert record.source_rows.tolist() == [*range(8), *range(10, 20)]
    assert record.segments == ((0, 8), (8, 18))
    assert "dropped 2 rows without a value of `T (degC)`" in record.notes


def test_a_row_without_target_still_tells_its_inputs():
    values = noise(10)
    values[4, TARGET] = NAN
    values[5, 0] = NAN
    record = make_record(stamps(10), values)
    assert record.source_rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert record.values[4, 0] == values[4, 0]


def test_a_repeated_row_tells_nothing():
    times = stamps([*range(11), 5, *range(11, 20)])
    values = noise(21)
    values[11, 0] = 1e6
    values[12, 0] = NAN
    record = make_record(times, values)
    assert record.values[11, 0] == values[10, 0]


def test_rows_before_the_first_known_value_are_dropped():
    values = noise(20)
    values[:2, 0] = NAN
    record = make_record(stamps(20), values)
    np.testing.assert_array_equal(record.source_rows, np.arange(2, 20))
    np.testing.assert_array_equal(record.values, values[2:])
    assert record.segments == ((0, 18),)


def test_notes_count_carried_and_dropped_rows_apart():
    values = noise(20)
    values[:2, 0] = NAN
    values[9, 0] = NAN
    notes = make_record(stamps(20), values).notes
    assert any("carried 1 missing values of `p (mbar)`" in note for note in notes), notes
    assert any("dropped 2 rows" in note for note in notes), notes


@pytest.mark.parametrize(
    ("rows", "column", "message"),
    [
        (20, 0, "the record has 0 usable rows of 20; at least 2 are needed"),
        (20, TARGET, "the record has 0 usable rows of 20; at least 2 are needed"),
        (1, None, "the record has 1 usable rows of 1; at least 2 are needed"),
        (0, None, "the record has 0 usable rows of 0; at least 2 are needed"),
    ],
    ids=["empty input", "empty target", "one row", "no row"],
)
def test_nothing_left(rows, column, message):
    values = noise(rows)
    if column is not None:
        values[:, column] = NAN
    with pytest.raises(DataError, match=message):
        make_record(stamps(rows), values)


def test_the_callers_arrays_are_not_changed():
    times, values = stamps([*range(15), 3, *range(15, 30)]), noise(31)
    values[4, 0] = -9999.0
    values[6, TARGET] = NAN
    before = times.copy(), values.copy()
    make_record(times, values, sentinel=-9999.0)
    np.testing.assert_array_equal(times, before[0])
    np.testing.assert_array_equal(values, before[1])


@given(
    differences=st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=9, max_size=30),
    missing=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=25),
    length=st.integers(5, 25),
)
@QUICK
def test_cleaning_knows_nothing_of_later_rows(differences, missing, length):
    times = stamps([0, *np.cumsum(differences).tolist()])
    values = noise(len(times))
    for row, column in missing:
        values[row % len(times), column] = NAN
    length = min(length, len(times) - 1)
    assume((~np.isnan(values[:length])).all(axis=1).sum() >= 2)
    whole, part = make_record(times, values), make_record(times[:length], values[:length])
    known = len(part.times)
    np.testing.assert_array_equal(part.source_rows, whole.source_rows[:known])
    np.testing.assert_array_equal(part.values, whole.values[:known])
    assert known == len(whole.times) or whole.source_rows[known] >= length


# Gaps


def test_gaps_cut_the_record():
    record = make_record([*range(5), *range(8, 14), 20, *range(26, 40)])
    assert record.segments == ((0, 5), (5, 11), (11, 12), (12, 26))
    (note,) = record.notes
    # From row 13 to 20 is the longest: 7 rows of ten minutes.
    assert note == "cut at 3 gaps in time; the longest lasts 1.2 h from 2020-01-01T02:10:00"


def test_a_row_too_early_cuts_as_well():
    times = stamps(20)
    times[7] -= np.timedelta64(60, "s")
    assert make_record(times).segments == ((0, 7), (7, 8), (8, 20))


def test_the_period_is_the_usual_difference():
    record = make_record([0, 6, 12, 18, 30, 36])
    assert record.period == 6 * PERIOD
    assert record.segments == ((0, 4), (4, 6))


# Names


# Several series


def test_resampled_series_keep_their_names_where_one_has_no_rows_left():
    # Two of the rows of each series lie in one period.
    times = np.tile(np.append(stamps(5), stamps(5)[-1] + np.timedelta64(PERIOD // 2, "s")), 3)
    values = noise(18)
    values[:6, TARGET] = NAN
    record = make_record(
        times,
        values,
        series=np.repeat(np.arange(3, dtype=np.int32), 6),
        series_names=("north", "east", "south"),
        cleaning=replace(CLEANING, irregular="resample"),
    )
    assert any(note.startswith("resampled 18 rows to 15 means") for note in record.notes)
    assert record.series_names == ("east", "south")
    expected = [values[10:12].mean(axis=0), values[16:18].mean(axis=0)]
    np.testing.assert_allclose(record.values[[4, 9]], expected)


def test_a_row_of_a_series_is_named_by_its_series_and_its_time():
    values = noise(20)
    values[13, TARGET] = NAN
    with pytest.raises(DataError, match=r"series `south`, 2020-01-01T00:30:00, column .*: a value"):
        make_record(
            np.tile(stamps(10), 2),
            values,
            series=np.repeat(np.arange(2, dtype=np.int32), 10),
            series_names=("north", "south"),
            cleaning=replace(CLEANING, missing="error"),
        )


def minutely(rows, **options):
    """A row a minute, means over ten of them, the first period from row 0."""
    times = stamps(1)[0] + np.arange(rows) * np.timedelta64(60, "s")
    cleaning = replace(CLEANING, irregular="resample", sentinels=(-9999.0,))
    return make_record(times, options.pop("values"), frequency=600, cleaning=cleaning, **options)


def test_a_mean_is_that_of_the_values_a_column_has_whatever_others_lack():
    values = noise(60)
    full = minutely(60, values=values.copy())
    np.testing.assert_allclose(full.values, values.reshape(6, 10, -1).mean(axis=1), rtol=1e-6)
    assert (full.counts.dropped_rows, len(full.times)) == (0, 6)
    sparse = values.copy()
    sparse[np.arange(60) % 10 != 3, 2] = -9999.0
    sparse[20:30, 2] = NAN
    record = minutely(60, values=sparse)
    others = [column for column in range(values.shape[1]) if column != 2]
    np.testing.assert_array_equal(record.values[:, others], full.values[:, others])
    # The empty period is filled from the one before.
    np.testing.assert_allclose(record.values[:, 2], sparse[[3, 13, 13, 33, 43, 53], 2])
    assert (record.counts.dropped_rows, record.counts.missing[COLUMNS[2]]) == (0, 10)


@pytest.mark.parametrize("sentinel", [-9999.0, -999.9, 99.99])
def test_a_sentinel_is_in_no_mean_whatever_its_digits(sentinel):
    values = noise(60)
    values[5, 1] = sentinel
    times = stamps(1)[0] + np.arange(60) * np.timedelta64(60, "s")
    cleaning = replace(CLEANING, irregular="resample", sentinels=(sentinel,))
    record = make_record(times, values, frequency=600, cleaning=cleaning)
    others = np.delete(values[:10, 1], 5)
    assert record.values[0, 1] == pytest.approx(others.mean(), rel=1e-5)


@pytest.mark.parametrize(("rows", "periods"), [(60, 6), (59, 5), (53, 5), (50, 5)])
def test_a_last_period_that_has_only_begun_is_left_out(rows, periods):
    record = minutely(rows, values=noise(rows))
    assert len(record.times) == periods
    left_out = rows - 10 * periods
    assert record.counts.dropped_rows == left_out
    note = f"left out {left_out} rows at the end, which do not fill a period of 600 s"
    assert (note in record.notes) == (left_out > 0)


@pytest.mark.parametrize("jitter", [5, 20, 200])
@pytest.mark.parametrize("first", [-1, 0, 1])
def test_rows_that_are_never_quite_on_time_are_resampled_without_gaps(jitter, first):
    random = np.random.default_rng(jitter)
    late = random.integers(-jitter, jitter + 1, 2000)
    late[0] = first * jitter
    times = stamps(2000) + late * np.timedelta64(1, "s")
    values = noise(2000)
    record = make_record(
        times, values, frequency=PERIOD, cleaning=replace(CLEANING, irregular="resample")
    )
    assert record.segments == ((0, 2000),)
    np.testing.assert_array_equal(record.values, values)
    # Called by when rows usually come.
    assert np.abs((record.times - stamps(2000)).astype(int)).max() <= jitter / 4 + 1


@pytest.mark.parametrize("hours", [6, 18])
def test_a_first_row_off_time_does_not_shift_those_that_follow(hours):
    """A logger that was started in the evening, and has one row at midnight of each day since."""
    midnights = np.datetime64("2020-01-02T00:00:00") + np.arange(60) * np.timedelta64(86400, "s")
    start = midnights[:1] - np.timedelta64(24 - hours, "h")
    values = noise(61)
    record = make_record(
        np.concatenate([start, midnights]),
        values,
        frequency=86400,
        cleaning=replace(CLEANING, irregular="resample"),
    )
    np.testing.assert_array_equal(
        record.times[1:], midnights[len(midnights) + 1 - len(record.times) :]
    )
    np.testing.assert_array_equal(record.values[2:], values[-(len(record.times) - 2) :])


def test_values_are_not_carried_over_a_gap_longer_than_may_be_filled():
    offsets = [*range(10), *range(100, 110)]
    values = noise(20)
    values[[5, 10, 11], 2] = NAN
    record = make_record(offsets, values, cleaning=replace(CLEANING, fill_rows=2))
    # One before the gap is filled; those behind it would be filled from 90 rows before.
    assert record.kept.tolist() == [*range(10), *range(12, 20)]
    assert record.values[5, 2] == values[4, 2]
    assert (
        f"dropped 2 rows more than 2 after the last known value of `{COLUMNS[2]}`" in record.notes
    )


def test_gaps_that_are_kept_are_told_and_rows_that_are_dropped_cut():
    values = noise(30)
    values[20, TARGET] = NAN
    offsets = [*range(10), *range(40, 60)]
    record = make_record(offsets, values, cleaning=replace(CLEANING, irregular="keep"))
    assert record.segments == ((0, 20), (20, 29))
    assert "1 gaps in time are kept (cleaning.irregular=keep): windows span them" in record.notes
    assert record.counts.gaps == 2


def one_row_each(**facts):
    series = np.arange(3, dtype=np.int32)
    return make_record([4, 4, 5], series=series, series_names=("x", "y", "z"), **facts)


def test_a_row_of_each_series_is_a_record_where_the_period_is_known():
    record = one_row_each(frequency=PERIOD)
    assert record.segments == record.series == ((0, 1), (1, 2), (2, 3))
    assert record.period == PERIOD


def test_a_row_of_each_series_tells_no_period():
    with pytest.raises(DataError, match="no series has two rows; at least 2 are needed"):
        one_row_each()


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("T (degC)", "degC"),
        ("rho (g/m**3)", "g/m**3"),
        ("rh (%)", "%"),
        ("T ( degC )", "degC"),
        ("T (2 m) (K)", "K"),
        ("count", ""),
        ("", ""),
    ],
)
def test_unit_of(column, unit):
    assert unit_of(column) == unit


def test_the_fingerprint_of_arrays_tells_every_change():
    times, values = stamps(5), noise(5)
    first = array_fingerprint(times, values)
    assert first.startswith("sha256:")
    assert first == array_fingerprint(times.copy(), np.asfortranarray(values))
    values[4, 2] = np.nextafter(values[4, 2], 0)
    assert first != array_fingerprint(times, values)
