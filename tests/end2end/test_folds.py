"""`folds=k`: rolling-origin evaluation, a run for each fold."""

import json
import statistics
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seqconv.config.errors import DataError, OutputError
from seqconv.runs.lock import locked
from seqconv.runs.result import Result
from seqconv.sweeps import members as sweeps_members
from seqconv.sweeps.members import run_side_by_side
from seqconv.training import folds
from seqconv.training.evaluation import evaluate_run
from seqconv.training.outcome import Outcome
from seqconv.training.signals import Signals
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
]


SPLIT = ["split.train_end=0.5", "split.validation_end=0.7"]


@pytest.fixture
def words(write_jena, aside, in_empty_folder):
    return [*SMALL, f"dataset.path={write_jena(aside / 'record.csv', 1500)}"]


@pytest.fixture
def train(command):
    def run(*words, code=0):
        found, stdout, stderr = command([*words])
        assert found == code, stderr
        return Path(json.loads(stdout)["run_dir"]), stderr

    return run


def metrics_of(run_dir):
    return json.loads((run_dir / "metrics.json").read_text())


def without_times(result):
    return {name: value for name, value in result.items() if name != "timing"}


def append_to(file):
    """As somebody who writes to a file that is being trained on."""
    with file.open("a") as stream:
        stream.write(file.read_text().splitlines()[-1].replace("2009", "2031", 1) + "\n")


def test_data_that_changes_while_folds_are_trained(train, words, monkeypatch):
    file = Path(words[-1].partition("=")[2])
    run_part = folds.run_part

    def run_and_append(config, run_dir, start):
        outcome = run_part(config, run_dir, start)
        append_to(file)
        return outcome

    monkeypatch.setattr(folds, "run_part", run_and_append)
    run_dir, stderr = train(*words, "folds=3", code=3)
    metrics = metrics_of(run_dir)
    assert metrics["status"] == "failed"
    assert f"{run_dir / 'fold-2'} was trained on other data than what began before it" in stderr
    assert metrics["error"]["exit_code"] == 3
    assert len(metrics["folds"]) == 1


def test_data_that_changes_before_members_read_it(train, words, monkeypatch):
    def append_and_run(members, threads, signals):
        append_to(Path(words[-1].partition("=")[2]))
        return run_side_by_side(members, threads, signals)

    monkeypatch.setattr(sweeps_members, "run_side_by_side", append_and_run)
    run_dir, stderr = train(*words, "ensemble=2", code=3)
    assert metrics_of(run_dir)["status"] == "failed"
    assert f"{run_dir / 'member_1'} was trained on other data than what began before it" in stderr


def test_nobody_else_can_work_on_a_fold(train, words, monkeypatch):
    refused = []
    run_part = folds.run_part

    def try_too(config, run_dir, start):
        with pytest.raises(OutputError, match="another process is working on this run"):
            locked(run_dir).__enter__()
        refused.append(run_dir.name)
        return run_part(config, run_dir, start)

    monkeypatch.setattr(folds, "run_part", try_too)
    train(*words, "folds=2")
    assert refused == ["fold-1", "fold-2"]


def test_nobody_else_can_work_on_a_member_that_runs_in_turn(tmp_path, monkeypatch):
    def run(config, run_dir, signals):
        with pytest.raises(OutputError, match="another process is working on this run"):
            locked(run_dir).__enter__()
        return Outcome(Result(status="completed"), run_dir)

    monkeypatch.setattr(sweeps_members, "run_member", run)
    members = [(None, tmp_path / name) for name in ("member_1", "member_2")]
    outcomes = run_side_by_side(members, 1, Signals())
    assert [outcome.run_dir.name for outcome in outcomes] == ["member_1", "member_2"]


@pytest.fixture
def dry(aside, in_empty_folder):
    """Hours of a temperature, and of a rain that stops for good."""
    random = np.random.default_rng(0)
    rows = 900
    frame = pl.DataFrame(
        {
            "when": np.datetime64("2021-03-01T00", "ms") + np.arange(rows) * np.timedelta64(1, "h"),
            "temp": random.normal(size=rows).cumsum(),
            "rain": np.where(np.arange(rows) < 700, random.random(rows), 0.0),
        }
    )
    frame.write_csv(aside / "dry.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    small = ["model=mlp", "model.units=8", "trainer=smoke", "lookback=12", "step=1", "lead=2"]
    return ["dataset=table", f"dataset.path={aside / 'dry.csv'}", *small, "split.train_end=0.5"]


def test_a_metric_that_is_not_defined_in_one_fold_has_no_mean(train, dry):
    words = [*dry, "dataset.targets=[temp,rain]", "split.validation_end=0.65", "folds=2"]
    run_dir, _ = train(*words)
    metrics = metrics_of(run_dir)
    results = [metrics_of(run_dir / f"fold-{number}") for number in (1, 2)]
    each = [result["test"]["targets"]["rain"]["2"] for result in results]
    assert [rain["r2"] is None for rain in each] == [False, True]
    assert "r2" not in metrics["test"]["targets"]["rain"]["2"]
    assert metrics["spread"]["test"]["targets"]["rain"]["2"]["mae"] > 0


def test_a_fold_of_an_ensemble_that_cannot_be_read_leaves_the_others(train, words, monkeypatch):
    load, read = folds.load_task, []

    def fail_later(config, *stored):
        read.append(config)
        if len(read) == 3:  # the first fold is read twice: its task is the whole run's, too
            raise DataError("record.csv: is missing")
        return load(config, *stored)

    monkeypatch.setattr(folds, "load_task", fail_later)
    monkeypatch.setattr("seqconv.cli.single._load_task", fail_later)
    run_dir, stderr = train(*words, "folds=2", "ensemble=2", "trainer.baselines=false", code=3)
    assert "record.csv: is missing" in stderr
    metrics = metrics_of(run_dir)
    assert [fold["status"] for fold in metrics["folds"]] == ["completed", "failed"]
    assert metrics["error"] == {"message": "record.csv: is missing", "exit_code": 3}


def test_conditions_on_a_target_a_lead_and_an_interval(train, dry):
    """Columns have names of all kinds, also with dots and spaces."""
    path = Path(dry[1].partition("=")[2])
    frame = pl.read_csv(path).rename({"temp": "T. air (degC)"})
    frame.write_csv(path)
    words = [*dry[:-2], "lead=[1,2]", "dataset.targets=[T. air (degC)]", *SPLIT]
    conditions = "test.targets.T. air (degC).2.mae<1000,test.interval.coverage>=0,test.scaled.mae<0"
    run_dir, stderr = train(*words, f"require=[{conditions}]", code=6)
    met = {each["condition"]: each["met"] for each in metrics_of(run_dir)["require"]}
    assert list(met.values()) == [True, True, False]
    assert "require=test.scaled.mae<0 is not met" in stderr
    assert "interval.coverage" not in stderr.splitlines()[-1]


def test_a_baseline_without_an_error(train, dry):
    words = [*dry, "dataset.targets=[rain]", "split.validation_end=0.8"]
    run_dir, stderr = train(*words)
    metrics = metrics_of(run_dir)
    assert metrics["status"] == "completed"
    assert metrics["baselines"]["persistence"]["test"]["mae"] == 0
    assert "worse" in stderr


def test_means_and_spread_over_folds(train, words):
    run_dir, stderr = train(*words, "folds=3", "require=test.mae<1000")
    metrics = metrics_of(run_dir)
    assert metrics["status"] == "completed"
    errors = [fold["test"]["mae"] for fold in metrics["folds"]]
    assert len(set(errors)) == 3
    assert metrics["test"]["mae"] == pytest.approx(statistics.fmean(errors))
    assert metrics["spread"]["test"]["mae"] == pytest.approx(statistics.stdev(errors))
    naive = [fold["baselines"]["persistence"]["test"]["mae"] for fold in metrics["folds"]]
    assert metrics["baselines"]["persistence"]["test"]["mae"] == pytest.approx(
        statistics.fmean(naive)
    )
    for number in (1, 2, 3):
        assert f"fold {number}" in stderr
        assert without_times(metrics_of(run_dir / f"fold-{number}")) == without_times(
            metrics["folds"][number - 1]
        )
    windows = [fold["dataset"]["windows"] for fold in metrics["folds"]]
    # 600 training and 300 validation rows, then three test parts of 200.
    lost = 48 + 10
    assert [part["train"] for part in windows] == [row - lost for row in (600, 800, 1000)]
    assert [part["validation"] for part in windows] == [300 - lost] * 3
    assert [part["test"] for part in windows] == [200 - lost] * 3
    # One of them alone is the same.
    alone, _ = train(*words, "folds=3", "fold=2")
    assert metrics_of(alone)["test"] == metrics["folds"][1]["test"]
    assert evaluate_run(run_dir / "fold-2").metrics["test"] == metrics["folds"][1]["test"]
    with pytest.raises(OutputError, match="run of several folds; name one"):
        load_run(run_dir)


@pytest.mark.slow
def test_only_what_is_missing_is_run_again(train, words):
    run_dir, _ = train(*words, "folds=2")
    before = metrics_of(run_dir)
    (run_dir / "metrics.json").unlink()
    # As if the second fold had been killed after its first epoch.
    second = run_dir / "fold-2"
    (second / "metrics.json").unlink()
    checkpoints = json.loads((second / "checkpoints" / "pointers.json").read_text())
    first = sorted(path.name for path in (second / "checkpoints").glob("epoch-*"))[0]
    assert first != checkpoints["last"]
    kept = (run_dir / "fold-1" / "metrics.json").stat().st_mtime_ns
    resumed, stderr = train(f"resume={run_dir}")
    assert resumed == run_dir
    assert "fold-1: is finished" in stderr
    assert (run_dir / "fold-1" / "metrics.json").stat().st_mtime_ns == kept
    after = metrics_of(run_dir)
    assert [without_times(fold) for fold in after["folds"]] == [
        without_times(fold) for fold in before["folds"]
    ]
    assert after["test"] == before["test"]
    written = (run_dir / "metrics.json").stat().st_mtime_ns
    _, stderr = train(f"resume={run_dir}")
    assert "nothing is left to train" in stderr
    assert (run_dir / "metrics.json").stat().st_mtime_ns == written


def test_data_that_has_changed(command, words, write_jena, aside):
    """Found while Hydra runs the job, whose errors it would show with a traceback."""
    code, stdout, _ = command([*words, "folds=2"])
    assert code == 0
    run_dir = Path(json.loads(stdout)["run_dir"])
    (run_dir / "metrics.json").unlink()
    (run_dir / "fold-2" / "metrics.json").unlink()
    write_jena(aside / "record.csv", 1510)
    code, stdout, stderr = command([f"resume={run_dir}"])
    assert code == 3
    assert stdout == ""
    assert "has changed" in stderr
    assert "Traceback" not in stderr


@pytest.mark.slow
def test_a_requirement_is_one_of_the_whole(train, words):
    run_dir, stderr = train(*words, "folds=2", "require=test.mae<0", code=6)
    assert "is not met" in stderr
    assert len(metrics_of(run_dir)["folds"]) == 2


@pytest.mark.parametrize("chosen", [["fold=1"], ["folds=2", "fold=3"]])
def test_a_fold_that_there_is_not(command, words, chosen):
    code, _, stderr = command([*words, *chosen])
    assert code == 2
    assert "fold: must lie in 1 to `folds`" in stderr
