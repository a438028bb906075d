"""Large arrays lie in files, which have their room from the beginning."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from seqconv.config.errors import DataError
from seqconv.data import scratch

SHAPE, BYTES = (1000, 3), "12,000 bytes"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """The cache, and the system's temporary folder."""
    monkeypatch.setattr(scratch, "LARGE_BYTES", 0)
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "cache", tmp_path / "temporary"


@pytest.fixture
def refuse(monkeypatch):
    """Taking room fails so many times; the folders where files are made."""

    def set_up(number, times):
        failures, folders, make = (
            [OSError(number, os.strerror(number))] * times,
            [],
            tempfile.TemporaryFile,
        )

        def made(*, prefix, dir):
            folders.append(dir)
            return make(prefix=prefix, dir=dir)

        def take(descriptor, start, size):
            if failures:
                raise failures.pop()
            os.truncate(descriptor, size)

        monkeypatch.setattr(tempfile, "TemporaryFile", made)
        monkeypatch.setattr(os, "posix_fallocate", take, raising=False)
        return folders

    return set_up


def test_a_large_array(folders):
    rows = scratch.empty_rows(SHAPE, np.float32)
    rows[:] = 7
    assert isinstance(rows, np.memmap)
    assert (rows.shape, rows.sum()) == (SHAPE, 21_000)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call on this platform")
def test_its_room_is_taken_from_the_beginning(monkeypatch):
    sizes = []
    take = os.posix_fallocate

    def noted(descriptor, start, size):
        take(descriptor, start, size)
        sizes.append(os.fstat(descriptor).st_blocks * 512)

    monkeypatch.setattr(os, "posix_fallocate", noted)
    scratch.empty_rows(SHAPE, np.float32)
    assert sizes[0] >= 12_000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_cache_leaves_the_temporary_folder(folders, refuse, number):
    made_in = refuse(number, 1)
    assert scratch.empty_rows(SHAPE, np.float32).shape == SHAPE
    assert made_in == [folders[0], None]


def test_no_room_anywhere(folders, refuse):
    refuse(errno.ENOSPC, 2)
    cache, temporary = folders
    message = f"^{cache} and {temporary}: no room for {BYTES} .*set SEQCONV_DATA_DIR"
    with pytest.raises(DataError, match=message):
        scratch.empty_rows(SHAPE, np.float32)


def test_a_file_system_that_cannot_take_room(refuse):
    refuse(errno.EOPNOTSUPP, 1)
    rows = scratch.empty_rows(SHAPE, np.float32)
    rows[:] = 7
    assert rows.sum() == 21_000


def resident(array):
    """Bytes of an array's file in this process' memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    next(line for line in lines if line.endswith(str(array.filename)))
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell")
def test_pages_that_are_released_leave_the_memory(tmp_path):
    np.arange(2**18, dtype=np.float32).tofile(tmp_path / "table")
    table = np.memmap(tmp_path / "table", np.float32, "r", shape=(2**17, 2))
    table.sum()
    assert resident(table) > 0
    scratch.release_pages(table[:, 1:])
    assert resident(table) == 0


@pytest.mark.parametrize("kind", ["kept", "scratch", "memory"])
def test_what_is_released_is_there_when_it_is_read_again(tmp_path, kind):
    numbers = np.arange(6000, dtype=np.float32).reshape(2000, 3)
    rows = numbers.copy() if kind == "memory" else scratch.empty_rows(numbers.shape, np.float32)
    if kind == "kept":
        numbers.tofile(tmp_path / "table")
        rows = np.memmap(tmp_path / "table", np.float32, "r", shape=numbers.shape)
    elif kind == "scratch":
        rows[:] = numbers  # Not on the disk yet.
    scratch.release_pages(rows)
    scratch.release_pages(rows[1:])
    assert (rows == numbers).all()
