"""Checkpoints are complete or absent, come back bit for bit, and are never trusted blindly."""

import hashlib
import io
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqconv.config.errors import DataError
from seqconv.runs import checkpoints
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore, read

DTYPES = ["float64", "float32", "float16", "int64", "int32", "uint32", "uint8", "bool"]


def checkpoint(number=0) -> Checkpoint:
    return Checkpoint({"model/kernel": np.full((2, 3), number, "float32")}, {"epoch": number})


def same(first: Checkpoint, second: Checkpoint) -> bool:
    """Bit for bit; `==` would take -0.0 for 0.0 and refuse not-a-number."""
    return first.state == second.state and {
        name: (value.dtype, value.shape, value.tobytes()) for name, value in first.variables.items()
    } == {
        name: (value.dtype, value.shape, value.tobytes())
        for name, value in second.variables.items()
    }


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def forge(path, variables=None, state=b"{}"):
    """A checkpoint directory with checksums that are right for its contents."""
    if variables is None:
        buffer = io.BytesIO()
        np.savez(buffer, kernel=np.ones(3))
        variables = buffer.getvalue()
    path.mkdir(parents=True, exist_ok=True)
    contents = {checkpoints.VARIABLES: variables, checkpoints.STATE: state}
    for name, content in contents.items():
        (path / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (path / checkpoints.MANIFEST).write_text(json.dumps({"sha256": sums}))
    return path


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Round trip


def test_round_trip_is_bit_for_bit(store):
    rng = np.random.default_rng(0)
    variables = {
        f"optimizer/{dtype}": np.frombuffer(rng.bytes(48), "uint8").view(dtype)
        if dtype != "bool"
        else rng.random(5) < 0.5
        for dtype in DTYPES
    }
    variables |= {
        "scalar": np.array(3, "int64"),
        "empty": np.empty((0, 4), "float32"),
        "fortran": np.asfortranarray(rng.random((3, 4))),
        "strided": rng.random(10)[::3],
        "special": np.array([np.nan, -0.0, np.inf, 5e-324]),
        "deep/er/name with space": np.ones(1, "float32"),
    }
    state = {"epoch": 3, "best": 0.1 + 0.2, "history": [1, None, "°"], "done": False}
    saved = Checkpoint(variables, state)
    path = store.save("epoch-0003", saved, best=True)
    for found in (store.load("last"), store.load("best"), read(path)):
        assert list(found.variables) == list(variables)
        assert same(found, saved)
    assert names(path) == ["manifest.json", "state.json", "variables.npz"]


def test_pointers_follow_last_and_best(store):
    assert store.pointers() == {}
    store.save("epoch-1", checkpoint(1), best=True)
    assert store.pointers() == {"last": "epoch-1", "best": "epoch-1"}
    store.save("epoch-2", checkpoint(2), best=False)
    assert store.pointers() == {"last": "epoch-2", "best": "epoch-1"}
    store.save("epoch-3", checkpoint(3), best=True)
    assert store.pointers() == {"last": "epoch-3", "best": "epoch-3"}
    assert same(store.load("last"), checkpoint(3))


def test_a_new_store_finds_them_again(store):
    store.save("epoch-1", checkpoint(1), best=True)
    store.save("epoch-2", checkpoint(2), best=False)
    again = CheckpointStore(store.folder)
    assert same(again.load("best"), checkpoint(1))
    assert same(again.load("last"), checkpoint(2))


def test_a_name_may_be_saved_again(store):
    store.save("epoch-1", checkpoint(1), best=True)
    store.save("epoch-1", checkpoint(5), best=False)
    assert same(store.load("last"), checkpoint(5))


@pytest.mark.parametrize("role", ["last", "best"])
def test_there_is_none_at_first(store, role):
    with pytest.raises(DataError, match=f"checkpoints: there is no {role} checkpoint"):
        store.load(role)


# What is kept


@pytest.mark.parametrize("keep", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("best", [1, 3, 6])
def test_keeps_best_last_and_the_newest_others(tmp_path, keep, best):
    store = CheckpointStore(tmp_path / "checkpoints", keep=keep)
    for number in range(1, 8):
        store.save(f"epoch-{number:04}", checkpoint(number), best=number <= best)
        needed = {number, min(number, best)}
        others = [other for other in range(1, number) if other not in needed]
        kept = needed | set(others[max(len(others) - keep, 0) :])
        found = [name for name in names(store.folder) if name.startswith("epoch")]
        assert found == [f"epoch-{kept_one:04}" for kept_one in sorted(kept)]


# Interruptions


def test_stale_staging_folders_are_removed_by_the_one_that_writes(store):
    store.save("epoch-1", checkpoint(1), best=True)
    forge(store.folder / f"{checkpoints.STAGING}epoch-2")
    again = CheckpointStore(store.folder)
    assert again.load("last") is not None
    assert len(names(store.folder)) == 3, "opening and reading change nothing"
    again.prepare()
    assert names(store.folder) == ["epoch-1", "pointers.json"]
    assert same(again.load("last"), checkpoint(1))


@pytest.mark.parametrize("ends", ["killed", "interrupted"])
def test_one_that_is_written_again_is_there_until_the_new_one_is(store, monkeypatch, ends):
    store.prepare()
    store.save("epoch-1", checkpoint(1), best=True)
    replace = os.replace

    def stop(source, target):
        if Path(target).name == "epoch-1" and "before" not in Path(source).name:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        if ends == "killed":
            patch.setattr(CheckpointStore, "_put_back", lambda self, name: None)
        with pytest.raises(KeyboardInterrupt):
            store.save("epoch-1", checkpoint(2), best=True)
    again = CheckpointStore(store.folder)
    again.prepare()
    assert names(store.folder) == ["epoch-1", "pointers.json"]
    assert same(again.load("last"), checkpoint(1))
    again.save("epoch-1", checkpoint(3), best=True)
    assert names(store.folder) == ["epoch-1", "pointers.json"]
    assert same(again.load("last"), checkpoint(3))


def test_a_crash_before_the_rename_leaves_the_one_before(store, monkeypatch):
    store.save("epoch-1", checkpoint(1), best=True)

    def crash(source, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "replace", crash)
        with pytest.raises(OSError, match="No space left"):
            store.save("epoch-2", checkpoint(2), best=True)
    again = CheckpointStore(store.folder)
    again.prepare()
    assert names(store.folder) == ["epoch-1", "pointers.json"]
    assert same(again.load("best"), checkpoint(1))


def test_a_crash_before_the_pointers_leaves_the_one_before(store, monkeypatch):
    store.save("epoch-1", checkpoint(1), best=True)

    def crash(path, value):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_json", crash)
        with pytest.raises(OSError, match="No space left"):
            store.save("epoch-2", checkpoint(2), best=True)
    assert same(CheckpointStore(store.folder).load("last"), checkpoint(1))


def test_files_are_on_disk_before_the_directory_has_its_name(store, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        checkpoints.os, "fsync", lambda number: (events.append("sync"), fsync(number))[1]
    )
    monkeypatch.setattr(
        checkpoints.os,
        "replace",
        lambda source, target: (events.append(target.name), replace(source, target))[1],
    )
    store.save("epoch-1", checkpoint(1), best=True)
    before = events[: events.index("epoch-1")]
    after = events[events.index("epoch-1") + 1 :]
    assert len(before) >= 3  # each of the three files
    assert set(before) == {"sync"}
    # The new name itself, the pointers' text, and then they are replaced.
    assert after.index("pointers.json") >= 2


# Damage


@pytest.mark.parametrize("file", ["variables.npz", "state.json"])
def test_one_changed_bit_is_noticed(store, file):
    path = store.save("epoch-1", checkpoint(1), best=True) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{file}: damaged .its checksum differs"):
        store.load("last")


@pytest.mark.parametrize("file", ["variables.npz", "state.json", "manifest.json"])
def test_a_truncated_file_is_noticed(store, file):
    path = store.save("epoch-1", checkpoint(1), best=True) / file
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"damaged|not a complete checkpoint"):
        store.load("last")


@pytest.mark.parametrize("file", ["variables.npz", "state.json", "manifest.json"])
def test_a_missing_file_is_noticed(store, file):
    (store.save("epoch-1", checkpoint(1), best=True) / file).unlink()
    with pytest.raises(DataError, match="epoch-1: not a complete checkpoint"):
        store.load("last")


def test_a_missing_directory_is_noticed(store):
    shutil.rmtree(store.save("epoch-1", checkpoint(1), best=True))
    with pytest.raises(DataError, match="epoch-1: not a complete checkpoint"):
        store.load("last")


@pytest.mark.parametrize("manifest", ["{}", "[]", "null", '{"sha256": {}}', '{"sha256": []}'])
def test_a_manifest_of_another_form_is_refused(store, manifest):
    path = store.save("epoch-1", checkpoint(1), best=True)
    (path / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match="epoch-1: not a complete checkpoint"):
        store.load("last")


class Bomb:
    """Its pickle writes to a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def _zip_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["object array", "pickle", "pickle in the npz"])
def test_a_pickle_is_never_loaded(tmp_path, kind):
    bomb = Bomb(tmp_path / "exploded")
    if kind == "object array":
        variables = npz(kernel=np.array([bomb, None], dtype=object))
    elif kind == "pickle":
        variables = pickle.dumps(bomb)
    else:
        variables = _zip_of("kernel.npy", pickle.dumps(bomb))
    path = forge(tmp_path / "epoch-1", variables)
    with pytest.raises(DataError, match="epoch-1: not a complete checkpoint"):
        read(path)
    assert not (tmp_path / "exploded").exists()


def test_an_object_array_is_not_saved(store):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        store.save("epoch-1", Checkpoint({"a": np.array([None])}, {}), best=True)
    assert store.pointers() == {}


GOOD = npz(kernel=np.arange(100.0))
MALFORMED = {
    "truncated npz": GOOD[:-30],
    "half an npz": GOOD[: len(GOOD) // 2],
    "damaged npz": GOOD.replace(np.float64(50).tobytes(), np.float64(51).tobytes(), 1),
    "empty": b"",
    "text": b"no archive at all",
    "array without archive": _npy(np.ones(2)),
    "text in the npz": _zip_of("kernel.txt", b"no array"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_variables_are_refused_even_with_the_right_checksum(tmp_path, kind):
    path = forge(tmp_path / "epoch-1", MALFORMED[kind])
    with pytest.raises(DataError, match="epoch-1: not a complete checkpoint"):
        read(path)


def test_a_malformed_state_is_refused_even_with_the_right_checksum(tmp_path):
    with pytest.raises(DataError, match="epoch-1: not a complete checkpoint"):
        read(forge(tmp_path / "epoch-1", state=b'{"epoch": '))


# Pointers


@pytest.mark.parametrize("target", ["../elsewhere", "..", "epoch-1/../../elsewhere", "absolute"])
def test_a_pointer_does_not_lead_elsewhere(store, tmp_path, target):
    forge(tmp_path)  # what `..` means
    elsewhere = forge(tmp_path / "elsewhere")
    store.save("epoch-1", checkpoint(1), best=True)
    target = str(elsewhere) if target == "absolute" else target
    (store.folder / "pointers.json").write_text(json.dumps({"last": target, "best": "epoch-1"}))
    with pytest.raises(DataError, match="there is no last checkpoint"):
        store.load("last")
    assert same(store.load("best"), checkpoint(1))


@pytest.mark.parametrize("target", [None, 1, ["epoch-1"], "", "."])
def test_a_pointer_that_is_no_name_is_not_followed(store, target):
    store.save("epoch-1", checkpoint(1), best=True)
    (store.folder / "pointers.json").write_text(json.dumps({"last": target}))
    with pytest.raises(DataError, match=r"there is no last checkpoint|not a complete checkpoint"):
        store.load("last")


@pytest.mark.parametrize("text", ['{"last": ', "", "[]", "null", '"epoch-1"'])
def test_a_pointer_file_of_another_form_is_refused(store, text):
    store.save("epoch-1", checkpoint(1), best=True)
    (store.folder / "pointers.json").write_text(text)
    with pytest.raises(DataError, match=r"pointers\.json: cannot be read"):
        store.load("last")


def test_a_kill_while_an_old_checkpoint_is_removed_leaves_no_part_of_it(store, monkeypatch):
    store.prepare()
    store.save("a", checkpoint(1), best=True)
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda path, **settings: None)
        store.save("b", checkpoint(2), best=True)
    assert store.names() == ["b"]
    store.prepare()
    assert sorted(path.name for path in store.folder.iterdir()) == ["b", checkpoints.POINTERS]
