"""Tables from files: what is read, and what is refused with the file, row and column named."""

import gzip
import hashlib
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from small_records import COLUMNS, csv_text, gzipped, noise, stamps, zipped

from seqconv.config.errors import DataError
from seqconv.data import archives
from seqconv.data.measurements import read_table
from seqconv.data.readers import Reading

TIMES, VALUES = stamps(30), noise(30)
CSV = csv_text(TIMES, VALUES).encode()
HEADER = b"Date Time,a,b\n"
READING = Reading(time="Date Time", time_format="%d.%m.%Y %H:%M:%S")
OF_TWO = replace(READING, columns=("a", "b"))


def read(path):
    return read_table([path], READING)


def write(folder, content, name="record.csv"):
    path = folder / name
    path.write_bytes(content)
    return path


def rows(*cells: bytes) -> bytes:
    """Lines of a table `Date Time,a,b`; each argument is what follows the time stamp."""
    lines = [b"01.01.2009 00:%02d:00,%b\n" % (row, rest) for row, rest in enumerate(cells)]
    return HEADER + b"".join(lines)


# What is read


READABLE = {
    "record.csv": CSV,
    "record.csv.gz": gzipped(CSV),
    "record.zip": zipped({"record.csv": CSV}),
    "stored.zip": zipped({"record.csv": CSV}, zipfile.ZIP_STORED),
    "macos.zip": zipped({"record.csv": CSV, "__MACOSX/._record.csv": b"\0\5\x16\7"}),
    "folder.zip": zipped({"data/": b"", "data/record.csv": CSV}),
    "misnamed.csv": gzipped(CSV),
    "windows.csv": CSV.replace(b"\n", b"\r\n"),
    "unquoted.csv": CSV.replace(b'"', b""),
    "marked.csv": b"\xef\xbb\xbf" + CSV,
    "padded.csv": CSV.replace(b",", b" ,  "),
    "no end of line.csv": CSV.rstrip(),
    "empty lines at the end.csv": CSV + b"\r\n\n\n",
}


@pytest.mark.parametrize("name", READABLE)
def test_reads(tmp_path, name):
    content = READABLE[name]
    table = read(write(tmp_path, content, name))
    np.testing.assert_array_equal(table.times, TIMES)
    assert table.times.dtype == np.dtype("datetime64[s]")
    np.testing.assert_array_equal(table.values, VALUES.astype(np.float32))
    assert table.values.dtype == np.float32
    assert table.columns == COLUMNS
    assert table.fingerprint == f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_as_stations_write_them(tmp_path, encoding):
    text = "Date Time,T (°C),n (µmol)\r\n01.01.2009 00:10:00, -8.02 ,1e3\r\n"
    table = read(write(tmp_path, text.encode(encoding)))
    assert table.columns == ("T (°C)", "n (µmol)")
    assert table.values.tolist() == [[np.float32(-8.02), 1000.0]]
    assert table.notes == (() if encoding == "utf-8" else ("read as Latin-1: line 1 is no UTF-8",))


def test_the_time_column_may_stand_anywhere(tmp_path):
    table = read(write(tmp_path, b"a,Date Time,b\n1,31.12.2009 23:50:00,2\n"))
    assert table.columns == ("a", "b")
    assert table.times.tolist() == [np.datetime64("2009-12-31T23:50:00").item()]
    assert table.values.tolist() == [[1.0, 2.0]]


def test_an_empty_cell_is_not_a_number(tmp_path):
    table = read(write(tmp_path, rows(b"1,", b",2", b" ,NaN")))
    np.testing.assert_array_equal(table.values, [[1, np.nan], [np.nan, 2], [np.nan, np.nan]])


# What is refused


def _damaged(content: bytes, at: bytes) -> bytes:
    """One bit of the first place of `at` turned over."""
    place = content.index(at)
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _encrypted(content: bytes) -> bytes:
    """The zip file with its member marked as encrypted, in both headers."""
    marked = bytearray(content)
    marked[6] |= 1
    marked[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(marked)


STORED = zipped({"record.csv": CSV}, zipfile.ZIP_STORED)
WRONG_FILES = {
    "empty": (b"", "the file is empty"),
    "blank": (b"\n\n", "the file is empty"),
    "empty inside gzip": (gzipped(b""), "the file is empty"),
    "empty inside zip": (zipped({"a.csv": b""}), "the file is empty"),
    "header only": (HEADER, "there are no rows after the header"),
    "header without end": (HEADER.strip(), "there are no rows after the header"),
    "no time column": (b"Time,a\n1,2\n", r"no column `Date Time`; the header has: Time, a"),
    "web page": (b"<html>\n<body>Not Found</body>\n", "no column `Date Time`; .*<html>"),
    "utf-16": (CSV.decode().encode("utf-16"), "is no text"),
    "gzip cut in the middle": (gzipped(CSV)[: len(gzipped(CSV)) // 2], "gzip file is truncated"),
    "gzip without its checksum": (gzipped(CSV)[:-8], "the gzip file is truncated or damaged"),
    "gzip header only": (gzipped(CSV)[:5], "the gzip file is truncated or damaged"),
    "gzip checksum": (
        gzipped(CSV)[:-8] + b"\0\0\0\0" + gzipped(CSV)[-4:],
        "gzip file is truncated or damaged .*CRC",
    ),
    "gzip with rubbish behind": (gzipped(CSV) + b"rubbish", "gzip file is truncated or damaged"),
    "zip cut in the middle": (zipped({"a.csv": CSV})[:300], "zip file is truncated or damaged"),
    "zip without its last byte": (zipped({"a.csv": CSV})[:-1], "zip file is truncated or damaged"),
    "zip checksum": (_damaged(STORED, b"01.01.2020"), "zip file is truncated or damaged .*CRC"),
    "zip encrypted": (_encrypted(STORED), "zip file is truncated or damaged .*encrypted"),
    "zip of two": (
        zipped({"a.csv": CSV, "b.csv": CSV}),
        "the zip file must hold one CSV file, not 2",
    ),
    "zip of none": (zipped({}), "the zip file must hold one CSV file, not 0"),
    "zip of a folder": (zipped({"data/": b""}), "the zip file must hold one CSV file, not 0"),
    "text": (rows(b"1,2", b"3,high", b"5,6"), "row 1, column `b`: must be a number; .*'high'$"),
    "texts": (
        rows(b"1,2", b"x,4", b"y,6", b"z,6"),
        r"row 1, column `a`: must be a number; received 'x' \(and 2 more rows\)$",
    ),
    "two numbers": (rows(b"1 2,3"), "row 0, column `a`: must be a number; received '1 2'$"),
    "infinite": (rows(b"1,2", b"3,4", b"-inf,6"), "row 2, column `a`: must be a number; .*-inf"),
    "too large": (rows(b"1,1e400"), "row 0, column `b`: must be a number; received '1e400'$"),
    "day that is none": (
        HEADER + b"31.02.2009 00:10:00,1,2\n",
        r"row 0, column `Date Time`: must be a time stamp .*received '31\.02\.2009 00:10:00'$",
    ),
    "other time format": (
        rows(b"1,2") + b"2009-01-01 00:10:00,1,2\n",
        r"row 1, column `Date Time`: must be a time stamp such as %d\.%m\.%Y .*'2009-01-01",
    ),
    "no time stamp": (rows(b"1,2") + b",1,2\n", "row 1, column `Date Time`: must be a time stamp"),
    "empty line": (
        rows(b"1,2") + b"\n01.01.2009 00:20:00,1,2\n",
        "row 1, column `Date Time`: must be a time stamp",
    ),
    "long row": (rows(b"1,2", b"1,2,3", b"1,2"), "row 1: must have 3 cells; received 4"),
    "short row": (rows(b"1,2", b"1", b"1,2"), r"\brow 1\b"),
    "cut in the middle of a row": (rows(b"1,2", b"1,2").removesuffix(b",2\n"), r"\brow 1\b"),
    "open quote": (HEADER + b'"01.01.2009 00:10:00,1,2\n', "row 0: must have 3 cells; received 1"),
    "name twice": (b"Date Time,a,a\n01.01.2009 00:10:00,1,2\n", "`a`"),
    "name twice, padded": (b"Date Time,a, a\n01.01.2009 00:10:00,1,2\n", "`a`"),
}


@pytest.mark.parametrize(("content", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_refuses(tmp_path, content, message):
    path = write(tmp_path, content, "some record")
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{message}"):
        read_table([path], OF_TWO)


def test_every_truncation_of_an_archive_is_noticed(tmp_path):
    short = rows(b"1,2", b"3,4")
    for content in (gzip.compress(short, mtime=0), zipped({"a.csv": short})):
        for length in range(2, len(content)):
            path = write(tmp_path, content[:length])
            with pytest.raises(DataError, match="file is truncated or damaged"):
                read(path)


def test_refuses_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}/none.csv: no such file$"):
        read(tmp_path / "none.csv")


def test_refuses_a_folder(tmp_path):
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path))}: cannot be read .*directory"):
        read(tmp_path)


@pytest.mark.parametrize("pack", [gzipped, lambda content: zipped({"a.csv": content})])
def test_refuses_what_unpacks_to_too_much(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(archives, "LARGEST_UNPACKED", len(CSV) - 1)
    path = write(tmp_path, pack(CSV))
    with pytest.raises(DataError, match="unpacks to more than"):
        read(path)
    monkeypatch.setattr(archives, "LARGEST_UNPACKED", len(CSV))
    assert len(read(path).times) == 30


def test_a_header_of_too_many_columns(tmp_path):
    # Names that stand there twice are looked for in time, too.
    path = tmp_path / "table.csv"
    path.write_bytes(b"Date Time," + b",".join(b"%d" % n for n in range(200_000)) + b"\n1\n")
    with pytest.raises(DataError, match="the header names 200,001 columns; at most 10,000"):
        read_table([path], READING)
