"""Any table: what is found in it, what is refused by file, row and column, and what is kept in the cache."""

import io
import json
import os
import threading
import zipfile

import numpy as np
import polars as pl
import pytest

from seqconv.config.errors import ConfigError, DataError, FileError
from seqconv.data import kept_tables, measurements
from seqconv.data.measurements import Reading, expand, read_frame, read_table

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


@pytest.mark.parametrize("form", FORMATS)
def test_the_format_of_stamps_is_found(write, form):
    frame = table()
    found = read_table([write(as_csv(frame, form))], Reading())
    assert found.time_column == "when"
    assert (found.times == frame["when"].to_numpy().astype("datetime64[s]")).all()
    assert found.columns == ("a", "b")
    assert found.values.tolist() == frame.select("a", "b").to_numpy().tolist()


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_seconds_since_1970_in_a_named_column(write, unit):
    seconds = table()["when"].dt.epoch("s") * unit
    path = write(table().with_columns(when=seconds))
    found = read_table([path], Reading(time="when"))
    assert (found.times == table()["when"].to_numpy().astype("datetime64[s]")).all()


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


def test_columns_that_hold_no_numbers_are_named(write):
    found = read_table([write(table(place=["here"] * HOURS))], Reading())
    assert found.columns == ("a", "b")
    assert found.notes == ("left out columns that hold no numbers: place",)


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


@pytest.mark.parametrize(("content", "reading", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(write, own_cache, content, reading, message):
    path = write(content)
    with pytest.raises((DataError, ConfigError), match=message) as refused:
        read_table([path], reading)
    assert "table.csv" in str(refused.value)
    assert not list(own_cache.glob("tables/*"))


OTHERS = {
    "another column": (table().rename({"b": "c"}), r"they differ in `b`, `c`"),
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
    monkeypatch.setattr(measurements, "BLOCK_BYTES", 1000)
    in_blocks = read_table([path], Reading())
    assert (in_blocks.values == whole.values).all()
    assert (in_blocks.times == whole.times).all()


def test_rows_are_numbered_through_all_blocks(write, monkeypatch):
    monkeypatch.setattr(measurements, "BLOCK_BYTES", 200)
    with pytest.raises(DataError, match="row 39, column `a`"):
        read_table([write(with_cell(39, 1, "x"))], Reading())


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
