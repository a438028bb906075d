"""README is a promise: every command in it runs, in smoke where it would be long; its examples work."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seqconv.cli import tools as commands
from seqconv.config.registry import DATASETS, MODELS
from seqconv.data.datasets import imdb, jena

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.split("  #")[0].strip() for block in blocks("sh") for line in block.strip().splitlines()
]
SHORT_SPLIT = ["split.train_end=0.5", "split.validation_end=0.75"]


@pytest.fixture
def a_users_folder(in_empty_folder, write_jena, write_imdb, monkeypatch):
    """What the commands name: a record, reviews, settings; and downloads that are there already."""
    write_jena(Path("jena_climate.csv.gz"), 9000)
    monkeypatch.setattr(jena, "find", lambda path: (Path(path or "jena_climate.csv.gz"), "cache"))
    write_imdb(Path("imdb.npz"))
    monkeypatch.setattr(imdb, "find", lambda path: (Path(path or "imdb.npz"), "cache"))
    Path("reviews.csv").write_text(
        "text,label\n"
        + "".join(f"film {n} was {w},{w}\n" for n in range(50) for w in ("bad", "good"))
    )
    page = next(block for block in blocks("yaml") if "short_lead" in block)
    Path("settings/experiment").mkdir(parents=True)
    Path("settings/experiment/short_lead.yaml").write_text(page)


def small(words):
    """The same command on the small data of this test."""
    if "--cfg" in words:
        return words
    words = [*words, "trainer=smoke"]
    if "dataset=jena" in words:
        words += SHORT_SPLIT
    if "dataset=imdb" in words:
        words += ["max_features=100"]
    if "dataset=text" in words:
        words += ["max_features=10"]
    return words


def test_there_are_commands():
    assert len(COMMANDS) > 8


@pytest.mark.usefixtures("a_users_folder")
@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("seqconv-train")])
def test_every_training_command(command, line):
    words = shlex.split(line.split(" | ")[0])[1:]
    code, stdout, stderr = command(small(words))

    assert code == 0, stderr
    assert stdout


@pytest.mark.usefixtures("a_users_folder")
@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("seqconv data")])
def test_every_data_command(line):
    answer = CliRunner().invoke(commands.app, shlex.split(line)[1:])

    assert answer.exit_code == 0, answer.output


def test_no_command_is_left_out():
    assert all(line.startswith(("seqconv-train", "seqconv data")) for line in COMMANDS)


@pytest.mark.parametrize(
    ("registry", "group", "name"), [(MODELS, "model", "dense"), (DATASETS, "dataset", "tide")]
)
def test_the_examples_of_a_model_and_a_dataset_work(
    command, in_empty_folder, registry, group, name, monkeypatch
):
    registry.names()
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    code = next(block for block in blocks("python") if f'Literal["{name}"]' in block)
    exec(compile(code, f"{name}.py", "exec"), {"__name__": f"readme_{name}"})
    page = next(block for block in blocks("yaml") if f"conf/{group}/{name}.yaml" in block)
    Path("mine", group).mkdir(parents=True)
    Path("mine", group, f"{name}.yaml").write_text(page)

    exit_code, _, stderr = command(["--config-dir", "mine", f"{group}={name}", "trainer=smoke"])

    assert exit_code == 0, stderr


def test_pictures_are_there():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[2] / picture).stat().st_size < 1_000_000


def test_exit_codes_are_those_of_the_errors():
    from seqconv.config import errors

    listed = set(map(int, re.findall(r"^\| (\d) \|", README, flags=re.MULTILINE)))
    assert listed == {0} | {
        kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")
    }
