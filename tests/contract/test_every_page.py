"""Every model, dataset, trainer and experiment page runs, found by listing; nothing is skipped.

Datasets that come from the web are written by the test in the original format.
"""

import json
from importlib.resources import files
from pathlib import Path

import pytest

CONF = files("seqconv.conf")


def pages(group):
    return sorted(
        Path(page.name).stem
        for page in CONF.joinpath(group).iterdir()
        if page.name.endswith("yaml")
    )


MODELS, DATASETS, TRAINERS, EXPERIMENTS = map(pages, ("model", "dataset", "trainer", "experiment"))

# What makes a run of any page small: a short record instead of years.
SHORT = ["lookback=288", "step=4", "delay=36", "split.train_end=0.5", "split.validation_end=0.75"]


@pytest.fixture
def settings(write_jena, aside, in_empty_folder):
    """The words that give each dataset its data."""

    def of(dataset):
        if dataset == "jena":
            return [f"dataset.path={write_jena(aside / 'jena.zip', 3000)}"]
        return []

    return of


def test_there_are_pages():
    assert all([MODELS, DATASETS, TRAINERS, EXPERIMENTS])


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_with_every_dataset(command, settings, dataset, model):
    code, stdout, stderr = command(
        [f"dataset={dataset}", f"model={model}", "trainer=smoke", *SHORT, *settings(dataset)]
    )

    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["status"] == "completed"
    assert Path(summary["run_dir"]).parent.name == f"{dataset}-{model}"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer(command, settings, trainer):
    code, _, stderr = command(
        [
            "dataset=jena",
            f"trainer={trainer}",
            "trainer.epochs=1",
            "trainer.steps_per_epoch=2",
            *SHORT,
            *settings("jena"),
        ]
    )

    assert code == 0, stderr


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_in_smoke(command, settings, experiment):
    dataset = next(name for name in DATASETS if experiment.startswith(name))
    code, stdout, stderr = command(
        [f"experiment={experiment}", "trainer=smoke", *settings(dataset)]
    )

    assert code == 0, stderr
    run_dir = Path(json.loads(stdout)["run_dir"])
    assert json.loads((run_dir / "metrics.json").read_text())["epochs"]["completed"] == 2
