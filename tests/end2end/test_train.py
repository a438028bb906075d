"""Real runs in this process, on a short record that the test writes: TensorFlow is started once for all of them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from variants import variants

from seqconv.config.schema import load_config
from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import CheckpointStore

pytestmark = pytest.mark.usefixtures("blank_pictures")

# Six days of 10-minute rows in each split leave room for windows of one day.
SMALL = [
    "dataset=jena",
    "lookback=144",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "batch_size=32",
]


@pytest.fixture
def record(write_jena, aside, in_empty_folder):
    return f"dataset.path={write_jena(aside / 'record.csv.gz', 3000)}"


def without_times(path):
    lines = [json.loads(line) for line in (path / rundir.EPOCHS).read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("seconds", "samples_per_second")}
        for line in lines
    ]


def run_dir_of(stdout):
    (line,) = stdout.splitlines()
    return Path(json.loads(line)["run_dir"])


@pytest.mark.usefixtures("real_pictures")
def test_a_run_leaves_everything_that_the_contract_lists(command, record):
    code, stdout, stderr = command([*SMALL, record, "model=conv_gru", "trainer=smoke"])

    assert code == 0, stderr
    run_dir = run_dir_of(stdout)
    assert run_dir.parent == Path("outputs/jena-conv_gru")
    names = {path.name for path in run_dir.iterdir()}
    assert names == {
        ".hydra",
        ".lock",
        "checkpoints",
        "config.yaml",
        "environment.json",
        "forecast.png",
        "history.png",
        "metrics.json",
        "metrics.jsonl",
        "preparation.json",
        "train.log",
    }
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["status"] == "completed"
    assert metrics["dataset"]["source"] == "file"
    assert metrics["dataset"]["rows"] == 3000
    assert metrics["dataset"]["lead"] == {"rows": 42, "hours": 7.0}
    # 1,500 training rows hold 1500 - 144 - 40 anchors.
    assert metrics["dataset"]["windows"] == {"train": 1316, "validation": 566, "test": 566}
    assert metrics["epochs"]["completed"] == 2
    assert metrics["model"] == {"name": "conv_gru", "parameters": 13_793}
    numbers = {"loss", "mae", "rmse", "r2", "mase"}
    assert metrics["validation"].keys() == numbers
    assert metrics["test"].keys() == numbers | {"interval"}
    assert metrics["differences"].keys() == metrics["baselines"].keys()
    for baseline in ("persistence", "seasonal_naive", "ridge"):
        for split in ("validation", "test"):
            assert metrics["baselines"][baseline][split]["mae"] > 0
    assert metrics["timing"]["samples_per_second"] == pytest.approx(
        32 * metrics["timing"]["steps_per_second"]
    )
    records = without_times(run_dir)
    assert [r["epoch"] for r in records] == [1, 2]
    assert records[0].keys() == {
        "epoch", "loss", "mae", "val_loss", "val_mae", "val_rmse", "val_r2", "val_mase",
        "learning_rate",
    }  # fmt: skip
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["packages"]["tensorflow"]
    assert "against persistence" in stderr
    assert "against persistence" in (run_dir / "train.log").read_text()
    assert (run_dir / "history.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_epoch_is_what_is_tested(command, record):
    _, stdout, _ = command([*SMALL, record, "model=gru", "trainer=smoke", "trainer.epochs=3"])

    run_dir = run_dir_of(stdout)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    records = without_times(run_dir)
    best = records[metrics["epochs"]["best"] - 1]
    assert best["val_loss"] == min(r["val_loss"] for r in records)
    assert metrics["validation"]["loss"] == pytest.approx(best["val_loss"], rel=1e-6)
    assert metrics["objective"] == {"name": "val_loss", "value": best["val_loss"]}


def test_a_run_directory_alone_rebuilds_the_model(command, record):
    _, stdout, _ = command([*SMALL, record, "model=conv1d", "trainer=smoke"])
    run_dir = run_dir_of(stdout)

    config = load_config(run_dir / "config.yaml")
    preparation = json.loads((run_dir / "preparation.json").read_text())
    best = CheckpointStore(run_dir / "checkpoints").load("best")

    assert config.model.name == "conv1d"
    assert len(preparation["mean"][0]) == len(preparation["columns"]) == 14
    first_kernel = best.variables["model/convolution_1/kernel"]
    assert first_kernel.shape == (5, 14, 32)
    assert yaml.safe_load((run_dir / "config.yaml").read_text())["lookback"] == 144


@pytest.mark.parametrize("steps", ["5", pytest.param("null", marks=pytest.mark.slow)])
def test_one_seed_gives_one_result_and_another_seed_another(command, record, steps):
    words = [*SMALL, record, "model=conv_gru", "trainer=smoke", "batch_size=256"]
    words += [f"trainer.steps_per_epoch={steps}"]
    runs = [run_dir_of(command([*words, f"seed={seed}"])[1]) for seed in (3, 3, 4)]

    first, again, other = map(without_times, runs)
    assert first == again
    assert first != other
    weights = [CheckpointStore(run / "checkpoints").load("last").variables for run in runs]
    assert all(np.array_equal(weights[0][k], weights[1][k]) for k in weights[0])


@pytest.mark.slow
def test_change_as_target_reports_in_the_values_own_unit(command, record):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke", "trainer.learning_rate=1e-9"]
    by_target = {}
    for target in ("value", "change"):
        _, stdout, _ = command([*words, f"target={target}"])
        by_target[target] = json.loads((run_dir_of(stdout) / "metrics.json").read_text())

    intervals = {
        target: {
            name: values["test"].pop("interval") for name, values in result["baselines"].items()
        }
        for target, result in by_target.items()
    }
    for name, interval in intervals["change"].items():
        # Learnt in the units trained on: the same but for the last digits, which decide on a window or two.
        assert interval == pytest.approx(intervals["value"][name], rel=0.005)
    assert by_target["change"]["baselines"] == by_target["value"]["baselines"]
    persistence = by_target["change"]["baselines"]["persistence"]["test"]["mae"]
    # Untrained, the change is predicted as about zero: nearly persistence.
    assert by_target["change"]["test"]["mae"] == pytest.approx(persistence, rel=0.35)


def test_requirements_decide_the_exit_code(command, record):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke"]

    met, _, _ = command([*words, "require=test.mae<1000"])
    unmet, lost, stderr = command([*words, 'require=["test.mae<1000","test.mae<0.001"]'])

    assert (met, unmet) == (0, 6)
    assert "require=test.mae<0.001 is not met" in stderr
    metrics = json.loads((run_dir_of(lost) / "metrics.json").read_text())
    assert metrics["status"] == "completed"
    assert [r["met"] for r in metrics["require"]] == [True, False]


def test_a_diverging_run_ends_with_4_and_says_so(command, record):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke", "trainer.optimizer=sgd"]
    words += ["loss=mean_squared_error", "trainer.steps_per_epoch=40"]
    code, stdout, stderr = command([*words, "trainer.learning_rate=1e30"])

    assert code == 4
    assert "trainer.learning_rate" in stderr
    assert json.loads(stdout)["status"] == "diverged"


@pytest.mark.parametrize("schedule", variants("plateau", "constant", "cosine"))
def test_schedules(command, record, schedule):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke", "trainer.epochs=4"]
    words += [f"trainer.schedule={schedule}", "trainer.plateau_patience=1", "objective=val_mae"]
    _, stdout, _ = command([*words, "trainer.learning_rate=0.1", "trainer.optimizer=sgd"])

    records = without_times(run_dir_of(stdout))
    rates = [r["learning_rate"] for r in records]
    if schedule == "constant":
        assert rates == [0.1] * 4
    elif schedule == "cosine":
        assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], rel=1e-5)
    else:
        best = np.minimum.accumulate([r["val_mae"] for r in records])
        stalls = [False, *(best[1:] == best[:-1])]
        expected = [0.1 * 0.5 ** sum(stalls[: i + 1]) for i in range(-1, 3)]
        assert rates == pytest.approx(expected)


def test_early_stopping_ends_the_run(command, record):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke", "trainer.epochs=9"]
    # A rate of almost nothing: no epoch is better than the first by more than rounding.
    words += ["trainer.learning_rate=1e-30", "trainer.early_stopping=2"]
    _, stdout, _ = command(words)

    metrics = json.loads((run_dir_of(stdout) / "metrics.json").read_text())
    assert metrics["epochs"] == {"completed": 3, "best": 1}
    assert metrics["status"] == "completed"


@pytest.mark.parametrize("optimizer", variants("adamw", "rmsprop", "adam", "nadam", "sgd"))
def test_optimizers_with_decay_and_clipping(command, record, optimizer):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke", f"trainer.optimizer={optimizer}"]
    code, _, stderr = command([*words, "trainer.weight_decay=0.01", "trainer.clip_norm=1.0"])

    assert code == 0, stderr


def test_a_chosen_directory_is_never_shared(command, record, tmp_path):
    words = [*SMALL, record, "model=conv1d", "trainer=smoke", f"hydra.run.dir={tmp_path}/mine"]
    first, stdout, _ = command(words)
    second, nothing, stderr = command(words)

    assert (first, second) == (0, 2)
    assert run_dir_of(stdout) == tmp_path / "mine"
    assert nothing == ""
    assert "holds files already" in stderr


def test_signals_save_what_was_reached(command, record, monkeypatch):
    from seqconv.training.loop import Training

    count = Training._count

    def count_and_stop(self, *arguments):
        count(self, *arguments)
        if self.steps_done == 7:
            os.kill(os.getpid(), 15)

    monkeypatch.setattr(Training, "_count", count_and_stop)
    code, stdout, _ = command([*SMALL, record, "model=conv1d", "trainer=smoke"])

    assert code == 143
    run_dir = run_dir_of(stdout)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["status"] == "interrupted"
    assert metrics["epochs"]["completed"] == 1
    progress = CheckpointStore(run_dir / "checkpoints").load("last").state["progress"]
    assert (progress["epoch"], progress["step"]) == (2, 2)
