"""Large arrays lie in files, which have their room from the beginning."""

import errno
import os
import tempfile

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
