"""Any table: what is found in it, what is refused by file, row and column, and what is kept in the cache."""

import errno
import io
import json
import os
import re
import tempfile
import threading
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqconv.config.errors import ConfigError, DataError, FileError
from seqconv.data import csv_reader, kept_tables, measurements
from seqconv.data.datasets import table as table_dataset
from seqconv.data.measurements import expand, read_frame, read_table
from seqconv.data.readers import Reading

HOURS = 40


def table(rows=HOURS, first="2021-03-01T00:00:00", hours=1, **columns):
    times = np.datetime64(first, "ms") + np.arange(rows) * hours * np.timedelta64(1, "h")
    usual = {"a": np.arange(rows) * 0.5, "b": np.arange(rows) ** 2.0}
    return pl.DataFrame({"when": times, **usual, **columns})


def as_csv(frame, form="%Y-%m-%d %H:%M:%S"):
    return frame.write_csv(datetime_format=form).encode()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write(tmp_path):
    def put(content, name="table.csv"):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif name.endswith(".parquet"):
            content.write_parquet(path)
        else:
            path.write_bytes(as_csv(content))
        return path

    return put


# What is found


FORMATS = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S+00:00",
]
DATES = ["%Y-%m-%d", "%d.%m.%Y"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_format_of_stamps_is_found(write, form):
    frame = table()
    found = read_table([write(as_csv(frame, form))], Reading())
    assert found.time_column == "when"
    assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()
    assert found.columns == ("a", "b")
    assert found.values.tolist() == frame.select("a", "b").to_numpy().tolist()


@pytest.mark.parametrize("form", DATES)
def test_dates_without_a_time_of_day_are_found(write, form):
    frame = table(hours=24)
    found = read_table([write(as_csv(frame, form))], Reading())
    assert (found.time_column, found.time_format) == ("when", form)
    assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()
    assert found.columns == ("a", "b")


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_seconds_since_1970_in_a_named_column(write, unit):
    seconds = table()["when"].dt.epoch("s") * unit
    path = write(table().with_columns(when=seconds))
    found = read_table([path], Reading(time="when"))
    assert (found.times == table()["when"].to_numpy().astype("datetime64[s]")).all()


@pytest.mark.parametrize("named", ["auto", "when"])
@pytest.mark.parametrize(
    "form",
    [
        "%Y%m%d%H%M%S",
        "%Y%m%d%H%M",
        "%Y%m%d%H",
        "%m/%d/%Y %I:%M:%S %p",
        "%d.%m.%y %H:%M",
        "%Y-%m-%d %T",
    ],
)
def test_a_format_that_is_given_is_the_one_that_is_read(write, form, named):
    times = [datetime(2020, 1, 31) + timedelta(hours=hour) for hour in range(50)]
    content = "when,x\n" + "".join(f"{time.strftime(form)},1.5\n" for time in times)
    found = read_table([write(content.encode())], Reading(time=named, time_format=form))
    assert found.time_format == form
    assert found.times.astype(object).tolist() == times


def test_whole_numbers_of_a_parquet_file_have_the_format_that_is_given(tmp_path):
    path = tmp_path / "days.parquet"
    pl.DataFrame({"day": [20200130, 20200131, 20200201], "x": [1.0, 2.0, 3.0]}).write_parquet(path)
    found = read_table([path], Reading(time="day", time_format="%Y%m%d"))
    assert found.times[-1] == np.datetime64("2020-02-01")
    with pytest.raises(DataError, match="column `day`: must be a time stamp such as"):
        read_table([path], Reading(time="day"))


@pytest.mark.parametrize("form", ["%d/%m/%y %H:%M", "%d.%m.%y %H:%M", "%m/%d/%y %H:%M", "%d-%m-%y"])
def test_years_of_two_digits_are_not_taken_for_those_of_the_romans(write, form):
    times = [datetime(2020, 1, 1) + timedelta(days=day) for day in range(28)]
    content = "when,x\n" + "".join(f"{time.strftime(form)},1.5\n" for time in times)
    path = write(content.encode(), "short.csv")
    with pytest.raises(ConfigError, match=r"no column of time stamps .* give dataset.time_format"):
        read_table([path], Reading())
    found = read_table([path], Reading(time_format=form))
    assert found.times[-1] == np.datetime64("2020-01-28")


def test_hours_without_separators_may_be_seconds_since_1970(write):
    path = write(b"when,x\n2020010100,1\n2020010101,2\n", "hours.csv")
    with pytest.raises(ConfigError, match="may be %Y%m%d%H or seconds since 1970") as caught:
        read_table([path], Reading(time="when"))
    assert "%s for the second" in str(caught.value)
    found = read_table([path], Reading(time="when", time_format="%s"))
    assert found.times[0] == np.datetime64("2034-01-04T17:55:00")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64])
def test_seconds_and_minutes_without_separators_are_no_milliseconds_of_a_far_future(
    write, name, kind
):
    frame = table()
    stamps = frame["when"].dt.strftime("%Y%m%d%H%M%S").cast(pl.Int64).cast(kind)
    path = write(frame.with_columns(when=stamps), name)
    found = read_table([path], Reading(time="when"))
    assert found.time_format == "%Y%m%d%H%M%S"
    assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()
    # What the settings say holds.
    found = read_table([path], Reading(time="when", time_format="%s"))
    assert found.times[0] == np.datetime64(20210301000000, "ms")


def test_milliseconds_without_separators_are_no_microseconds_of_a_far_future(write):
    path = write(b"when,x\n20210101010000000,1\n20210101010001000,2\n")
    found = read_table([path], Reading(time="when"))
    assert found.times[1] == np.datetime64("2021-01-01T01:00:01")


@pytest.mark.parametrize("kind", [pl.Int64, pl.Float64])
@pytest.mark.parametrize(
    ("form", "hours", "first"),
    [
        ("%Y%m%d%H%M", 24, np.datetime64(202103010000, "ms")),
        ("%Y%m%d%H", 1, np.datetime64(2021030100, "s")),
    ],
)
def test_stamps_without_separators_that_may_count_from_1970_are_refused(
    write, kind, form, hours, first
):
    frame = table(hours=hours)
    path = write(
        frame.with_columns(when=frame["when"].dt.strftime(form).cast(pl.Int64).cast(kind)),
        "t.parquet",
    )
    with pytest.raises(ConfigError, match=f"may be {form} or seconds since 1970; give one of them"):
        read_table([path], Reading(time="when"))
    for settings in ({"time_format": form}, {"found_format": form}):
        found = read_table([path], Reading(time="when", **settings))
        assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()
    for settings in ({"time_format": "%s"}, {"found_format": "seconds since 1970"}):
        found = read_table([path], Reading(time="when", **settings))
        assert found.times[0] == first


def test_minutes_without_separators_that_would_be_no_whole_seconds_since_1970(write):
    frame = table()
    path = write(frame.with_columns(when=frame["when"].dt.strftime("%Y%m%d%H%M")))
    found = read_table([path], Reading(time="when"))
    assert found.time_format == "%Y%m%d%H%M"
    assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()


def test_milliseconds_since_1970_are_no_stamps_without_separators(write):
    """Of a year in which they have 12 digits; 60 minutes are in no hour."""
    seconds = table(first="1976-05-28T00:00:00")["when"].dt.epoch("ms")
    found = read_table([write(table().with_columns(when=seconds))], Reading(time="when"))
    assert found.times[0] == np.datetime64("1976-05-28")


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("unit", [1, 1000])
def test_seconds_since_1970_that_are_kept_as_floats(write, name, unit):
    frame = table()
    seconds = (frame["when"].dt.epoch("s") * unit).cast(pl.Float64)
    path = write(frame.with_columns(when=seconds), name)
    found = read_table([path], Reading(time="when"))
    assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()


@pytest.mark.parametrize("row", [3, 1500])
@pytest.mark.parametrize("wrong", [0.5, np.nan])
def test_floats_that_are_no_whole_seconds(write, row, wrong):
    frame = table(2000)
    seconds = frame["when"].dt.epoch("s").cast(pl.Float64)
    seconds[row] += wrong
    path = write(frame.with_columns(when=seconds), "t.parquet")
    with pytest.raises(
        DataError,
        match=rf"row {row}, column `when`: must be a whole number that is seconds since 1970; received (\d+\.5|nan)",
    ):
        read_table([path], Reading(time="when"))


def test_fractions_of_a_second_in_the_letters_of_python(write):
    rows = "".join(f"2021-01-01 00:00:0{row}.000000,{row}\n" for row in range(5))
    reading = Reading(time_format="%Y-%m-%d %H:%M:%S.%f")
    found = read_table([write(f"when,a\n{rows}".encode())], reading)
    assert found.times[-1] == np.datetime64("2021-01-01T00:00:04")
    path = write(f"when,a\n{rows}2021-01-01 00:00:05.500000,5\n".encode())
    for each in (reading, Reading()):
        with pytest.raises(
            DataError, match=r"row 5, column `when`: must be a whole second; .*05\.5"
        ):
            read_table([path], each)


def test_a_format_found_before_settles_what_may_be_read_in_two_ways(write):
    path = write(b"when,x\n01/02/2020 10:00,1\n01/02/2020 11:00,2\n", "days.csv")
    for form, expected in {"%d/%m/%Y %H:%M": "2020-02-01", "%m/%d/%Y %H:%M": "2020-01-02"}.items():
        found = read_table([path], Reading(found_format=form))
        assert found.times[0] == np.datetime64(f"{expected}T10:00")
    with pytest.raises(ConfigError, match="give one of them"):
        read_table([path], Reading())


def test_columns_that_are_not_wanted_may_hold_anything(write):
    rows = "".join(f"2020-01-01 00:{minute:02}:00,{minute},{minute}\n" for minute in range(50))
    path = write(f"when,x,state\n{rows}2020-01-01 00:50:00,50,ERR\n".encode(), "status.csv")
    found = read_table([path], Reading(wanted=("x",)))
    assert found.columns == ("x",)
    # Where one is not there, all are read, so that it can be told what there is.
    with pytest.raises(DataError, match="row 50, column `state`: must be a number"):
        read_table([path], Reading(wanted=("x", "y")))


def test_offsets_from_utc_that_change_are_one_time_line(write):
    """The hour that stands twice when daylight saving ends is two hours where offsets are stated."""
    stamps = ["2021-10-31T01:30:00+02:00", "2021-10-31T02:30:00+02:00", "2021-10-31T02:30:00+01:00"]
    text = "when,a\n" + "".join(f"{stamp},{n}\n" for n, stamp in enumerate(stamps))
    found = read_table([write(text.encode())], Reading())
    assert np.diff(found.times).astype(int).tolist() == [3600, 3600]


def test_parquet_and_csv_are_one_table(write):
    frame = table(sensor=["x", "y"] * (HOURS // 2))
    reading = Reading(series="sensor")
    one = read_table([write(frame, "t.parquet")], reading)
    other = read_table([write(frame)], reading)
    assert (one.values == other.values).all()
    assert (one.times == other.times).all()
    assert one.series_names == other.series_names == ("x", "y")
    # Rows of a series stand together, in their order.
    assert one.series.tolist() == [0] * 20 + [1] * 20
    assert one.values[:20, 0].tolist() == frame["a"][::2].to_list()


def test_files_are_joined_in_the_order_of_their_first_stamps(write, tmp_path):
    later = write(table(first="2021-03-03T00:00:00"), "part_1.csv")
    earlier = write(table(), "part_2.csv")
    assert expand(str(tmp_path / "part_*.csv")) == [later, earlier]
    found = read_table([later, earlier], Reading())
    assert (np.diff(found.times.astype(np.int64)) > 0).all()
    assert len(found.values) == 2 * HOURS


def test_columns_may_stand_in_another_order_in_another_file(write):
    frame, later = table(), table(first="2021-03-03T00:00:00")
    for name in ("csv", "parquet"):
        files = [
            write(frame, f"one.{name}"),
            write(later.select("b", "when", "a"), f"two.{name}"),
        ]
        found = read_table(files, Reading())
        assert found.columns == ("a", "b")
        both = pl.concat([frame, later]).select("a", "b").to_numpy()
        assert found.values.tolist() == both.tolist()


def test_columns_that_hold_no_numbers_are_named(write):
    found = read_table([write(table(place=["here"] * HOURS))], Reading())
    assert found.columns == ("a", "b")
    assert found.notes == ("left out columns that hold no numbers: place",)
    assert found.left_out == {"place": "'here'"}


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_the_first_cell_that_is_no_number(write, name):
    cells = ["", "1.5", *["NA", "1,5"] * (HOURS // 2 - 1)]
    found = read_table([write(table(x=cells), name)], Reading())
    assert found.left_out == {"x": "'NA'"}


def section(path, **changes):
    usual = {"name": "table", "path": str(path), "time": "auto", "time_format": None}
    usual |= {"series": None, "scaling": "common", "frequency": None, "features": None}
    return table_dataset.TableConfig(**(usual | {"targets": ("a",)} | changes))


def test_a_target_whose_cells_are_mostly_no_numbers(write):
    path = write(table(x=["NA", "1,5"] * (HOURS // 2)))
    with pytest.raises(
        ConfigError,
        match=r"dataset.targets: no column `x` of numbers: it is left out, .* first of them 'NA'. .* has: a, b",
    ):
        table_dataset.load(section(path, targets=("x",)))
    with pytest.raises(ConfigError, match=r"dataset.targets: no column `y`\. The record has: a, b"):
        table_dataset.load(section(path, targets=("y",)))


@pytest.mark.parametrize("form", ["%H:%M:%S,%f", "%H%M%S%f"])
def test_fractions_that_do_not_follow_a_point_have_a_length(form):
    (problem,) = section("t.csv", time_format=form).problems()
    assert problem.key == "time_format"
    assert problem.message.startswith(f"`%f` must follow a point, as in `%S.%f`; received '{form}'")
    for known in ("%S.%f", "%S%.f", "%S,%3f", "%S%%f", None):
        assert not list(section("t.csv", time_format=known).problems())


METER = 123456789 + np.cumsum(np.random.default_rng(0).uniform(0, 2, HOURS))
COARSE = (
    r"`meter` is kept as float32, to about 8 at 1234568\d\d, but changes by about [01].* subtract"
)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_values_whose_steps_float32_cannot_hold_are_named(write, name):
    frame = table(meter=METER, offset=METER - METER[0], constant=[123456789.5] * HOURS)
    (note,) = read_table([write(frame, name)], Reading()).notes
    assert re.match(COARSE, note)


def test_many_columns_that_float32_cannot_hold(write):
    columns = {f"m{number}": METER for number in range(7)}
    notes = read_table([write(table(**columns))], Reading()).notes
    assert len(notes) == 6
    assert notes[-1] == "float32 is too coarse for 2 more columns"


@pytest.mark.parametrize(
    "values",
    [
        np.where(np.arange(HOURS) % 10, np.arange(HOURS) * 0.01, -9999),
        np.where(np.arange(HOURS) % 10, np.arange(HOURS) * 0.5, 1e30),
        # Rounding of float64.
        np.where(np.arange(HOURS) % 2, 0.3, 0.1 + 0.2),
        101325 + np.arange(HOURS) % 3,
        np.full(HOURS, np.nan),
    ],
    ids=["sentinels", "large sentinels", "a constant", "pascals", "nothing"],
)
def test_values_that_float32_can_hold_are_not_named(write, values):
    frame = table(x=values)
    assert read_table([write(frame, "t.parquet")], Reading()).notes == ()


def test_values_that_are_float32_in_the_file_are_not_named(write):
    frame = table(x=METER.astype(np.float32))
    assert read_table([write(frame, "t.parquet")], Reading()).notes == ()


def test_steps_are_looked_at_in_each_series(write):
    frame = pl.concat([table(meter=METER), table(meter=METER * 3)])
    frame = frame.with_columns(sensor=pl.Series(["x"] * HOURS + ["y"] * HOURS)).sort("when")
    (note,) = read_table([write(frame)], Reading(series="sensor")).notes
    assert "`meter` is kept as float32" in note


def test_values_that_grow_too_large_for_float32_in_a_later_block(write, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 200)
    frame = table(meter=np.concatenate([np.arange(HOURS / 2), METER[: HOURS // 2]]))
    (note,) = read_table([write(frame)], Reading()).notes
    assert re.match(COARSE, note)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_days_and_times_of_day_in_two_columns(write, name):
    when = table()["when"]
    frame = table(day=when.dt.date(), clock=when.dt.time()).drop("when")
    found = read_table([write(frame, name)], Reading())
    assert found.time_column == "day"
    assert found.notes[0] == (
        "`day` holds days, and `clock` times of day: join them into one column of stamps"
    )


def test_days_that_come_once_for_each_series(write):
    frame = table(hours=24, clock=["06:12"] * HOURS)
    frame = pl.concat([frame.with_columns(sensor=pl.lit(name)) for name in "xyz"])
    found = read_table([write(as_csv(frame, "%Y-%m-%d"))], Reading(series="sensor"))
    assert found.notes == ("left out columns that hold no numbers: clock",)


def test_columns_that_trailing_commas_make(write):
    text = "when,a,,\n" + "".join(f"{day}.01.2021,{day},,\n" for day in range(10, 14))
    found = read_table([write(text.encode())], Reading())
    assert found.columns == ("a",)
    assert found.values[:, 0].tolist() == [10, 11, 12, 13]
    assert found.notes == ()


def test_numbers_of_columns_without_a_name(write):
    text = ",when,a,\n" + "".join(f"{day},{day}.01.2021,1,{2 * day}\n" for day in range(10, 14))
    found = read_table([write(text.encode())], Reading())
    assert found.columns == ("", "a", " ")
    assert found.values[:, [0, 2]].tolist() == [[10, 20], [11, 22], [12, 24], [13, 26]]


def test_commas_and_line_ends_within_quotes(write):
    text = 'when,place,a\n"2021-01-01","here, or ""there""",1\n"2021-01-02","here\n,\nor",2\n'
    found = read_table([write(text.encode())], Reading())
    assert found.values.tolist() == [[1], [2]]


def test_a_quote_in_the_middle_of_a_cell_is_a_character(write):
    text = 'when,pipe,fitting,a\n2021-01-01,5" steel,6" steel,1\n2021-01-02,5",6",2\n'
    found = read_table([write(text.encode())], Reading())
    assert found.values.tolist() == [[1], [2]]


def late(*lines):
    """A table whose first rows, from which its form is found, are as they should be."""
    first = [f"2021-01-01 {n // 60:02}:{n % 60:02}:00,1.5,2,ok" for n in range(1200)]
    return "\n".join(["when,a,b,state", *first, *lines, ""]).encode()


UNEVEN = {
    "a decimal comma": (
        ["2021-01-02 00:00:00,1,5,2,ok"],
        "row 1200: must have 4 cells; received 5",
    ),
    "a lost line end": (
        ["2021-01-02 00:00:00,1,2,ok2021-01-02 00:01:00,1,2,ok"],
        "row 1200: must have 4 cells; received 7",
    ),
    "a short row beside a long one": (
        ["2021-01-02 00:00:00,1,2", "2021-01-02 00:01:00,1,2,3,ok"],
        "row 1200: must have 4 cells; received 3",
    ),
    "a long row beside a quote within a cell": (
        ['2021-01-02 00:00:00,1,2,5" ok', "2021-01-02 00:01:00,1,2,3,ok"],
        "row 1201: must have 4 cells; received 5",
    ),
    "after an empty line": (
        ["", "2021-01-02 00:01:00,1,2,3,ok"],
        "row 120[01]: must",
    ),
}


@pytest.mark.parametrize("name", UNEVEN)
@pytest.mark.parametrize("wanted", [None, ("a", "b"), ("a",)])
def test_uneven_rows_are_refused_whichever_columns_are_read(write, name, wanted):
    lines, message = UNEVEN[name]
    with pytest.raises(DataError, match=message):
        read_table([write(late(*lines))], Reading(wanted=wanted))


def test_several_files_without_stamps_have_no_order(write):
    paths = [write(b"a,b\n1,2\n3,4\n", f"run_{n}.csv") for n in (1, 10, 2)]
    with pytest.raises(ConfigError, match=r"dataset.time: rows in several files without time"):
        read_table(paths, Reading(time=None))


def test_series_without_stamps_may_have_a_file_each(write):
    paths = [write(f"a,s\n1,{name}\n2,{name}\n".encode(), f"{name}.csv") for name in "xy"]
    found = read_table(paths, Reading(time=None, series="s"))
    assert found.values[:, 0].tolist() == [1, 2, 1, 2]
    paths.append(write(b"a,s\n3,x\n", "z.csv"))
    with pytest.raises(ConfigError, match=r"dataset.time: rows in several files without time"):
        read_table(paths, Reading(time=None, series="s"))


@pytest.mark.parametrize("first", [0, 1900, 100_000])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_small_whole_numbers_are_no_stamps(write, first, suffix):
    """Years, hours or milliseconds from the start of a measurement: as seconds since 1970 they would be of that day."""
    frame = pl.DataFrame({"t": first + np.arange(50), "a": np.arange(50.0)})
    with pytest.raises((ConfigError, DataError), match="t"):
        read_table([write(frame, f"t{suffix}")], Reading(time="t"))
    found = read_table([write(frame, f"t{suffix}")], Reading(time="t", time_format="%s"))
    assert found.times[0] == np.datetime64(first, "s")


def test_a_station_file_as_it_is(write):
    """Latin-1, CRLF, padded numbers, a sentinel."""
    text = '"when","T (°C)"\r\n01.01.2021 00:00:00, -1.50 \r\n01.01.2021 01:00:00,-9999.00\r\n'
    found = read_table([write(text.encode("latin-1"))], Reading())
    assert found.columns == ("T (°C)",)
    assert found.values.tolist() == [[-1.5], [-9999.0]]
    assert "read as Latin-1" in found.notes[0]


def test_a_frame_is_read_as_its_file(write):
    frame = table(place=["here"] * HOURS)
    in_memory, from_file = read_frame(frame, Reading()), read_table([write(frame)], Reading())
    assert (in_memory.times == from_file.times).all()
    assert (in_memory.values == from_file.values).all()


# What is refused


def cut_short(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()[:-40]


def zip_bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", as_csv(table(2)) + b"0" * 50_000_000)
    return buffer.getvalue()


def with_cell(row, column, cell):
    lines = as_csv(table()).decode().splitlines()
    cells = lines[row + 1].split(",")
    cells[column] = cell
    lines[row + 1] = ",".join(cells)
    return "\n".join(lines).encode()


NAMED = Reading(time="when")
REFUSED = {
    "no rows": (b"when,a\n", Reading(), r"there are no rows after the header"),
    "empty": (b"", Reading(), r"the file is empty"),
    "no stamps": (as_csv(table().drop("when")), Reading(), r"no column of time stamps among a, b"),
    "two columns of stamps": (
        as_csv(table(other=table()["when"])),
        Reading(),
        r"several columns of time stamps: when, other",
    ),
    "no such time column": (
        as_csv(table()),
        Reading(time="wen"),
        r"no column `wen`. Did you mean `when`",
    ),
    "no such series": (
        as_csv(table()),
        Reading(series="sensor"),
        r"dataset.series: .*no column `sensor`",
    ),
    "day or month": (
        as_csv(table(5), "%d/%m/%Y %H:%M:%S"),
        Reading(),
        r"dataset.time_format: .* may be %d/%m/%Y %H:%M:%S or %m/%d/%Y %H:%M:%S",
    ),
    "a short row": (
        b"when,a,b\n2021-01-01,1,2\n2021-01-02,3\n",
        Reading(),
        r"row 1: must have 3 cells; received 2",
    ),
    "a short row with quotes": (
        b'when,a,b,c\n"2021-01-01",1,2,3\n"2021-01-02",4,5\n',
        Reading(),
        r"row 1: must have 4 cells; received 3",
    ),
    "a short row beside a quote within a cell": (
        b'when,pipe,a\n2021-01-01,5" steel,1\n2021-01-02,6" steel\n2021-01-03,5" steel,4\n',
        Reading(),
        r"row 1: must have 3 cells; received 2",
    ),
    "a long row": (
        b"when,a,b\n2021-01-01,1,2\n2021-01-02,12,5,3\n",
        Reading(),
        r"row 1: must have 3 cells; received 4 \(is there a comma in a number",
    ),
    "a short row after line ends within quotes": (
        b'when,place,a\n2021-01-01,"x\n\n,,",1\n2021-01-02,"y"\n',
        Reading(),
        r"row 1: must have 3 cells; received 2",
    ),
    "a quote that is not closed": (
        b'when,place,a\n2021-01-01,x,1\n2021-01-02,"y,2\n2021-01-03,z,3\n',
        Reading(),
        r"row 1: must have 3 cells; received 2 \(is the file cut off, or a quote not closed\?\)",
    ),
    "a stamp of another form": (
        with_cell(7, 0, "yesterday"),
        NAMED,
        r"row 7, column `when`: must be a time stamp such as .*; received 'yesterday'",
    ),
    "a stamp is missing": (
        with_cell(7, 0, ""),
        NAMED,
        r"row 7, column `when`: must be a time stamp",
    ),
    "fractions of a second": (
        with_cell(3, 0, "2021-03-01 03:00:00.5"),
        Reading(time="when", time_format="%Y-%m-%d %H:%M:%S%.f"),
        r"row 3, column `when`: must be a whole second",
    ),
    "no number": (
        with_cell(9, 1, "x"),
        Reading(),
        r"row 9, column `a`: must be a number; received 'x'",
    ),
    "infinite": (
        with_cell(9, 2, "inf"),
        Reading(),
        r"row 9, column `b`: must be a number; received 'inf'",
    ),
    "no numbers at all": (
        as_csv(table(3).select("when", a=pl.lit("x"))),
        Reading(),
        r"has no column of numbers",
    ),
    "zero bytes": (b"when,a\n2021-01-01,\0\n", Reading(), r"is no text"),
    "semicolons": (b"when;a\n2021-01-01;1\n", Reading(), r"columns must be separated by commas"),
    "a column twice": (b"when,a,a\n2021-01-01,1,2\n", Reading(), r"names the column `a` twice"),
    "a zip bomb": (zip_bomb(), Reading(), r"table.csv: .*"),
    "Parquet cut short": (cut_short(table()), Reading(), r"cut off or damaged"),
}


def panic(*_, **__):
    os.write(2, b"thread 'async-executor-1' panicked at range.rs\n")
    raise pl.exceptions.PanicException("called `Result::unwrap()`")


def test_parquet_that_makes_its_reader_panic(write, monkeypatch, capfd):
    path = write(table(), "t.parquet")
    monkeypatch.setattr(pl.LazyFrame, "collect", panic)
    with pytest.raises(FileError, match=r"cut off or damaged \(called `Result::unwrap\(\)`"):
        read_table([path], Reading())
    assert capfd.readouterr().err == ""


def test_parquet_that_makes_its_reader_panic_after_the_first_rows(write, monkeypatch, capfd):
    whole, path = pl.LazyFrame.slice, write(table(), "t.parquet")

    def broken(frame, *where):
        monkeypatch.setattr(pl.LazyFrame, "collect", panic)
        return whole(frame, *where)

    monkeypatch.setattr(pl.LazyFrame, "slice", broken)
    with pytest.raises(FileError, match="cut off or damaged"):
        read_table([path], Reading())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("unit", "zone", "year"), [("us", None, "-71100"), ("ms", None, ""), ("ms", "UTC", "")]
)
def test_a_stamp_that_python_has_no_object_for(write, unit, zone, year):
    damaged = pl.Series("when", [-(2**61) - 1]).cast(pl.Datetime(unit, zone))
    path = write(pl.DataFrame([damaged, pl.Series("a", [1.0])]), "t.parquet")
    with pytest.raises(DataError, match=f"row 0, column `when`: .* whole second; received {year}"):
        read_table([path], Reading())


@pytest.mark.parametrize(("content", "reading", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(write, own_cache, content, reading, message):
    path = write(content)
    with pytest.raises((DataError, ConfigError), match=message) as refused:
        read_table([path], reading)
    assert "table.csv" in str(refused.value)
    assert not list(own_cache.glob("tables/*"))


OTHERS = {
    "another column": (table().rename({"b": "c"}), r"they differ in `b`, `c`"),
    "another time column": (
        table().rename({"when": "stamp"}),
        r"they differ in `when`, `stamp`",
    ),
    "text in a column of numbers": (
        table().with_columns(b=pl.lit("x")),
        r"two.csv: must have the columns of .*one.csv; they differ in `b`",
    ),
}


@pytest.mark.parametrize(("second", "message"), OTHERS.values(), ids=OTHERS)
def test_a_second_file_of_another_form(write, second, message):
    with pytest.raises(DataError, match=message):
        read_table([write(table(), "one.csv"), write(second, "two.csv")], Reading())


def test_stamps_of_another_form_in_the_second_file(write):
    files = [write(table(), "one.csv"), write(as_csv(table(), "%d.%m.%Y %H:%M:%S"), "two.csv")]
    with pytest.raises(DataError, match=r"two.csv: its time stamps look like"):
        read_table(files, Reading())


def test_a_pattern_that_finds_nothing(tmp_path):
    with pytest.raises(FileError, match=r"plant_\*.csv: no file of such a name"):
        expand(str(tmp_path / "plant_*.csv"))


# Blocks and the cache


def test_blocks_give_what_the_whole_gives(write, monkeypatch):
    path = write(table(500))
    whole = read_table([path], Reading())
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 1000)
    in_blocks = read_table([path], Reading())
    assert (in_blocks.values == whole.values).all()
    assert (in_blocks.times == whole.times).all()


def test_rows_are_numbered_through_all_blocks(write, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 200)
    with pytest.raises(DataError, match="row 39, column `a`"):
        read_table([write(with_cell(39, 1, "x"))], Reading())


@pytest.mark.parametrize("size", range(20, 200, 7))
def test_no_block_ends_within_quotes(write, monkeypatch, size):
    rows = [f'2021-01-{day},"a place\nof, ""two""\n\nlines",{day}\n' for day in range(10, 30)]
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", size)
    found = read_table([write(("when,place,a\n" + "".join(rows)).encode())], Reading())
    assert found.values[:, 0].tolist() == list(range(10, 30))


def test_a_quote_that_is_not_closed_takes_two_blocks_at_most(monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 100)
    content = b'a,"b\n' + b"c,d\n" * 1000
    blocks = list(csv_reader._lines(io.BytesIO(content)))
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) < 210


UTF8, LATIN = "Zürich".encode(), "Zürich".encode("latin-1")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (UTF8, LATIN, "line 6 is UTF-8, line 26 is not"),
        (LATIN, UTF8, "line 26 is UTF-8, line 6 is not"),
    ],
)
def test_blocks_of_different_encodings(write, monkeypatch, first, second, message):
    rows = [b"2021-01-01 %02d:%02d:00,x,1\n" % divmod(minute, 60) for minute in range(40)]
    rows[4], rows[24] = rows[4].replace(b"x", first), rows[24].replace(b"x", second)
    path = write(b"when,place,a\n" + b"".join(rows))
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 200)
    with pytest.raises(DataError, match=f"table.csv: must be UTF-8 or Latin-1 .*; {message}"):
        read_table([path], Reading(series="place"))


@pytest.mark.parametrize("place", [UTF8, LATIN])
def test_blocks_of_one_encoding(write, monkeypatch, place):
    rows = [b"2021-01-01 %02d:%02d:00,x,1\n" % divmod(minute, 60) for minute in range(40)]
    rows[4], rows[24] = (rows[row].replace(b"x", place) for row in (4, 24))
    path = write(b"when,place,a\n" + b"".join(rows))
    monkeypatch.setattr(csv_reader, "BLOCK_BYTES", 200)
    assert read_table([path], Reading(series="place")).series_names == ("x", "Zürich")


@pytest.fixture
def kept(monkeypatch):
    monkeypatch.setattr(measurements, "SMALL_BYTES", 0)


@pytest.mark.usefixtures("kept")
def test_the_cache_is_used_until_file_or_settings_change(write, own_cache, monkeypatch):
    path = write(table())
    first = read_table([path], Reading())
    with monkeypatch.context() as patched:
        patched.setattr(measurements, "_parse", lambda *_: pytest.fail("parsed again"))
        again = read_table([path], Reading())
    assert isinstance(again.values.base, np.memmap) or isinstance(again.values, np.memmap)
    assert (again.values == first.values).all()
    assert again.columns == first.columns
    assert len(list(own_cache.glob("tables/*"))) == 1
    read_table([path], Reading(time="when"))
    write(table(HOURS + 1))
    assert len(read_table([path], Reading()).values) == HOURS + 1
    assert len(list(own_cache.glob("tables/*"))) == 3


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("damage", ["values", "times", kept_tables.METADATA])
def test_a_damaged_table_is_made_again(write, own_cache, damage):
    path = write(table())
    expected = read_table([path], Reading()).values.tolist()
    (folder,) = own_cache.glob("tables/*")
    (folder / damage).write_bytes(b"x")
    assert read_table([path], Reading()).values.tolist() == expected
    assert read_table([path], Reading()).values.tolist() == expected
    assert os.listdir(own_cache / "tables") == [folder.name]


@pytest.mark.usefixtures("kept")
def test_many_at_once(write, own_cache):
    path, found, failed = write(table(2000)), [], []

    def read():
        try:
            found.append(read_table([path], Reading()).values.sum(dtype=np.float64))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(found)) == 1
    assert len(found) == 8
    (folder,) = own_cache.glob("tables/*")
    assert json.loads((folder / kept_tables.METADATA).read_text())["rows"] == 2000


@pytest.mark.usefixtures("kept")
def test_a_cache_that_cannot_be_written_is_no_error(write, tmp_path, monkeypatch):
    blocked = tmp_path / "a_file"
    blocked.write_text("")
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(blocked))
    assert len(read_table([write(table())], Reading()).values) == HOURS


class FullFile(io.BytesIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def fill(monkeypatch):
    """From now on nothing can be written in some folders."""

    def full(*folders):
        before = Path.open

        def opened(path, mode="r", *rest, **more):
            is_full = "w" in mode and any(folder in path.parents for folder in folders)
            return FullFile() if is_full else before(path, mode, *rest, **more)

        monkeypatch.setattr(Path, "open", opened)

    return full


@pytest.mark.usefixtures("kept")
def test_a_full_cache_is_no_error(write, own_cache, fill):
    path = write(table(sensor=["x", "y"] * (HOURS // 2)))
    fill(own_cache)
    found = read_table([path], Reading(series="sensor"))
    assert found.values[:, 0].tolist() == [*np.arange(0, 20, 1.0), *np.arange(0.5, 20, 1.0)]
    assert os.listdir(own_cache / "tables") == []


@pytest.mark.usefixtures("kept")
def test_a_cache_without_room_for_a_folder_is_no_error(write, own_cache, monkeypatch):
    make = tempfile.mkdtemp

    def made(*, prefix, dir):
        if dir is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return make(prefix=prefix)

    monkeypatch.setattr(tempfile, "mkdtemp", made)
    assert len(read_table([write(table())], Reading()).values) == HOURS
    assert os.listdir(own_cache / "tables") == []


@pytest.mark.usefixtures("kept")
def test_no_room_anywhere(write, own_cache, tmp_path, monkeypatch, fill):
    path, temporary = write(table()), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    fill(own_cache, temporary)
    with pytest.raises(
        DataError, match=f"^{temporary}: a table cannot be written .*No space.*TMPDIR"
    ):
        read_table([path], Reading())
    assert os.listdir(temporary) == os.listdir(own_cache / "tables") == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "disk"), FileError("x: cut off")])
def test_a_source_that_cannot_be_read_is_not_read_twice(error):
    calls = []

    def make(writer):
        calls.append(writer)
        writer.write(None, np.zeros((2, 1), np.float32), None)
        raise error

    with pytest.raises(type(error)) as raised:
        kept_tables.load_or_make({}, make, keep=True)
    assert raised.value is error
    assert len(calls) == 1
