"""What goes wrong around a run, made to happen: nothing half-written is left, and what was reached is kept."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from variants import variants

from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import CheckpointStore, read
from seqconv.tasks.forecasting.task import Forecasting
from seqconv.training import outcome
from seqconv.training import run as training
from seqconv.training.loop import Training
from seqconv.training.predictor import Predictor

pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = [
    "dataset=jena",
    "dataset.path=../aside/record.csv",
    "model=conv1d",
    "trainer=smoke",
    "lookback=144",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "batch_size=32",
]


@pytest.fixture
def words(write_jena, aside, in_empty_folder):
    write_jena(aside / "record.csv", 3000)
    return SMALL


def only_run():
    (run_dir,) = Path("outputs").glob("*/*")
    return run_dir


def metrics_of(run_dir):
    return json.loads((run_dir / rundir.METRICS).read_text())


def last_of(run_dir):
    store = CheckpointStore(run_dir / rundir.CHECKPOINTS)
    return store.folder / store.pointers()["last"]


def leftovers(run_dir):
    return [p for p in run_dir.rglob(".*") if p.name not in (".hydra", ".lock")]


def at_save(monkeypatch, number, action):
    """Do something in the middle of writing a checkpoint: its weights are there, its state is not flushed."""
    writes: list[int] = []
    write, sync = CheckpointStore._write, os.fsync

    def counted(self, *arguments):
        writes.append(0)
        result = write(self, *arguments)
        writes[-1] = -10
        return result

    def fsync(descriptor):
        if writes:
            writes[-1] += 1
            if len(writes) == number and writes[-1] == 2:
                action()
        sync(descriptor)

    monkeypatch.setattr(CheckpointStore, "_write", counted)
    monkeypatch.setattr(os, "fsync", fsync)


# Signals at awkward moments


def test_a_signal_while_the_model_is_built(command, words, monkeypatch):
    build = training.build_predictor

    def build_and_signal(*arguments):
        # as libraries do when they look for what may be missing
        with contextlib.suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)
        return build(*arguments)

    monkeypatch.setattr(training, "build_predictor", build_and_signal)
    answer = command(words)
    assert answer.exit_code == 143
    run_dir = only_run()
    assert metrics_of(run_dir)["status"] == "interrupted"
    # What was swallowed is remembered, at the latest after the first step.
    assert metrics_of(run_dir)["error"]["message"] == "stopped by signal 15"


def test_a_signal_that_becomes_another_error_on_its_way(command, words, monkeypatch):
    def build_and_signal(*arguments):
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        except Exception as error:
            raise ValueError("broken off") from error

    monkeypatch.setattr(training, "build_predictor", build_and_signal)
    answer = command(words)
    assert answer.exit_code == 129
    assert "Traceback" not in answer.stderr
    assert metrics_of(only_run())["status"] == "interrupted"


def test_a_signal_while_the_first_step_is_compiled(command, words, monkeypatch):
    batch = Predictor.batch

    def batch_and_signal(self, *arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return batch(self, *arguments)

    monkeypatch.setattr(Predictor, "batch", batch_and_signal)
    answer = command(words)
    assert answer.exit_code == 130
    metrics = metrics_of(only_run())
    assert (metrics["status"], metrics["epochs"]["completed"]) == ("interrupted", 0)
    assert "checkpoint" not in metrics
    assert json.loads(answer.stdout)["status"] == "interrupted"


def test_a_signal_while_a_checkpoint_is_written_lets_it_be_finished(command, words, monkeypatch):
    at_save(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    answer = command(words)
    assert answer.exit_code == 143
    run_dir = only_run()
    assert metrics_of(run_dir)["epochs"]["completed"] == 1
    # It was that of the end of the epoch; one more step was done and saved.
    assert last_of(run_dir).name == "epoch-00002-step-0000001"
    read(last_of(run_dir))


def test_a_second_interrupt_stops_at_once_and_keeps_the_last_checkpoint(
    command, words, monkeypatch
):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        at_save(patch, 2, twice)
        answer = command([*words, "trainer.checkpoint_seconds=1e-9"])
    assert answer.exit_code == 130
    run_dir = only_run()
    assert metrics_of(run_dir)["status"] == "interrupted"
    assert last_of(run_dir).name == "epoch-00001-step-0000001"
    read(last_of(run_dir))
    assert leftovers(run_dir) == []
    assert command([f"resume={run_dir}"]).exit_code == 0


def test_a_signal_after_the_fit_is_honoured_and_the_rest_done_later(command, words, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "evaluate", lambda *a, **o: os.kill(os.getpid(), signal.SIGTERM))
        assert command(words).exit_code == 143
    run_dir = only_run()
    assert metrics_of(run_dir)["epochs"] == {"completed": 2, "best": 2}
    answer = command([f"resume={run_dir}"])
    assert answer.exit_code == 0, answer.stderr
    assert metrics_of(run_dir)["test"]["mae"] > 0


# Disks and files


@pytest.mark.parametrize("number", variants(2, 3))
def test_a_full_disk(command, words, monkeypatch, number):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        at_save(patch, number, full)
        answer = command([*words, "trainer.checkpoint_seconds=1e-9"])
    assert answer.exit_code == 1
    run_dir = only_run()
    assert "No space left on device" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert f"last good checkpoint: {last_of(run_dir)}" in answer.stderr
    assert last_of(run_dir).name == f"epoch-00001-step-000000{number - 1}"
    assert leftovers(run_dir) == []
    metrics = metrics_of(run_dir)
    assert (metrics["status"], metrics["checkpoint"]) == ("failed", str(last_of(run_dir)))
    assert command([f"resume={run_dir}"]).exit_code == 0


def test_a_full_disk_while_a_signal_has_it_saved_is_told(command, words, monkeypatch):
    """What was to be kept is not: exit code 1, not that of a signal."""

    def full():
        os.kill(os.getpid(), signal.SIGTERM)
        raise OSError(errno.ENOSPC, "No space left on device")

    at_save(monkeypatch, 2, full)
    answer = command([*words, "trainer.checkpoint_seconds=1e-9"])
    assert answer.exit_code == 1
    assert "No space left on device" in answer.stderr


@pytest.mark.parametrize("number", variants(errno.EIO, errno.EROFS, errno.EDQUOT))
def test_a_disk_that_breaks_is_told_without_a_traceback(command, words, monkeypatch, number):
    def broken():
        raise OSError(number, os.strerror(number))

    at_save(monkeypatch, 2, broken)
    answer = command(words)
    assert answer.exit_code == 1
    assert os.strerror(number) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_disk_too_full_for_the_results(command, words, monkeypatch):
    def full(run_dir, result):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "write_result", full)
        answer = command(words)
    assert answer.exit_code == 1
    assert "metrics.json: cannot be written (No space left on device)" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert command([f"resume={only_run()}"]).exit_code == 0


def test_not_a_number_names_the_last_good_checkpoint(command, words, monkeypatch):
    count = Training._count

    def spoil(self, *arguments):
        count(self, *arguments)
        if self.steps_done == 7:
            # The loss of this step is still a number; the weights that it left are none.
            weights = self.predictor.model.variables[0]
            weights.assign(weights * float("nan"))

    monkeypatch.setattr(Training, "_count", spoil)
    answer = command([*words, "trainer.checkpoint_seconds=1e-9"])
    assert answer.exit_code == 4
    assert "weights are no longer numbers before epoch 2, step 3" in answer.stderr
    last = last_of(only_run())
    assert last.name == "epoch-00002-step-0000001"
    assert f"last good checkpoint: {last}" in answer.stderr


def test_an_objective_that_is_no_number(command, words, monkeypatch):
    measure = Forecasting.measure

    def spoil(self, *arguments):
        return {**measure(self, *arguments), "rmse": float("inf")}

    monkeypatch.setattr(Forecasting, "measure", spoil)
    words = [*words, "objective=val_rmse"]
    answer = command(words)
    assert answer.exit_code == 4
    assert "the validation rmse is inf" in answer.stderr


@pytest.mark.slow
def test_the_cache_deleted_under_a_run(command, in_empty_folder, tmp_path, monkeypatch):
    count = Training._count

    def count_and_delete(self, *arguments):
        count(self, *arguments)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)

    monkeypatch.setattr(Training, "_count", count_and_delete)
    answer = command(["dataset=reviews_demo", "model=conv1d", "trainer=smoke"])
    assert answer.exit_code == 0, answer.stderr


def test_a_closed_stdout_is_no_failure(command, words, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "w", closefd=False))
    assert command(words).exit_code == 0
    assert metrics_of(only_run())["status"] == "completed"
    sys.stdout.close()
    os.close(writing)


def test_a_clock_set_back(in_empty_folder, monkeypatch):
    from seqconv.cli import single as cli

    class Clock(cli.datetime):
        @classmethod
        def now(cls, tz=None):
            # The time of the run before, and of a thousandth of a second later when asked again.
            asked.append(0)
            return cls(2020, 1, 1, 0, 0, 0, 1000 * (len(asked) - 1))

    asked: list[int] = []
    monkeypatch.setattr(cli, "datetime", Clock)
    folder = Path("outputs/jena-conv1d/2020-01-01_00-00-00-000000")
    folder.mkdir(parents=True)
    made = cli.own_directory(str(folder), chosen=False)
    assert made == folder.with_name("2020-01-01_00-00-00-001000")
    assert list(made.iterdir()) == []


# A run directory that leads elsewhere


@pytest.mark.parametrize(
    "name", ["checkpoints", "metrics.jsonl", "environment.json", ".lock", "new"]
)
def test_a_run_directory_with_a_link_out_is_refused(command, train_once, words, aside, name):
    run_dir = train_once(*words, "trainer.epochs=1")
    target = aside / "target"
    if (run_dir / name).exists():
        (run_dir / name).rename(target)
    else:
        target.write_text("mine")
    (run_dir / name).symlink_to(target)
    before = target.stat().st_mtime_ns, sorted(aside.rglob("*"))
    answer = command([f"resume={run_dir}", "trainer.epochs=2"])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert f"{run_dir / name}: is a link or no plain file" in answer.stderr
    assert (target.stat().st_mtime_ns, sorted(aside.rglob("*"))) == before


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("seed: ${oc.env:PATH}\n", "it holds an interpolation"),
        ("a: &a [1, 2]\nb: [*a, *a]\n", "it holds aliases"),
        ("a: !!python/object/apply:os.system ['touch hacked']\n", "cannot be read"),
        ("[1, 2]\n", "must be a mapping of keys"),
        ("a: " + "[" * 5000 + "\n", "cannot be read"),
        ("#" * 300_001, "it has more than 300,000 bytes"),
        ("model: {name: conv1d, _target_: os.system}\n", "dataset.name: is missing"),
    ],
)
def test_a_hostile_config_is_refused(
    command, in_empty_folder, without_tensorflow, aside, text, part
):
    (aside / rundir.CONFIG).write_text(text)
    answer = command([f"resume={aside}"])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert part in answer.stderr
    assert [p.name for p in aside.iterdir()] == [rundir.CONFIG]
    assert list(in_empty_folder.iterdir()) == []


# A real death


@pytest.mark.slow
@pytest.mark.parametrize("calls", [9, 12, 13])
def test_kill_9_in_the_middle_of_writing_a_checkpoint(command, words, calls):
    code = (
        "import os, sys\n"
        "from seqconv.cli import train\n"
        "from seqconv.runs import checkpoints\n"
        "sync, calls = os.fsync, []\n"
        "save = checkpoints.CheckpointStore.save\n"
        "def counted(self, *a, **o):\n"
        "    def fsync(descriptor):\n"
        "        calls.append(descriptor)\n"
        f"        if len(calls) == {calls}:\n"
        "            os.kill(os.getpid(), 9)\n"
        "        sync(descriptor)\n"
        "    os.fsync = fsync\n"
        "    return save(self, *a, **o)\n"
        "checkpoints.CheckpointStore.save = counted\n"
        "train.main()\n"
    )
    words = [*words, "trainer.checkpoint_seconds=1e-9"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == -9, done.stderr
    run_dir = only_run()
    assert not (run_dir / rundir.METRICS).exists()
    answer = command([f"resume={run_dir}"])
    assert answer.exit_code == 0, answer.stderr
    assert "resuming from epoch 1, step 2 " in answer.stderr
    assert leftovers(run_dir) == []
