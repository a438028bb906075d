"""Where a run goes on: the newest state that a training can have been in, whatever stands in its directory."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import ConfigError, DataError, OutputError
from seqconv.config.schema import to_yaml
from seqconv.runs import layout as rundir
from seqconv.runs import resume as resuming
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
from seqconv.runs.progress import EpochRecord, Progress
from seqconv.runs.result import Result
from seqconv.runs.resume import find_resume_point


def finished_epoch(number: int) -> EpochRecord:
    """The record of an epoch."""
    return EpochRecord(
        epoch=number,
        training={"loss": 0.5},
        validation={"loss": 0.25, "mae": 2.0, "r2": None},
        learning_rate=0.1,
        seconds=1.0,
        samples_per_second=2.0,
    )


def progress(epoch: int, step: int, **changes: Any) -> Progress:
    """A place that a training comes through: its first epoch was the best, the others were no better."""
    facts: dict[str, Any] = {
        "epoch": epoch,
        "step": step,
        "history": [finished_epoch(number) for number in range(1, epoch)],
    }
    if step:
        facts |= {"sums": {"loss": 8.0}, "samples": 32 * step, "step_seconds": 0.5}
    if epoch > 1:
        facts |= {"best": 2.0, "best_epoch": 1, "stalled": epoch - 2, "plateau": epoch - 2}
    return Progress(**(facts | changes))


def save(run_dir: Path, place: Progress, name: str | None = None, *, best: bool = False) -> Path:
    """A checkpoint of a place, under its own name or another."""
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS, keep=9)
    state = {"progress": place.to_json(), "fingerprint": "sha256:0"}
    return store.save(name or place.name, Checkpoint({"a": np.ones(2)}, state), best=best)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Checkpoints in the first epoch, at its end (the best), and in the second."""
    path = tmp_path / "run"
    path.mkdir()
    save(path, progress(1, 2))
    save(path, progress(2, 0), best=True)
    save(path, progress(2, 1))
    return path


def test_the_newest_is_taken(run_dir):
    place = find_resume_point(run_dir)
    assert (place.progress, place.notes) == (progress(2, 1), ())
    assert str(place) == "epoch 2, step 2 (checkpoint epoch-00002-step-0000001)"


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE, None])
def test_what_cannot_be_read_now_is_no_damage(run_dir, monkeypatch, number):
    """A run that went back behind it would remove it."""

    def refuse(*arguments, **keywords):
        raise MemoryError if number is None else OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        function = "read_arrays" if number is None else "read_plain"
        patch.setattr(f"seqconv.runs.checkpoints.{function}", refuse)
        with pytest.raises(
            OutputError, match=r"epoch-00002-step-0000001: cannot be read .*Nothing"
        ):
            find_resume_point(run_dir)
    assert find_resume_point(run_dir).progress == progress(2, 1)


def test_without_checkpoints_it_is_the_start(tmp_path):
    place = find_resume_point(tmp_path)
    assert place.checkpoint is None
    assert place.progress == Progress()
    assert place.notes == ("no checkpoint can be used: the run starts anew",)


OTHER_FORMS = {
    "no such epoch": {"epoch": 0},
    "a negative step": {"step": -1},
    "a step that is none": {"step": 1.5},
    "an epoch more than the history has": {"epoch": 3},
    "a best epoch to come": {"best_epoch": 2},
    "sums that are no numbers": {"sums": {"loss": "8"}},
    "sums that are infinite": {"sums": {"loss": float("inf")}},
    "a history of something else": {"history": [{"text": "x"}]},
    "a history of an older form": {"history": [{"epoch": 1, "loss": 0.5, "val_loss": 0.25}]},
    "a key that no state has": {"shell": "sh"},
}


@pytest.mark.parametrize("kind", OTHER_FORMS)
def test_a_state_of_another_form_falls_back_to_the_one_before(run_dir, kind):
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS, keep=9)
    name = "epoch-00009-step-0000000"
    state = {"progress": progress(2, 1).to_json() | OTHER_FORMS[kind], "fingerprint": "sha256:0"}
    store.save(name, Checkpoint({"a": np.ones(2)}, state), best=False)
    point = find_resume_point(run_dir)
    (note,) = point.notes
    assert f"checkpoint {name} cannot be used, falling back to the one before" in note
    assert "no state of a training" in note
    assert point.progress == progress(2, 1)


@pytest.mark.parametrize("state", [None, [], {}, "progress", {"progress": None}, 3])
def test_no_state_at_all(state):
    if state == {}:  # Every key has the value of the start.
        assert Progress.from_json(state) == Progress()
        return
    with pytest.raises(DataError, match="no state of a training"):
        Progress.from_json(state)


def test_every_place_comes_back_as_it_was():
    for place in (progress(1, 0), progress(1, 3), progress(2, 0), progress(4, 7)):
        assert Progress.from_json(json.loads(json.dumps(place.to_json()))) == place


def test_a_checkpoint_under_the_name_of_another_place(run_dir):
    save(run_dir, progress(2, 0), "epoch-00009-step-0000000")
    place = find_resume_point(run_dir)
    assert place.progress == progress(2, 1)
    assert "holds another state than its name says (epoch-00002-step-0000000)" in place.notes[0]


def test_a_state_whose_best_epoch_is_lost_falls_back_behind_it(run_dir):
    for file in (run_dir / rundir.CHECKPOINTS / progress(2, 0).name).iterdir():
        file.unlink()
    place = find_resume_point(run_dir)
    assert place.progress == progress(1, 2)
    assert len(place.notes) == 2


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[" * 50 + "]" * 50, "null", '{"last": [1]}'])
def test_pointers_that_are_none_leave_every_checkpoint_to_try(run_dir, text):
    (run_dir / rundir.CHECKPOINTS / "pointers.json").write_text(text)
    assert find_resume_point(run_dir).progress == progress(2, 1)


def test_what_a_process_that_died_has_left_is_removed(run_dir):
    folder = run_dir / rundir.CHECKPOINTS
    (folder / ".writing-epoch-00003-step-0000000").mkdir()
    (folder / ".pointers.json.123").write_text("{")
    (run_dir / ".metrics.json.99").write_text("{")
    find_resume_point(run_dir)
    assert list(run_dir.rglob(".*")) == []


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "notes.txt"])
def test_what_is_no_checkpoint_is_not_read(run_dir, name):
    # Keras' archives can hold code; there is no reader of them here.
    (run_dir / rundir.CHECKPOINTS / name).write_bytes(b"PK\x03\x04" + bytes(100))
    assert find_resume_point(run_dir).progress == progress(2, 1)


def test_something_else_in_the_place_of_a_checkpoint(run_dir):
    (run_dir / rundir.CHECKPOINTS / "epoch-00002-step-0000003").write_text("x")
    with pytest.raises(OutputError, match="epoch-00002-step-0000003: is no checkpoint"):
        find_resume_point(run_dir)


def test_a_folder_in_the_place_of_the_pointers(run_dir):
    (run_dir / rundir.CHECKPOINTS / "pointers.json").unlink()
    (run_dir / rundir.CHECKPOINTS / "pointers.json").mkdir()
    with pytest.raises(OutputError, match=r"pointers\.json: is no checkpoint"):
        find_resume_point(run_dir)


@pytest.mark.parametrize("name", [rundir.METRICS, rundir.CONFIG, rundir.EPOCHS, rundir.LOCK])
def test_a_folder_in_the_place_of_a_file(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match=f"{name}: must be a file"):
        rundir.check_own_files(tmp_path)


def test_a_file_in_the_place_of_the_checkpoints(tmp_path):
    (tmp_path / rundir.CHECKPOINTS).write_text("x")
    with pytest.raises(OutputError, match="checkpoints: must be a folder"):
        rundir.check_own_files(tmp_path)


@pytest.fixture
def config(tmp_path, in_empty_folder):
    found = read_command_line(["model=conv1d", "trainer=smoke"]).only_job
    (tmp_path / rundir.CONFIG).write_text(to_yaml(found))
    return found


@pytest.mark.parametrize(
    "metrics",
    [
        "[]",
        "{}",
        '{"status": "completed"}',
        '{"status": ["completed"], "objective": {}, "validation": {}, "test": {}}',
        '{"status": "completed", "validation": [1], "test": {}}',
        '{"status": "completed", "objective": "x", "validation": {}, "test": {}}',
        '{"status": "completed", "objective": {}, "validation": {}, "test": '
        + "[" * 50
        + "]" * 50
        + "}",
    ],
)
def test_results_of_another_form_are_made_again(tmp_path, config, metrics):
    (tmp_path / rundir.METRICS).write_text(metrics)
    place = resuming.ResumePoint(progress(config.trainer.epochs + 1, 0))
    assert resuming.finished(tmp_path, config, place) is None


def test_a_result_is_reported_again(tmp_path, config):
    result = Result(status="completed", validation={"mae": 2.0}, test={"mae": 1.0})
    (tmp_path / rundir.METRICS).write_text(json.dumps(result.to_json()))
    place = resuming.ResumePoint(progress(config.trainer.epochs + 1, 0))
    assert resuming.finished(tmp_path, config, place) == result
    assert resuming.finished(tmp_path, config, resuming.ResumePoint(progress(2, 1))) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "link to a device"])
def test_a_config_that_is_no_plain_file_is_not_read(tmp_path, config, kind):
    path = tmp_path / rundir.CONFIG
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    # A pipe would be waited for, and a device never ends.
    with pytest.raises(ConfigError, match=r"it is a link|it is no plain file|Is a directory"):
        resuming.changed_config(tmp_path, {})
    assert not resuming.is_same(tmp_path, config)


@pytest.mark.parametrize("text", ["1e999", "3", "null", "x", "[1]", "--- {}\n--- {}", "!!str x"])
def test_a_config_that_is_no_mapping(tmp_path, in_empty_folder, text):
    (tmp_path / rundir.CONFIG).write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: (cannot be read|.*is missing)"):
        resuming.changed_config(tmp_path, {})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: " + "[" * 100_000, id="lists"),
        pytest.param("a: " + "{b: " * 100_000, id="mappings"),
        pytest.param("- " * 100_000, id="blocks"),
        pytest.param("a: [" + "1, " * 100_000 + "]", id="values"),
    ],
)
def test_a_config_that_would_take_hours_to_read(tmp_path, text):
    (tmp_path / rundir.CONFIG).write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: |config\.yaml"):
        resuming.changed_config(tmp_path, {})


def test_a_name_that_is_no_text(tmp_path, config):
    text = (tmp_path / rundir.CONFIG).read_text()
    for name in ("[gru]", "{a: gru}", "3", "null"):
        (tmp_path / rundir.CONFIG).write_text(text.replace("name: conv1d", f"name: {name}"))
        with pytest.raises(ConfigError, match=r"model\.name: is missing"):
            resuming.changed_config(tmp_path, {})


def test_a_run_of_another_file_without_a_checkpoint_is_not_resumed_by_itself(tmp_path):
    """Nothing tells whether the other file holds the same data."""
    here, there = (
        read_command_line(
            ["dataset=jena", "model=gru", f"dataset.path={tmp_path / name}.csv"]
        ).only_job
        for name in ("here", "there")
    )
    run_dir = tmp_path / "runs/first"
    run_dir.mkdir(parents=True)
    (run_dir / rundir.CONFIG).write_text(to_yaml(here))
    assert list(resuming.unfinished(tmp_path / "runs", here)) == [run_dir]
    assert list(resuming.unfinished(tmp_path / "runs", there)) == []
    save(run_dir, progress(1, 2))
    assert list(resuming.unfinished(tmp_path / "runs", there)) == [run_dir]
