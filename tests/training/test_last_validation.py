"""The validation split is not predicted again at the end of a run that has the best epoch's predictions."""

import json
from pathlib import Path

import pytest

from seqconv.training import loop
from seqconv.training.predictor import Predictor

WORDS = ["trainer=smoke", "trainer.epochs=1", "model=conv1d", "trainer.baselines=false"]
WORDS += ["dataset=jena", "lookback=144", "step=2", "delay=40"]
WORDS += ["split.train_end=0.5", "split.validation_end=0.75"]
LEARNT = ("metrics.json", "preparation.json")


@pytest.fixture
def predicted(monkeypatch):
    """How many samples each call of `Predictor.predict` was for."""
    counts = []
    predict = Predictor.predict

    def counted(self, samples, *arguments):
        counts.append(len(samples))
        return predict(self, samples, *arguments)

    monkeypatch.setattr(Predictor, "predict", counted)
    return counts


def _trained(command, record: str, folder: str) -> list[dict]:
    code, _, stderr = command([*WORDS, record, f"hydra.run.dir={folder}"])
    assert code == 0, stderr
    found = [json.loads((Path(folder) / name).read_text()) for name in LEARNT]
    del found[0]["timing"]
    return found


@pytest.mark.slow
def test_predictions_of_the_best_epoch_are_kept(
    command, write_jena, aside, in_empty_folder, predicted, monkeypatch
):
    record = f"dataset.path={write_jena(aside / 'record.csv', 3000)}"
    kept = _trained(command, record, "kept")
    # One epoch: its validation, and the test split.
    assert len(predicted) == 2
    predicted.clear()
    # Larger than what is kept: the same results, with a third call.
    monkeypatch.setattr(loop, "KEPT_BYTES", 0)
    assert _trained(command, record, "again") == kept
    assert len(predicted) == 3
    assert predicted[0] == predicted[1]
