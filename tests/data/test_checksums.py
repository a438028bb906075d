"""A checksum is remembered while the file stays as it is, and is that of its bytes whatever happens."""

import hashlib
import json
import os

import pytest

from seqconv.data import checksums
from seqconv.data.checksums import file_checksum


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(checksums, "SMALL_BYTES", 0)
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", -1)
    return tmp_path / "cache" / "checksums"


@pytest.fixture
def read(monkeypatch):
    """How many files were read to their end."""
    done = []
    digest = hashlib.file_digest

    def counted(*arguments):
        done.append(1)
        return digest(*arguments)

    monkeypatch.setattr(checksums.hashlib, "file_digest", counted)
    return done


def checksum(path):
    with path.open("rb") as stream:
        return file_checksum(stream)


def sha(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("cache")
def test_a_file_is_read_once(tmp_path, read):
    path = tmp_path / "a"
    path.write_bytes(b"first")
    assert [checksum(path) for _ in range(3)] == [sha(b"first")] * 3
    assert len(read) == 1


@pytest.mark.usefixtures("cache", "read")
def test_a_changed_file_with_its_old_size_and_time(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"first")
    os.utime(path, ns=(10**18, 10**18))
    assert checksum(path) == sha(b"first")
    changed = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == changed:  # The clock's grain is some milliseconds.
        path.write_bytes(b"other")
        os.utime(path, ns=(10**18, 10**18))
    assert checksum(path) == sha(b"other")


def test_a_file_that_changed_a_moment_ago_is_not_remembered(tmp_path, cache, read, monkeypatch):
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", 3600)
    path = tmp_path / "a"
    path.write_bytes(b"first")
    assert [checksum(path) for _ in range(2)] == [sha(b"first")] * 2
    assert len(read) == 2
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["", "[]", "{}", "null", '{"sha256": 1}', "sum", "other"])
def test_a_damaged_memory(tmp_path, cache, damage):
    path = tmp_path / "a"
    path.write_bytes(b"first")
    checksum(path)
    (kept,) = cache.iterdir()
    content = json.loads(kept.read_text())
    if damage == "sum":
        damage = json.dumps(content | {"sha256": "short"})
    elif damage == "other":
        damage = json.dumps(content | {"size": 6, "sha256": sha(b"wrong")})
    kept.write_text(damage)
    assert checksum(path) == sha(b"first")
    assert json.loads(kept.read_text()) == content


def test_a_cache_that_cannot_be_written(tmp_path, cache):
    path = tmp_path / "a"
    path.write_bytes(b"first")
    cache.parent.mkdir()
    cache.write_text("a file")
    assert checksum(path) == sha(b"first")
