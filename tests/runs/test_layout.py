"""A run directory belongs to one run, and its files are whole."""

import json
import os

import numpy as np
import pytest

from seqconv.config.errors import OutputError
from seqconv.runs import environment, files
from seqconv.runs import layout as rundir
from seqconv.runs.lock import locked


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# Writing


def test_write_text_replaces_the_whole_file(tmp_path, monkeypatch):
    path = tmp_path / "page.txt"
    path.write_text("old text, and a long one")
    replace = os.replace
    seen = []

    def watch(source, target):
        seen.append((path.read_text(), source.read_text(encoding="utf-8"), source.parent))
        replace(source, target)

    monkeypatch.setattr(rundir.os, "replace", watch)
    files.write_text(path, "neu: °\n")
    assert path.read_text(encoding="utf-8") == "neu: °\n"
    # Complete under another name in the same folder, before it takes the place of the old one.
    assert seen == [("old text, and a long one", "neu: °\n", tmp_path)]
    assert names(tmp_path) == ["page.txt"]


def test_a_failure_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "page.txt"
    path.write_text("old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"


def test_write_json_has_no_number_that_json_has_not(tmp_path):
    path = tmp_path / "metrics.json"
    value = {
        "loss": float("nan"),
        "list": [1.5, float("inf"), {"low": -float("inf")}],
        "pair": (np.float64("nan"), 2),
        "text": "nan",
        "flag": True,
        "none": None,
    }
    files.write_json(path, value)
    text = path.read_text()
    assert text.endswith("}\n")

    def refuse(constant):
        raise ValueError(constant)

    assert json.loads(text, parse_constant=refuse) == {
        "loss": None,
        "list": [1.5, None, {"low": None}],
        "pair": [None, 2],
        "text": "nan",
        "flag": True,
        "none": None,
    }
    assert names(tmp_path) == ["metrics.json"]


def test_write_json_keeps_every_digit(tmp_path):
    files.write_json(tmp_path / "a.json", {"value": 0.1 + 0.2})
    assert json.loads((tmp_path / "a.json").read_text()) == {"value": 0.30000000000000004}


def test_json_line_is_one_line():
    line = files.json_line({"text": "two\nlines", "loss": float("nan")})
    assert "\n" not in line
    assert json.loads(line) == {"text": "two\nlines", "loss": None}


# Directories


def test_create_is_exclusive(tmp_path):
    path = tmp_path / "outputs" / "jena-gru" / "now"
    assert rundir.create(path) == path
    assert names(path) == []
    with pytest.raises(FileExistsError, match="now"):
        rundir.create(path)


@pytest.mark.parametrize("below", ["run", "deep/run"])
def test_create_with_a_file_in_the_way(tmp_path, below):
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(OutputError, match="run: the output folder cannot be made"):
        rundir.create(tmp_path / "outputs" / below)


def test_check_free_creates_nothing(tmp_path):
    rundir.check_free(tmp_path / "outputs" / "jena" / "now")
    rundir.check_free(tmp_path)
    assert names(tmp_path) == []


def test_check_free_looks_at_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rundir.check_free(rundir.Path("outputs/now"))
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(OutputError, match=r"^outputs/now: the output folder cannot be made"):
        rundir.check_free(rundir.Path("outputs/now"))


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_check_free_with_a_file_in_the_way(tmp_path, below):
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot be made, .*outputs is a file$"):
        rundir.check_free(tmp_path / "outputs" / below)


def test_check_free_without_permission(tmp_path, monkeypatch):
    # Asked instead of set: to root every folder is open.
    asked = []
    monkeypatch.setattr(rundir.os, "access", lambda *question: asked.append(question))
    with pytest.raises(OutputError, match=f"cannot be written .no permission for {tmp_path}.$"):
        rundir.check_free(tmp_path / "outputs" / "now")
    assert asked == [(tmp_path, os.W_OK | os.X_OK)]


def test_claim_takes_an_empty_directory_until_a_run_has_begun_in_it(tmp_path):
    assert rundir.claim(tmp_path) == tmp_path
    # Not even the file of the lock: without locks of the system an empty one is taken for held.
    assert names(tmp_path) == []
    (tmp_path / rundir.LOCK).touch()
    # As after a death at this moment.
    assert rundir.claim(tmp_path) == tmp_path
    (tmp_path / rundir.CONFIG).write_text("seed: 0\n")
    with pytest.raises(
        OutputError, match="holds files already; a run needs a directory of its own"
    ):
        rundir.claim(tmp_path)


def test_claim_leaves_what_is_there(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="holds files already"):
        rundir.claim(tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def left_by_a_run_that_never_began(path):
    (path / ".hydra").mkdir(parents=True)
    for name in (rundir.LOCK, rundir.CONFIG, rundir.LOG, ".config.yaml.123"):
        (path / name).touch()


def test_what_a_run_left_that_never_began_is_taken_up(tmp_path):
    left_by_a_run_that_never_began(tmp_path / "run")
    rundir.check_free(tmp_path / "run")
    assert rundir.claim(tmp_path / "run") == tmp_path / "run"


@pytest.mark.parametrize(
    "name", ["notes.txt", rundir.METRICS, rundir.CHECKPOINTS, ".metrics.json.1"]
)
def test_a_run_that_began_is_not_taken_up(tmp_path, name):
    left_by_a_run_that_never_began(tmp_path / "run")
    (tmp_path / "run" / name).touch()
    for look in (rundir.check_free, rundir.claim):
        with pytest.raises(OutputError, match="holds files already"):
            look(tmp_path / "run")


def test_a_config_that_was_written_is_a_run_that_began(tmp_path):
    left_by_a_run_that_never_began(tmp_path / "run")
    (tmp_path / "run" / rundir.CONFIG).write_text("seed: 1")
    with pytest.raises(OutputError, match="holds files already"):
        rundir.claim(tmp_path / "run")


def test_files_without_a_lock_are_nobody_elses_to_take(tmp_path):
    (tmp_path / rundir.LOG).write_text("years of work")
    with pytest.raises(OutputError, match="holds files already"):
        rundir.claim(tmp_path)


def test_of_two_that_claim_at_the_same_moment_the_lock_lets_one_through(tmp_path):
    rundir.claim(tmp_path)
    rundir.claim(tmp_path)
    with locked(tmp_path):
        with pytest.raises(OutputError, match="another process"), locked(tmp_path):
            pass
        (tmp_path / rundir.CONFIG).write_text("seed: 0\n")
    # And one that comes to the lock after the other's end looks again.
    with locked(tmp_path), pytest.raises(OutputError, match="holds files already"):
        rundir.check_free(tmp_path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_claim_of_no_directory(tmp_path, make):
    path = tmp_path / "outputs"
    make(path)
    with pytest.raises(OutputError, match="outputs: cannot be used"):
        rundir.claim(path)


def test_environment_holds_no_environment_variables(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "do-not-write-this-down")
    monkeypatch.setattr(environment, "_git_commit", lambda: "0" * 40)
    monkeypatch.setattr(environment.sys, "argv", ["/usr/bin/seqconv-train", "dataset=jena"])
    found = environment.environment(["CPU:0"])
    assert "do-not-write-this-down" not in json.dumps(found)
    assert found["command"] == ["seqconv-train", "dataset=jena"]
    assert found["devices"] == ["CPU:0"]
    assert found["git_commit"] == "0" * 40
    assert found["packages"]["numpy"] == np.__version__
    assert found["cores"] >= 1
