"""What `seqconv data check` says of a file."""

import hashlib

import numpy as np
import pytest
from small_records import COLUMNS, csv_text, make_record, noise, stamps

from seqconv.config.errors import ConfigError, DataError
from seqconv.data.inspect import inspect_series
from seqconv.data.readers import Reading


def inspect(folder, times, values):
    path = folder / "record.csv"
    path.write_text(csv_text(times, values))
    return path, inspect_series(path)


def test_a_clean_file(tmp_path):
    path, found = inspect(tmp_path, stamps(20), noise(20))
    assert found == {
        "file": str(path),
        "fingerprint": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        "rows": 20,
        "columns": list(COLUMNS),
        "first": "2020-01-01T00:00:00",
        "last": "2020-01-01T03:10:00",
        "period_seconds": 600,
        "rows_that_repeat_or_go_backward": 0,
        "jumps_back": [],
        "gaps": [],
        "sentinels": {},
        "empty_cells": {},
        "notes": [],
    }


def test_gaps_and_repeats(tmp_path):
    # Rows 10 to 13 repeat rows 6 to 9; nine stamps are missing after the 15th.
    times = stamps([*range(10), *range(6, 10), *range(10, 15), *range(24, 30), 29])
    _, found = inspect(tmp_path, times, noise(len(times)))
    assert found["rows"] == 26
    assert found["rows_that_repeat_or_go_backward"] == 5
    assert found["jumps_back"] == [
        "after row 9 (2020-01-01T01:30:00)",
        "after row 24 (2020-01-01T04:50:00)",
    ]
    assert found["gaps"] == ["after row 18 (2020-01-01T02:20:00), 1.67 h"]


def test_sentinels_and_empty_cells(tmp_path):
    values = noise(20)
    values[[3, 4, 5], 2] = -9999.0
    values[7, 0] = -999.0
    values[[8, 9], 1] = np.nan
    _, found = inspect(tmp_path, stamps(20), values)
    assert found["sentinels"] == {"p (mbar)": 1, "wv (m/s)": 3}
    assert found["empty_cells"] == {"T (degC)": 2}


def test_one_row(tmp_path):
    with pytest.raises(DataError, match=r"needs two rows in order of time; received 1 rows"):
        inspect(tmp_path, stamps(1), noise(1))


def test_series_and_stamps_that_may_be_read_in_two_ways(tmp_path):
    path = tmp_path / "sensors.csv"
    hours = [1, 2, 3, 5, 6]
    lines = [f"01/02/2020 {hour:02}:00,{name},{hour}" for hour in hours for name in ("a", "b")]
    path.write_text("\n".join(["when,sensor,x", *lines]))
    with pytest.raises(ConfigError, match=r"dataset.time_format: .* may be"):
        inspect_series(path)
    found = inspect_series(path, Reading(time_format="%d/%m/%Y %H:%M", series="sensor"))
    assert (found["first"], found["last"]) == ("2020-02-01T01:00:00", "2020-02-01T06:00:00")
    assert (found["series"], found["period_seconds"], found["columns"]) == (2, 3600, ["x"])
    assert found["rows_that_repeat_or_go_backward"] == 0
    assert len(found["gaps"]) == 2


def test_training_finds_the_same_repeats_and_gaps(tmp_path):
    # A jump back over a gap, a repeat, and a step of half a row: each seen by both, and in the same place.
    offsets = [*range(20), *range(30, 40), *range(25, 35), 40, 40, *range(41, 120)]
    times = stamps(offsets)
    times[-1] += np.timedelta64(300, "s")
    values = noise(len(times))
    _, found = inspect(tmp_path, times, values)
    record = make_record(times, values)
    dropped = len(times) - len(record.times)
    assert found["rows_that_repeat_or_go_backward"] == dropped == 11
    assert found["period_seconds"] == record.period
    ends = [record.source_rows[stop - 1] for _, stop in record.segments[:-1]]
    assert [gap.split(" (")[0] for gap in found["gaps"]] == [f"after row {end}" for end in ends]
    assert len(ends) == 2


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        inspect_series(tmp_path / "none.csv")
