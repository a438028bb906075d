"""Which setting wins: dataset < model < recipe < a named trainer < experiment < command line.

Nothing is trained here: the command line is read as `seqconv-train` reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from variants import variants

from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import ConfigError

CONF = Path(str(files("seqconv.conf")))
Compose = Callable[..., dict[str, Any]]

MODEL = """
model:
  name: gru
  units: [4]
  dropout: 0.0
  recurrent_dropout: 0.0
  reset_after: true
  implementation: auto
"""


def names(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found, f"conf/{group} holds no config file"
    return found


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a config file into the user's own folder."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / "mine" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """The configuration of a command line, with the user's own config files, as plain values."""

    def read(*words: str) -> dict[str, Any]:
        (tmp_path / "mine").mkdir(exist_ok=True)
        return read_command_line(["--config-dir", str(tmp_path / "mine"), *words]).only_job.tree

    return read


# One config file of each level. All of them set `trainer.epochs`, all but the trainer's set `lookback`.
LEVELS = ("dataset", "model", "recipe", "trainer", "experiment")
LOOKBACK = {"dataset": 720, "model": 726, "recipe": 732, "experiment": 744, "command line": 750}
EPOCHS = {
    "base": 20,
    "dataset": 21,
    "model": 22,
    "recipe": 23,
    "trainer": 24,
    "experiment": 25,
    "command line": 26,
}


def write_levels(write_file: Callable[[str, str], Path], levels: tuple[str, ...]) -> list[str]:
    """Config files named `mine` of some levels, and the words that choose them."""
    shipped = (CONF / "dataset" / "climate_demo.yaml").read_text()
    texts = {
        "dataset": ("dataset/mine", f"{shipped}\ntrainer: {{epochs: {EPOCHS['dataset']}}}\n"),
        "model": (
            "model/mine",
            f"# @package _global_\nlookback: {LOOKBACK['model']}\n"
            f"trainer: {{epochs: {EPOCHS['model']}}}\n{MODEL}",
        ),
        "recipe": (
            "recipe/mine-mine",
            f"# @package _global_\nlookback: {LOOKBACK['recipe']}\n"
            f"trainer: {{epochs: {EPOCHS['recipe']}}}\n",
        ),
        "trainer": ("trainer/mine", f"epochs: {EPOCHS['trainer']}\n"),
        "experiment": (
            "experiment/mine",
            f"# @package _global_\nlookback: {LOOKBACK['experiment']}\n"
            f"trainer: {{epochs: {EPOCHS['experiment']}}}\n",
        ),
    }
    words = {
        "dataset": "dataset=mine",
        "model": "model=mine",
        "trainer": "trainer=mine",
        "experiment": "experiment=mine",
    }
    for level in levels:
        write_file(*texts[level])
    return [words[level] for level in levels if level in words]


@pytest.mark.parametrize(("lower", "higher"), list(itertools.pairwise(LEVELS)))
def test_the_higher_of_two_neighbours_wins(write_file, compose: Compose, lower: str, higher: str):
    # A recipe exists only where its dataset and its model are chosen.
    needed = ("dataset", "model") if "recipe" in (lower, higher) else ()
    levels = tuple(level for level in LEVELS if level in {*needed, lower, higher})
    tree = compose(*write_levels(write_file, levels))
    assert tree["trainer"]["epochs"] == EPOCHS[higher]
    # A trainer file sets nothing but the trainer.
    assert tree["lookback"] == LOOKBACK[lower if higher == "trainer" else higher]


def test_the_command_line_wins_over_an_experiment(write_file, compose: Compose):
    words = write_levels(write_file, ("experiment",))
    epochs, lookback = EPOCHS["command line"], LOOKBACK["command line"]
    tree = compose(f"trainer.epochs={epochs}", f"lookback={lookback}", *words)
    assert (tree["trainer"]["epochs"], tree["lookback"]) == (epochs, lookback)


def test_the_last_word_of_the_command_line_wins(compose: Compose):
    assert compose("seed=1", "seed=2")["seed"] == 2


def test_all_levels_together(write_file, compose: Compose):
    words = write_levels(write_file, LEVELS)
    tree = compose(*words)
    assert (tree["trainer"]["epochs"], tree["lookback"]) == (
        EPOCHS["experiment"],
        LOOKBACK["experiment"],
    )


def test_trainer_default_leaves_what_the_recipe_says(write_file, compose: Compose):
    words = write_levels(write_file, ("dataset", "model", "recipe"))
    assert compose(*words, "trainer=default")["trainer"]["epochs"] == EPOCHS["recipe"]


def test_without_any_other_trainer_file_the_base_stands(compose: Compose):
    tree = compose("dataset=jena", "model=gru")
    assert tree["trainer"]["epochs"] == EPOCHS["base"]
    assert tree["trainer"] == OmegaConf.to_container(OmegaConf.load(CONF / "trainer/base.yaml"))


def test_the_order_of_the_words_does_not_matter(write_file, compose: Compose):
    words = write_levels(write_file, LEVELS)
    assert compose(*words) == compose(*reversed(words))


def test_a_users_recipe_stands_for_a_shipped_dataset_and_model(write_file, compose: Compose):
    write_file("recipe/jena-gru", "# @package _global_\nlookback: 288\nmodel: {units: [7]}\n")
    tree = compose("dataset=jena", "model=gru")
    assert (tree["lookback"], tree["model"]["units"]) == (288, [7])
    assert compose("dataset=jena", "model=lstm")["lookback"] == 1440
    assert compose("model=gru")["lookback"] == 720


def test_a_shipped_recipe_wins_over_its_dataset(compose: Compose):
    tree = compose("dataset=jena", "model=conv_gru")
    assert (tree["lookback"], tree["step"], tree["delay"]) == (720, 3, 144)
    tree = compose("dataset=jena", "model=conv1d")
    assert (tree["lookback"], tree["step"], tree["delay"]) == (1440, 6, 144)


def test_an_experiment_chooses_config_files_and_the_recipe_follows(write_file, compose: Compose):
    write_file(
        "experiment/mine",
        "# @package _global_\n"
        "defaults:\n  - override /dataset: jena\n  - override /model: conv_gru\n"
        "  - override /trainer: smoke\n",
    )
    tree = compose("experiment=mine")
    assert (tree["dataset"]["name"], tree["model"]["name"]) == ("jena", "conv_gru")
    assert (tree["lookback"], tree["step"]) == (720, 3)
    assert (tree["trainer"]["epochs"], tree["trainer"]["steps_per_epoch"]) == (2, 5)


def test_experiments_may_lie_in_folders_and_be_several(write_file, compose: Compose):
    head = "# @package _global_\n"
    write_file("experiment/long/seeds", f"{head}seed: 7\n")
    write_file("experiment/batches", f"{head}batch_size: 9\n")
    assert compose("experiment=long/seeds")["seed"] == 7
    both = compose("experiment=[long/seeds,batches]")
    assert (both["seed"], both["batch_size"]) == (7, 9)
    with pytest.raises(
        ConfigError, match=r"unknown experiment `long/sedes`. Did you mean `long/seeds`"
    ):
        compose("experiment=long/sedes", "seed=x")


def test_two_lists_of_columns_are_two_values():
    words = ["-m", "dataset=jena", "dataset.targets=[T (degC)],[p (mbar),T (degC)]"]
    jobs = read_command_line(words).jobs
    assert [job.tree["dataset"]["targets"] for job in jobs] == [
        ["T (degC)"],
        ["p (mbar)", "T (degC)"],
    ]


def test_the_command_line_chooses_config_files_over_an_experiment(write_file, compose: Compose):
    write_file(
        "experiment/mine",
        "# @package _global_\ndefaults:\n  - override /model: lstm\n  - override /trainer: smoke\n",
    )
    assert compose("experiment=mine")["model"]["name"] == "lstm"
    tree = compose("experiment=mine", "model=gru", "trainer=default")
    assert tree["model"]["name"] == "gru"
    assert tree["trainer"]["epochs"] == EPOCHS["base"]


@pytest.mark.parametrize("dataset", variants("jena", *sorted({*names("dataset")} - {"jena"})))
@pytest.mark.parametrize("model", names("model"))
def test_smoke_stays_small(compose: Compose, words_for_dataset, dataset: str, model: str):
    words = words_for_dataset(dataset)
    trainer = compose(*words, f"model={model}", "trainer=smoke")["trainer"]
    assert (trainer["epochs"], trainer["steps_per_epoch"]) == (2, 5)


@pytest.mark.parametrize("experiment", names("experiment"))
def test_smoke_makes_an_experiment_small(compose: Compose, experiment: str):
    words = [f"experiment={experiment}", "dataset.path=a_file.csv", "trainer=smoke"]
    trainer = compose(*words)["trainer"]
    assert (trainer["epochs"], trainer["steps_per_epoch"]) == (2, 5)


def test_hydra_composes_the_same(
    write_file, compose: Compose, command, in_empty_folder: Path, without_tensorflow, tmp_path: Path
):
    words = [*write_levels(write_file, LEVELS), "seed=3"]
    answer = command(["--config-dir", str(tmp_path / "mine"), "--cfg", "job", *words])
    assert answer.exit_code == 0, answer.stderr
    composed = OmegaConf.to_container(OmegaConf.create(answer.stdout))
    # Some keys are about how a process starts, not what a run is; threads are chosen when it is known what starts.
    start = {"resume": None, "sweep": {"resume": None, "on_failure": "continue"}, "threads": None}
    assert composed == {**compose(*words), **start}
