"""A moving average of the weights (`trainer.ema`): its values, and that it is what is validated and kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from seqconv.config.schema import TrainerConfig
from seqconv.runs.checkpoints import CheckpointStore
from seqconv.training.evaluation import evaluate_run
from seqconv.training.loop import Training, learning_rate

WORDS = ["dataset=jena", "lookback=144", "step=2", "delay=40", "model=gru", "model.units=[4]"]
WORDS += ["split.train_end=0.5", "split.validation_end=0.75", "trainer=smoke"]


@pytest.fixture
def averaged(command, write_jena, aside, in_empty_folder, monkeypatch):
    """A run with an average, its directory and the weights after each step."""
    weights = []
    count = Training._count

    def remember(self, *arguments):
        weights.append([np.asarray(w).copy() for w in self.predictor.model.trainable_variables])
        count(self, *arguments)

    monkeypatch.setattr(Training, "_count", remember)
    record = f"dataset.path={write_jena(aside / 'record.csv', 3000)}"
    code, stdout, stderr = command([*WORDS, record, "trainer.ema=0.8"])
    assert code == 0, stderr
    return Path(json.loads(stdout)["run_dir"]), weights


def test_an_average_of_the_weights(averaged):
    run_dir, weights = averaged
    assert len(weights) == 10
    expected = weights[0]
    for step in weights[1:]:
        pairs = zip(expected, step, strict=True)
        expected = [0.8 * average + 0.2 * weight for average, weight in pairs]
    variables = CheckpointStore(run_dir / "checkpoints").load("last").variables
    averages = {k.removeprefix("average/"): v for k, v in variables.items() if k[:8] == "average/"}
    trained = {k.removeprefix("model/"): v for k, v in variables.items() if k[:6] == "model/"}
    assert averages.keys() <= trained.keys()
    assert len(averages) == len(expected)
    for value, wanted, last in zip(averages.values(), expected, weights[-1], strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7)
        assert np.abs(value - last).max() > 1e-6
    # The weights themselves are kept to go on with.
    for name, last in zip(averages, weights[-1], strict=True):
        np.testing.assert_array_equal(trained[name], last)
    # What is validated and tested is what a run is used with afterwards.
    metrics = json.loads((run_dir / "metrics.json").read_text())
    again = evaluate_run(run_dir).to_json()
    assert again["validation"]["mae"] == metrics["validation"]["mae"]
    assert again["test"] == metrics["test"]


def test_a_warm_up_rises_to_the_schedule():
    settings = {"learning_rate": 0.1, "schedule": "cosine", "epochs": 2, "warmup_steps": 4}
    trainer = object.__new__(TrainerConfig)
    for name, value in settings.items():
        object.__setattr__(trainer, name, value)
    rates = [learning_rate(trainer, 1 + step // 5, step % 5, 1.0, 5) for step in range(10)]
    plain = [0.05 * (1 + np.cos(np.pi * step / 10)) for step in range(10)]
    expected = [rate * min(1, (step + 1) / 4) for step, rate in enumerate(plain)]
    assert rates == pytest.approx(expected)
