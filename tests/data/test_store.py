"""Prepared arrays come back as they were saved, or not at all."""

import hashlib
import io
import os
import pickle

import numpy as np
import pytest

from seqconv.data.store import Store

ARRAYS = {"flat": np.arange(5, dtype=np.int32), "share": np.array([0.25, 0.5]), "none": np.empty(0)}


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    return Store("things", 1, {"seed": 0})


def same(found, expected):
    assert found is not None
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_nothing_was_saved(store):
    assert store.load() is None
    assert not store.path.parent.exists()


def test_arrays_come_back_and_nothing_lies_beside_them(store, tmp_path):
    store.save(ARRAYS)
    same(store.load(), ARRAYS)
    same(Store("things", 1, {"seed": 0}).load(), ARRAYS)
    assert list((tmp_path / "cache").rglob("*.*")) == [store.path]


@pytest.mark.parametrize(
    "other", [("things", 1, {"seed": 1}), ("things", 2, {"seed": 0}), ("others", 1, {"seed": 0})]
)
def test_other_settings_another_form_or_kind_are_other_arrays(store, other):
    store.save(ARRAYS)
    assert Store(*other).load() is None


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content[:40], id="cut in the checksum"),
        pytest.param(lambda content: content[:64], id="checksum alone"),
        pytest.param(lambda content: content[:-1], id="cut"),
        pytest.param(lambda content: content + b"\0", id="longer"),
        pytest.param(lambda content: content[64:], id="no checksum"),
        pytest.param(lambda content: content[:200] + b"\xff" + content[201:], id="one byte"),
        pytest.param(lambda content: b"something else" * 20, id="something else"),
    ],
)
def test_what_is_damaged_is_not_there_and_is_made_again(store, damage):
    store.save(ARRAYS)
    store.path.write_bytes(damage(store.path.read_bytes()))
    assert store.load() is None
    store.save(ARRAYS)
    same(store.load(), ARRAYS)


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_with_the_right_checksum_is_not_run(store, tmp_path):
    marker = tmp_path / "marker"
    array = np.empty(1, object)
    array[0] = Hostile(marker)
    body = io.BytesIO()
    np.savez(body, flat=array)
    store.path.parent.mkdir(parents=True)
    checksum = hashlib.sha256(body.getvalue()).hexdigest().encode()
    store.path.write_bytes(checksum + body.getvalue())

    assert store.load() is None
    assert not marker.exists()
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        store.save({"flat": array})
    pickle.loads(pickle.dumps(Hostile(marker)))
    assert marker.exists(), "it would have been run"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "file"))
    store = Store("things", 1, {"seed": 0})
    store.save(ARRAYS)
    assert store.load() is None
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_nothing(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seqconv.data.files.os.replace", full)
    store.save(ARRAYS)
    assert list(store.path.parent.iterdir()) == []
