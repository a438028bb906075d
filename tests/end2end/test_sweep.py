"""Sweeps: one directory and one line per job, and a failure that hides nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seqconv.training import run as training

SMALL = [
    "dataset=jena",
    "step=2",
    "delay=40",
    "split.train_end=0.5",
    "split.validation_end=0.75",
    "trainer=smoke",
    "batch_size=32",
]


@pytest.fixture
def record(write_jena, aside, in_empty_folder):
    return f"dataset.path={write_jena(aside / 'record.csv.gz', 3000)}"


def test_every_job_has_a_directory_and_a_line(command, record):
    code, stdout, stderr = command(
        ["-m", *SMALL, record, "model=conv1d,conv_gru", "lookback=144,288"]
    )

    assert code == 0, stderr
    summaries = [json.loads(line) for line in stdout.splitlines()]
    assert [Path(s["run_dir"]).name for s in summaries] == ["0", "1", "2", "3"]
    (sweep,) = Path("outputs/sweeps").iterdir()
    for number, (model, lookback) in enumerate(
        [("conv1d", 144), ("conv1d", 288), ("conv_gru", 144), ("conv_gru", 288)]
    ):
        metrics = json.loads((sweep / str(number) / "metrics.json").read_text())
        assert metrics["model"]["name"] == model
        assert f"lookback: {lookback}" in (sweep / str(number) / "config.yaml").read_text()
        assert (sweep / str(number) / "history.png").exists()


def test_a_failed_job_does_not_hide_the_others(command, record):
    code, stdout, stderr = command(
        ["-m", *SMALL, record, "model=conv1d", "lookback=144,145,99998", "seed=1"]
    )

    assert code == 5
    statuses = [json.loads(line)["status"] for line in stdout.splitlines()]
    assert statuses == ["completed", "failed", "failed"]
    assert "job 1 of the sweep cannot start" in stderr
    assert "2 of 3 jobs did not complete" in stderr


def test_a_sweep_in_which_no_job_can_start_leaves_nothing(command, in_empty_folder):
    code, stdout, stderr = command(["-m", "lookback=721,723", "step=6"])

    assert (code, stdout) == (2, "")
    assert "721" in stderr
    assert "723" in stderr
    assert not list(Path.cwd().iterdir())


def test_a_diverged_job_is_told_to_optimizers_as_not_a_number(command, record):
    code, stdout, _ = command(
        ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.optimizer=sgd",
         "loss=mean_squared_error", "trainer.steps_per_epoch=40",
         "trainer.learning_rate=1e-3,1e30"]
    )  # fmt: skip

    assert code == 5
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["completed", "diverged"]


@pytest.mark.slow
def test_unmet_requirements_of_a_sweep(command, record):
    code, stdout, _ = command(
        ["-m", *SMALL, record, "model=conv1d", "lookback=144", "seed=1,2", "require=test.mae<0.001"]
    )

    assert code == 6
    assert len(stdout.splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_between_two_jobs_ends_the_sweep(record, number):
    code = (
        "import os, pathlib\n"
        "from hydra._internal import config_loader_impl as loader\n"
        "load = loader.ConfigLoaderImpl.load_sweep_config\n"
        "def between(*a, **o):\n"
        "    if list(pathlib.Path('outputs').glob('sweeps/*/0/metrics.json')):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "    return load(*a, **o)\n"
        "loader.ConfigLoaderImpl.load_sweep_config = between\n"
        "from seqconv.cli.train import main; main()\n"
    )
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "seed=1,2,3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    assert f"stopped by signal {int(number)}" in done.stderr
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["completed"]


def test_a_signal_that_comes_too_late_for_a_job_ends_the_sweep_after_it(
    command, record, monkeypatch
):
    write = training.write_result

    def write_and_tell(run_dir, result):
        os.kill(os.getpid(), signal.SIGTERM)
        write(run_dir, result)

    monkeypatch.setattr(training, "write_result", write_and_tell)
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    code, stdout, stderr = command([*words, "seed=1,2"])
    assert code == 143, stderr
    assert [json.loads(line)["status"] for line in stdout.splitlines()] == ["completed"]


def test_a_run_leaves_no_state_of_the_process_behind(command, record):
    # XLA refuses the gradient of a maximum pooling under deterministic operations: they are of one run only.
    from tensorflow.python.framework import config

    listening = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    words = ["-m", *SMALL, record, "model=conv1d", "lookback=144", "trainer.baselines=false"]
    code, stdout, stderr = command([*words, "trainer.jit_compile=false,true,false"])
    assert code == 0, stderr
    results = [json.loads(line) for line in stdout.splitlines()]
    assert [result["status"] for result in results] == ["completed"] * 3
    assert results[0]["test_mae"] == results[2]["test_mae"]
    assert not config.is_op_determinism_enabled()
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == listening
