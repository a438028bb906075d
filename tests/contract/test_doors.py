"""Nobody gets in: each door of SECURITY.md tried with a hostile file, on a whole command line.

TensorFlow cannot be imported in these tests: all of it is refused before.
"""

from __future__ import annotations

import ast
import contextlib
import gzip
import io
import json
import logging
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqconv
from seqconv import console
from seqconv.config.errors import DataError
from seqconv.runs import checkpoints
from seqconv.runs import layout as rundir
from seqconv.runs import resume as resuming
from seqconv.training import load

WRONG = 2
NO_DATA = 3
SERIES = ["dataset=jena", "lookback=144", "step=2", "delay=40", "model=gru"]
SHARES = ["split.train_end=0.5", "split.validation_end=0.75"]
CLEAR_SCREEN = "\x1b[2J\x1b]0;owned\x07"

Refused = Callable[..., str]


@pytest.fixture
def refused(command, in_empty_folder: Path, without_tensorflow, tmp_path: Path) -> Refused:
    """`refused(words, exit_code, *parts)`: it must say so in clean text, and leave every folder as it was."""

    def check(words: list[str], exit_code: int, *parts: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        answer = command(words)
        assert (answer.exit_code, answer.stdout) == (exit_code, ""), answer.stderr
        assert "Traceback" not in answer.stderr
        assert all(character.isprintable() or character == "\n" for character in answer.stderr)
        for part in parts:
            assert part in answer.stderr
        assert sorted(tmp_path.rglob("*")) == before
        return answer.stderr

    return check


class Runs:
    """Pickled, it says: make this folder."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


# Code


@pytest.mark.parametrize("where", ["x_train", "y_test"])
def test_a_pickle_in_an_npz(refused: Refused, write_imdb, aside: Path, where: str):
    marker = aside / "marker"

    def hostile(arrays: dict[str, Any]) -> dict[str, Any]:
        array = np.empty(len(arrays[where]), object)
        array[:] = [Runs(marker)] * len(array)
        return {**arrays, where: array}

    path = write_imdb(aside / "reviews.npz", change=hostile)
    refused(["dataset=imdb", f"dataset.path={path}"], NO_DATA, "it asks for posix.mkdir")
    np.load(path, allow_pickle=True)[where]
    assert marker.exists(), "it would have been run"


@pytest.mark.parametrize(
    "word",
    [
        "+_target_=os.system",
        "++_target_=os.system",
        "_target_=os.system",
        "+model._target_=os.system",
        "++trainer._target_=os.system",
        "+dataset._target_=os.system",
        "model={_target_:os.system,name:gru}",
        "+trainer.callbacks=[{_target_:os.system}]",
        "require={_target_:os.system}",
        "model.name=os.system",
        "dataset.name=os.system",
        "+model._args_=[x]",
    ],
)
def test_a_target_on_the_command_line(refused: Refused, word: str):
    refused(["model=gru", word], WRONG, " with the configuration\n")


@pytest.mark.parametrize(
    "line",
    [
        "_target_: os.system",
        "model: {name: gru, _target_: os.system}",
        "model: {name: os.system}",
        "seed: !!python/object/apply:os.system [touch marker]",
        "seed: !!python/name:os.system ''",
        "seed: ${oc.env:PATH}",
        "dataset: {name: climate_demo, targets: '${oc.env:PATH}'}",
    ],
)
def test_a_run_directory_whose_config_asks_for_code_or_secrets(
    refused: Refused, completed_run: Path, line: str
):
    path = completed_run / rundir.CONFIG
    key = line.partition(":")[0]
    section, kept = False, []
    for old in path.read_text().splitlines():
        # The whole of a section goes, not its first line alone.
        section = old.startswith(key) if old[0] != " " else section
        kept += [] if section else [old]
    path.write_text("\n".join([*kept, line, ""]))
    told = refused([f"resume={completed_run}"], WRONG)
    assert os.environ["PATH"] not in told


def test_a_state_that_is_a_pickle(completed_run: Path, aside: Path):
    last = completed_run / rundir.CHECKPOINTS / "epoch-00003-step-0000000"
    (last / checkpoints.STATE).write_bytes(pickle.dumps(Runs(aside / "marker")))
    place = resuming.find_resume_point(completed_run)
    assert place.progress.name == "epoch-00002-step-0000000"
    assert not (aside / "marker").exists()


@pytest.mark.parametrize("name", ["variables.keras", "model.h5", "saved_model.pb"])
def test_an_archive_of_keras_is_not_read(completed_run: Path, name: str):
    last = completed_run / rundir.CHECKPOINTS / "epoch-00003-step-0000000"
    (last / checkpoints.VARIABLES).rename(last / name)
    assert resuming.find_resume_point(completed_run).progress.name == "epoch-00002-step-0000000"


def test_no_reader_of_what_can_hold_code_is_called_anywhere():
    # Keras' archives and HDF5 files are never opened; pickles only by the reader that gives stand-ins.
    forbidden = {
        "load_model",
        "load_weights",
        "deserialize_keras_object",
        "instantiate",
        "eval",
        "exec",
    }
    found = []
    for path in Path(seqconv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                if {"h5py", "joblib", "dill", "shelve", "marshal"} & {
                    n.split(".")[0] for n in names
                }:
                    found.append(f"{path.name}: {names}")
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                if name in forbidden or arguments.get("allow_pickle") == "True":
                    found.append(f"{path.name}: {ast.unparse(node)}")
    assert found == []


# Places


@pytest.mark.parametrize(
    "name",
    [rundir.CHECKPOINTS, rundir.CONFIG, rundir.METRICS, f"{rundir.CHECKPOINTS}/pointers.json"],
)
@pytest.mark.parametrize("words", [[], ["trainer.epochs=5"]])
def test_a_run_directory_with_a_link_out(
    refused: Refused, completed_run: Path, aside: Path, name: str, words: list[str]
):
    (completed_run / name).rename(aside / "target")
    (completed_run / name).symlink_to(aside / "target")
    told = refused([f"resume={completed_run}", *words], WRONG, f"{completed_run / name}: ")
    assert "link" in told


def test_a_link_to_a_secret_is_not_quoted(refused: Refused, completed_run: Path, aside: Path):
    (aside / "secret").write_text("password: [hush-hush\n")
    (completed_run / rundir.CONFIG).unlink()
    (completed_run / rundir.CONFIG).symlink_to(aside / "secret")
    assert "hush" not in refused([f"resume={completed_run}"], WRONG, "is a link or no plain file")


def test_auto_walks_past_a_directory_that_would_be_waited_for(
    command, completed_run: Path, in_empty_folder: Path, without_tensorflow, monkeypatch
):
    monkeypatch.setattr(load, "load_task", lambda config: _stop())
    outputs = in_empty_folder / "outputs" / "climate_demo-conv1d"
    outputs.mkdir(parents=True)
    os.mkfifo(completed_run / "pipe")
    (completed_run / "pipe").rename(completed_run / rundir.CONFIG)
    completed_run.rename(outputs / "2030-01-01")
    answer = command(["model=conv1d", "trainer=smoke", "resume=auto"])
    assert answer.exit_code == NO_DATA
    assert "no unfinished run of this configuration" in answer.stderr


def _stop() -> Any:
    raise DataError("this is where data would be read")


@pytest.mark.parametrize(
    "name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "C:\\evil.csv"]
)
def test_a_member_of_an_archive_is_never_written_anywhere(
    refused: Refused, write_jena, aside: Path, name: str
):
    content = write_jena(aside / "record.csv", 300).read_bytes()
    with zipfile.ZipFile(aside / "record.zip", "w") as archive:
        archive.writestr(name, content)
    # It is read in memory whatever it is called; this record is too short for its windows.
    refused([*SERIES, *SHARES, f"dataset.path={aside / 'record.zip'}"], WRONG, "lookback: a window")


def test_a_link_in_an_archive_is_not_followed(refused: Refused, write_jena, aside: Path):
    target = write_jena(aside / "record.csv", 300)
    link = zipfile.ZipInfo("record.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(aside / "record.zip", "w") as archive:
        archive.writestr(link, str(target))
    refused([*SERIES, f"dataset.path={aside / 'record.zip'}"], NO_DATA, "no column `Date Time`")


# Sizes


def _bomb(path: Path, header: bytes, line: bytes) -> Path:
    """A hundred megabytes in a few hundred kilobytes."""
    content = header + b"\n" + line * (100_000_000 // len(line))
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content, mtime=0))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.csv", content)
    return path


@pytest.mark.parametrize("name", ["bomb.csv.gz", "bomb.csv.zip"])
@pytest.mark.parametrize("dataset", ["jena", "text"])
def test_an_archive_that_unpacks_to_too_much(
    refused: Refused, aside: Path, name: str, dataset: str
):
    path = _bomb(aside / name, b"text,label", b"a,b\n")
    words = [f"dataset={dataset}", f"dataset.path={path}"]
    refused(words, NO_DATA, "unpacks to more than 67,108,864 bytes")


@pytest.mark.parametrize("dataset", ["jena", "imdb"])
def test_an_hdf5_file_is_no_data(refused: Refused, aside: Path, dataset: str):
    # A dataset space of 2**60 numbers; there is no reader that would look at it.
    path = aside / "record.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40) + (2**60).to_bytes(8, "little") + bytes(400))
    refused([f"dataset={dataset}", f"dataset.path={path}"], NO_DATA, str(path))


def test_an_oversized_shape_in_a_checkpoint(completed_run: Path, monkeypatch):
    last = completed_run / rundir.CHECKPOINTS / "epoch-00003-step-0000000"
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (2**38, 2)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(last / checkpoints.VARIABLES, "w") as archive:
        archive.writestr("model/0.npy", header.getvalue() + bytes(64))
    # Right checksums: whoever wrote the one could write the other.
    monkeypatch.setattr(checkpoints.hashlib, "sha256", lambda content: _AnySum())
    monkeypatch.setattr(np, "empty", None)
    place = resuming.find_resume_point(completed_run)
    assert "2,199,023,255,552 bytes; received 64" in place.notes[0]


class _AnySum:
    def hexdigest(self) -> Any:
        return self

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("dataset", ["jena", "imdb", "text"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket", "link to a device"])
def test_a_path_that_would_be_waited_for_or_never_end(
    refused: Refused, aside: Path, dataset: str, kind: str
):
    path = aside / "record.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        import socket

        with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
            listening.bind(os.path.relpath(path))
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/dev/tty")
    refused([f"dataset={dataset}", f"dataset.path={path}"], NO_DATA, str(path))


@pytest.mark.parametrize("dataset", ["jena", "imdb", "text"])
@pytest.mark.parametrize(
    "path",
    [
        "~nobody-of-that-name/record.csv",
        "x" * 300 + ".csv",
        "x/" * 3000 + ".csv",
        "/dev/null/x.csv",
    ],
)
def test_a_path_that_no_system_takes(refused: Refused, dataset: str, path: str):
    refused([f"dataset={dataset}", f"dataset.path={path}"], NO_DATA)


# Terminals


@pytest.mark.parametrize("place", ["header", "cell", "stamp", "name of the file"])
def test_control_characters_of_a_record_do_not_reach_the_terminal(
    refused: Refused, write_jena, aside: Path, place: str
):
    def change(lines: list[str]) -> list[str]:
        if place == "header":
            lines[0] = lines[0].replace("T (degC)", CLEAR_SCREEN)
        elif place == "cell":
            lines[5] = lines[5].rpartition(",")[0] + "," + CLEAR_SCREEN
        elif place == "stamp":
            lines[5] = CLEAR_SCREEN + lines[5][19:]
        return lines

    name = f"{CLEAR_SCREEN}.csv" if place == "name of the file" else "record.csv"
    path = write_jena(aside / name, 300, change)
    exit_code = WRONG if place == "name of the file" else NO_DATA
    words = [*SERIES, *SHARES, f"dataset.path={path}"]
    told = refused(words, exit_code)
    assert "\\x1b[2J" in told or place == "name of the file"
    if place == "name of the file":
        path.write_text("nothing of the kind\n1\n")
        refused(words, NO_DATA, "\\x1b[2J")


def test_control_characters_do_not_reach_the_log(caplog: pytest.LogCaptureFixture, capsys):
    with caplog.at_level(logging.INFO, "seqconv"):
        console.info(f"class {CLEAR_SCREEN}\nsecond line \x9b1m \u202e")
        console.table(CLEAR_SCREEN, [CLEAR_SCREEN], [[CLEAR_SCREEN]])
    for text in (caplog.text, capsys.readouterr().err):
        assert "\\x1b[2J\\x1b]0;owned\\x07" in text
        assert all(character.isprintable() or character == "\n" for character in text)


def test_a_report_on_a_file_holds_no_control_characters(write_jena, aside: Path):
    from seqconv.data.inspect import inspect_series

    path = write_jena(
        aside / "record.csv",
        50,
        lambda lines: [lines[0] + "," + CLEAR_SCREEN, *(f"{x},-9999.0" for x in lines[1:])],
    )
    found = inspect_series(path)
    assert "\\x1b[2J\\x1b]0;owned\\x07" in found["columns"]
    assert "\\u001b" not in json.dumps(found)


# Secrets


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "experiment/mine.yaml",
            "# @package _global_\nrequire: ['test.mae<1', '${oc.env:SEQCONV_TOKEN}']\n",
        ),
        (
            "experiment/mine.yaml",
            "# @package _global_\ndataset: {targets: 'x${oc.env:SEQCONV_TOKEN}'}\n",
        ),
        ("experiment/mine.yaml", "# @package _global_\nresume: ${oc.env:SEQCONV_TOKEN}\n"),
        ("experiment/mine.yaml", "# @package _global_\nmodel: {name: '${oc.env:SEQCONV_TOKEN}'}\n"),
        (
            "model/mine.yaml",
            "# @package _global_\nmodel: {name: gru, units: '${oc.env:SEQCONV_TOKEN}'}\n",
        ),
    ],
)
def test_a_page_that_asks_for_a_secret(
    refused: Refused, monkeypatch, aside: Path, name: str, text: str
):
    monkeypatch.setenv("SEQCONV_TOKEN", "hush-hush")
    (aside / name).parent.mkdir()
    (aside / name).write_text(text)
    group = name.partition("/")[0]
    told = refused(["--config-dir", str(aside), f"{group}=mine"], WRONG, "SEQCONV_TOKEN")
    assert "hush-hush" not in told


@pytest.mark.parametrize(
    "key", ["resume", "+resume", "dataset.path", "model.name", "seed", "require"]
)
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_an_override_that_asks_for_a_secret(
    refused: Refused, monkeypatch, key: str, flags: list[str]
):
    monkeypatch.setenv("SEQCONV_TOKEN", "hush-hush")
    words = [*flags, "dataset=jena", f"{key}='${{oc.env:SEQCONV_TOKEN}}'"]
    assert "hush-hush" not in refused(words, WRONG)
