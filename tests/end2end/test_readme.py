"""README is a promise: every command in it runs, in smoke where it would be long; its examples work."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner
from variants import variants

from seqconv.cli import tools as commands
from seqconv.data.datasets import imdb, jena

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.split("  #")[0].strip() for block in blocks("sh") for line in block.strip().splitlines()
]
USES = ("seqconv evaluate", "seqconv predict", "seqconv export")
# Of the example package, which tests/end2end/test_examples.py installs.
INSTALL = "pip install ./examples/"
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
    write_tables()
    page = next(block for block in blocks("yaml") if "short_lead" in block)
    Path("settings/experiment").mkdir(parents=True)
    Path("settings/experiment/short_lead.yaml").write_text(page)


def write_tables():
    """A wind mast, and plants with two sensors each in two files."""
    rows = 2500
    times = np.datetime64("2021-03-01T00", "ms") + np.arange(rows) * np.timedelta64(10, "m")
    noise = np.random.default_rng(1).normal(size=(rows, 2)).cumsum(axis=0)
    mast = pl.DataFrame({"Timestamp": times, "Spd80mN": noise[:, 0], "Dir": noise[:, 1]})
    mast.write_csv("mast.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    for number in (1, 2):
        sensors = [
            pl.DataFrame(
                {
                    "ts": times + (number - 1) * rows * np.timedelta64(10, "m"),
                    "power": noise[:, 0],
                    "temp": noise[:, 1],
                    "sensor": [name] * rows,
                }
            )
            for name in ("a", "b")
        ]
        pl.concat(sensors).write_parquet(f"plant_{number}.parquet")


def small(words):
    """The same command on the small data of this test."""
    if "--cfg" in words:
        return words
    words = [*words, "trainer=smoke"]
    if "-m" in words:
        # In this process, where the test has put small data in the place of a download.
        words += ["hydra/launcher=basic", "threads=2"]
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
@pytest.mark.parametrize(
    "line",
    variants(
        *(line for line in COMMANDS if line.startswith("seqconv-train") and "tide" not in line),
        usual=4,
    ),
)
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
    assert all(
        line.startswith(("seqconv-train", "seqconv data", "seqconv runs", *USES, INSTALL))
        for line in COMMANDS
    )


@pytest.mark.usefixtures("a_users_folder")
def test_every_look_at_runs(command):
    assert (
        command(["-m", "trainer=smoke", "model=conv_gru", "lookback=144,288", "step=6"]).exit_code
        == 0
    )
    lines = [line for line in COMMANDS if line.startswith("seqconv runs")]
    assert len(lines) == 3
    for line in lines:
        answer = CliRunner().invoke(commands.app, shlex.split(line.partition("#")[0])[1:])
        assert answer.exit_code == 0, answer.output
        assert answer.stdout


@pytest.mark.usefixtures("a_users_folder")
def test_every_use_of_a_run(command):
    code, stdout, stderr = command(
        [*shlex.split(next(line for line in COMMANDS if "mast.csv" in line))[1:], "trainer=smoke"]
    )
    assert code == 0, stderr
    run_dir = json.loads(stdout)["run_dir"]
    shutil.copy("mast.csv", "later.csv")
    shutil.copy("mast.csv", "new_week.csv")
    lines = [line for line in COMMANDS if line.startswith(USES)]
    assert len(lines) == 5
    for line in lines:
        words = line.partition(">")[0].replace("outputs/table-gru/RUN", run_dir)
        words = words.replace("outputs/OTHER/RUN", run_dir)
        answer = CliRunner().invoke(commands.app, shlex.split(words)[1:])
        assert answer.exit_code == 0, answer.output
    (code,) = blocks("python")
    exec(code, {"run_dir": run_dir, "frame": pl.read_csv("mast.csv")})


def test_pictures_are_there():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[2] / picture).stat().st_size < 1_000_000


def test_exit_codes_are_those_of_the_errors():
    from seqconv.config import errors

    listed = set(map(int, re.findall(r"^\| (\d) \|", README, flags=re.MULTILINE)))
    assert listed == {0} | {
        kind.exit_code for kind in vars(errors).values() if hasattr(kind, "exit_code")
    }
