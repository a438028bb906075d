"""Every config file of models, datasets, trainers and experiments runs, found by listing; nothing is skipped.

Datasets that come from the web are written by the test in the original format.
"""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from variants import variants

from seqconv.cli.overrides import read_command_line
from seqconv.config.registry import DATASETS as KNOWN_DATASETS
from seqconv.tasks.contract import SequenceSpec

CONF = files("seqconv.conf")


def config_files(group):
    return sorted(
        Path(file.name).stem
        for file in CONF.joinpath(group).iterdir()
        if file.name.endswith("yaml")
    )


MODELS, DATASETS, TRAINERS, EXPERIMENTS = map(
    config_files, ("model", "dataset", "trainer", "experiment")
)

# What makes any run on a series small: a short record instead of years. Texts have settings in conftest.py.
SHORT = ["lookback=288", "step=4", "delay=36"]


@pytest.fixture
def settings(write_jena, words_for_dataset, aside, in_empty_folder):
    """The words that give each dataset its data, and are short."""

    def of(dataset, rows=2400):
        if dataset in ("jena", "table"):
            path = write_jena(aside / "jena.zip", rows)
            return [f"dataset.path={path}", "split.train_end=0.5", "split.validation_end=0.75"]
        if dataset == "climate_demo":
            # Two years cannot be made shorter; what every epoch evaluates can.
            return ["split.train_end=0.94", "split.validation_end=0.97"]
        # Of few texts, a preset's own share may lack a class.
        return [*words_for_dataset(dataset)[1:], "batch_size=32", "split.validation=0.2"]

    return of


def own_share(dataset):
    is_text = KNOWN_DATASETS.get(dataset).settings.length_key == "max_len"
    return ["split.validation=0.2"] if is_text else []


def short(dataset):
    return SHORT if KNOWN_DATASETS.get(dataset).settings.length_key == "lookback" else []


def suits(words):
    """Whether the model is one for such data at all: some are for texts alone."""
    config = read_command_line(words).only_job
    texts = config.settings.length_key == "max_len"
    spec = SequenceSpec(
        time=1000,
        features=None if texts else 3,
        vocabulary=config.settings.max_features if texts else None,
        embedding=8 if texts else None,
        outputs=(1,) if texts else (1, 1),
        targets=(1,) if texts else (1, 1),
    )
    return not list(config.model.shape_problems(spec))


def test_there_are_config_files():
    assert all([MODELS, DATASETS, TRAINERS, EXPERIMENTS])
    assert sorted(KNOWN_DATASETS.names()) == DATASETS


def combinations():
    """All of them in `make test-all`; by default those of the book. Tests of models and experiments have the others."""
    book = {
        ("jena", "conv_gru"),
        ("jena", "gru"),
        ("imdb", "gru"),
        ("text", "conv1d"),
    }
    refused = {("jena", "nbow")}
    for dataset in DATASETS:
        for model in MODELS:
            usual = (dataset, model) in book | refused
            marks = () if usual else pytest.mark.slow
            yield pytest.param(dataset, model, id=f"{dataset}-{model}", marks=marks)


@pytest.mark.parametrize(("dataset", "model"), list(combinations()))
def test_every_model_with_every_dataset(request, command, settings, dataset, model):
    if model != "conv1d":
        # Pictures are the same whatever the model.
        request.getfixturevalue("blank_pictures")
    words = [f"dataset={dataset}", f"model={model}", "trainer=smoke"]
    words += [*short(dataset), *settings(dataset)]
    code, stdout, stderr = command(words)

    if not suits(words):
        assert code == 2
        assert "Choose another model" in stderr
        return
    assert code == 0, stderr
    summary = json.loads(stdout)
    assert summary["status"] == "completed"
    assert Path(summary["run_dir"]).parent.name == f"{dataset}-{model}"


@pytest.mark.usefixtures("blank_pictures")
@pytest.mark.parametrize("trainer", variants(*TRAINERS))
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


# With more leads than weather_96, or with models that run above.
LIKE_ANOTHER = ("weather_192", "weather_336", "weather_720", "weather_96_conv", "weather_96_gru")


def dataset_of(experiment):
    """What an experiment chooses, or the one that it builds on."""
    defaults = yaml.safe_load(CONF.joinpath(f"experiment/{experiment}.yaml").read_text())[
        "defaults"
    ]
    for word in defaults:
        if isinstance(word, str):
            return dataset_of(word)
        if "override /dataset" in word:
            return word["override /dataset"]
    raise ValueError(f"{experiment} chooses no dataset")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(experiment):
    dataset = dataset_of(experiment)
    path = ["dataset.path=not_read.csv"] if dataset in ("jena", "table") else []
    assert read_command_line([f"experiment={experiment}", *path]).only_job.dataset.name == dataset


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(name, marks=pytest.mark.slow if name in LIKE_ANOTHER else [])
        for name in EXPERIMENTS
    ],
)
def test_every_experiment_in_smoke(command, settings, experiment):
    dataset = dataset_of(experiment)
    # Windows of 1,440 rows have room in every split of so many.
    words = settings(dataset, rows=6000 if experiment == "weather_720" else 2400)
    code, stdout, stderr = command(
        # A share of a few small texts that has every class.
        [f"experiment={experiment}", "trainer=smoke", *words, *own_share(dataset)]
    )

    assert code == 0, stderr
    run_dir = Path(json.loads(stdout)["run_dir"])
    assert json.loads((run_dir / "metrics.json").read_text())["epochs"]["completed"] == 2
