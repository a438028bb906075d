"""`ensemble=k`: members by seed, joined into one run whose outputs are their means."""

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from seqconv.sweeps.pool import Pool
from seqconv.training import ensemble
from seqconv.training.evaluation import evaluate_run
from seqconv.training.trained import load_run

pytestmark = pytest.mark.usefixtures("blank_pictures")

SMALL = [
    "dataset=jena",
    "model=gru",
    "model.units=[4]",
    "trainer=smoke",
    "lookback=48",
    "step=2",
    "delay=10",
    "split.train_end=0.4",
    "split.validation_end=0.6",
    "seed=5",
]


@pytest.fixture
def record(write_jena, aside, in_empty_folder):
    return write_jena(aside / "record.csv", 1500)


@pytest.fixture
def train(command, record):
    def run(*words, code=0):
        found, stdout, stderr = command([*SMALL, f"dataset.path={record}", *words])
        assert found == code, stderr
        return Path(json.loads(stdout)["run_dir"]), stderr

    return run


def metrics_of(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


def test_means_of_members_that_differ_in_their_seeds(train, record):
    run_dir, stderr = train("ensemble=2", "trainer.ema=0.9", "require=test.mae<1000")
    metrics = metrics_of(run_dir)
    assert metrics["status"] == "completed"
    assert [member["seed"] for member in metrics["members"]] == [5, 6]
    errors = [member["test"]["mae"] for member in metrics["members"]]
    assert len(set(errors)) == 2
    # A mean of forecasts is at most as wrong as forecasts are in the mean.
    assert metrics["test"]["mae"] <= np.mean(errors)
    assert "mean of 2" in stderr
    members = [load_run(run_dir / f"member_{number}") for number in (1, 2)]
    forecasts = [member.predict(record)["T (degC)"].to_numpy() for member in members]
    joined = load_run(run_dir).predict(record)["T (degC)"].to_numpy()
    # Forecasts of either sign: the mean of two may be near zero.
    np.testing.assert_allclose(joined, np.mean(forecasts, axis=0), rtol=1e-5, atol=1e-7)
    # A member is the run that its seed alone would be.
    alone, _ = train("seed=6", "trainer.ema=0.9")
    assert metrics_of(alone)["test"] == metrics_of(run_dir / "member_2")["test"]
    again = evaluate_run(run_dir).to_json()
    assert again["test"] == metrics["test"]
    assert again["validation"] == metrics["validation"]
    assert metrics["objective"] == {"name": "val_loss", "value": metrics["validation"]["loss"]}


@pytest.mark.slow
def test_an_ensemble_is_resumed_member_by_member(train, command):
    run_dir, _ = train("ensemble=2")
    before = metrics_of(run_dir)
    shutil.rmtree(run_dir / "member_2")
    shutil.rmtree(run_dir / "checkpoints")
    (run_dir / "metrics.json").unlink()
    first = (run_dir / "member_1/metrics.jsonl").stat().st_mtime_ns
    code, _, stderr = command([f"resume={run_dir}"])
    assert code == 0, stderr
    after = metrics_of(run_dir)
    assert (run_dir / "member_1/metrics.jsonl").stat().st_mtime_ns == first
    assert len(json.loads((run_dir / "environment.json").read_text())["resumed"]) == 1
    # Then nothing is left to do.
    written = (run_dir / "metrics.json").stat().st_mtime_ns
    again = command([f"resume={run_dir}"])
    assert again.exit_code == 0
    assert "nothing is left to train" in again.stderr
    assert (run_dir / "metrics.json").stat().st_mtime_ns == written
    for result in (before, after):
        del result["timing"]
        for member in result["members"]:
            del member["timing"]
    assert after == before


@pytest.mark.slow
def test_data_that_has_changed_since_a_member_was_trained(train, command, record, write_jena):
    run_dir, _ = train("ensemble=2", "trainer.baselines=false")
    before = metrics_of(run_dir)
    shutil.rmtree(run_dir / "member_2")
    write_jena(record, 1400)
    code, _, stderr = command([f"resume={run_dir}"])
    assert code == 3
    assert "the data has changed since the run was started" in stderr
    assert metrics_of(run_dir) == before
    assert not (run_dir / "member_2").exists()


@pytest.mark.slow
def test_an_ensemble_in_a_sweep_is_what_it_is_alone(train, command, record):
    words = ["ensemble=2", "threads=2", "trainer.baselines=false"]
    code, stdout, stderr = command(["-m", *SMALL, f"dataset.path={record}", *words, "seed=5,8"])
    assert code == 0, stderr
    found = [Path(json.loads(line)["run_dir"]) for line in stdout.splitlines()]
    alone, _ = train(*words)
    (same,) = (run_dir for run_dir in found if metrics_of(run_dir)["seed"] == 5)
    assert metrics_of(same)["test"] == metrics_of(alone)["test"]


def test_what_goes_wrong_when_members_are_joined(train, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ensemble, "restore_members", fail)
    run_dir, stderr = train("ensemble=2", "trainer.baselines=false", code=1)
    assert "No space left on device" in stderr
    metrics = metrics_of(run_dir)
    assert (metrics["status"], metrics["error"]["exit_code"]) == ("failed", 1)
    assert [member["status"] for member in metrics["members"]] == ["completed"] * 2


def test_a_failure_of_before_is_none_of_an_interruption(train, command, monkeypatch):
    """A member that had failed and is not started again before a signal comes was interrupted."""
    words = ["ensemble=2", "trainer.baselines=false"]
    run_dir, _ = train(*words, "hydra.run.dir=outputs/one")
    for name in ("metrics.json", "checkpoints"):
        path = run_dir / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    member = run_dir / "member_2" / "metrics.json"
    error = {"type": "SeqconvError", "message": "killed by signal 9", "exit_code": 1}
    member.write_text(json.dumps({"status": "failed", "seed": 6, "error": error}))
    monkeypatch.setattr(Pool, "run", lambda self: signal.SIGTERM)
    assert command([f"resume={run_dir}"]).exit_code == 143
    assert metrics_of(run_dir)["status"] == "interrupted"


def test_a_signal_after_the_last_member_has_completed(train, monkeypatch):
    run = Pool.run
    monkeypatch.setattr(Pool, "run", lambda self: run(self) or signal.SIGINT)
    run_dir, _ = train("ensemble=2", "threads=2", "trainer.baselines=false", code=130)
    metrics = metrics_of(run_dir)
    assert metrics["status"] == "interrupted"
    assert [member["status"] for member in metrics["members"]] == ["completed"] * 2


def test_the_time_of_all_members_together_is_limited(train):
    # More epochs than any machine trains in a second.
    run_dir, stderr = train("ensemble=3", "trainer.epochs=100000", "trainer.max_time=1s", code=143)
    assert f"resume with: seqconv-train resume={run_dir}" in stderr
    members = metrics_of(run_dir)["members"]
    assert {member["status"] for member in members} == {"interrupted"}
    # Those that had no place yet are not begun.
    assert not (run_dir / "member_3").exists()


def test_a_member_that_fails(train):
    run_dir, stderr = train(
        *("ensemble=2", "trainer.optimizer=sgd", "loss=mean_squared_error"),
        *("trainer.learning_rate=1e30", "trainer.steps_per_epoch=40"),
        code=4,
    )
    assert re.search(r"member (1 \(seed=5|2 \(seed=6)\) did not complete: the loss is", stderr)
    metrics = metrics_of(run_dir)
    assert metrics["status"] == "failed"
    assert metrics["error"]["exit_code"] == 4
    assert "diverged" in [member["status"] for member in metrics["members"]]
