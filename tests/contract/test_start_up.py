"""What answers at once: Hydra's own answers and mistakes, in a fresh interpreter where TensorFlow cannot be imported.

How fast they are is measured in `benchmarks/`; here it is shown that the slow part is not needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from seqconv.registry import DATASETS, MODELS

# As the console script does it, but with TensorFlow out of reach.
BLOCKED = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
sys.argv[0] = "seqconv-train"
from seqconv.cli import main
main()
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def python(
    code: str, *words: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a process of its own, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *words],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def fresh(in_empty_folder: Path) -> Run:
    """Run `seqconv-train WORDS` in a process of its own; it must leave nothing behind."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = python(BLOCKED, *words, folder=in_empty_folder, **environment)
        assert "Traceback" not in done.stderr
        assert list(in_empty_folder.iterdir()) == []
        return done

    return run


def test_help(fresh: Run):
    done = fresh("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("seqconv-train: train ")
    for part in (
        f"dataset: {', '.join(DATASETS.names())}\n",
        f"model: {', '.join(MODELS.names())}\n",
        "batch_size: 128",
        "Exit codes: 0 done, 2 configuration, 3 data",
    ):
        assert part in done.stdout


def test_cfg_job_is_yaml_and_nothing_else(fresh: Run):
    done = fresh("--cfg", "job", "seed=7", "model=gru")
    assert (done.returncode, done.stderr) == (0, "")
    tree = yaml.safe_load(done.stdout)
    assert tree["seed"] == 7
    assert tree["model"]["name"] == "gru"
    assert "hydra" not in tree


def test_a_misspelt_key(fresh: Run):
    done = fresh("lookbak=720")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "seqconv-train: 1 problem with the configuration\n"
        "  lookbak: unknown key. Did you mean `lookback`?\n"
    )


def test_a_missing_file(fresh: Run):
    done = fresh("dataset=jena", "dataset.path=nowhere.csv")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("seqconv-train: nowhere.csv: no such file")


def test_completion_of_a_page_as_a_shell_asks_for_it(fresh: Run):
    line = "seqconv-train dataset="
    done = fresh("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [f"dataset={name}" for name in DATASETS.names()]


def test_import_is_light(in_empty_folder: Path):
    code = (
        "import sys, seqconv; heavy = 'tensorflow keras hydra omegaconf numpy polars rich'.split();"
        "print(sorted(set(heavy) & set(sys.modules)))"
    )
    done = python(code, folder=in_empty_folder)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_checked_command_line_loads_no_heavy_library(in_empty_folder: Path):
    code = (
        "import sys; from seqconv.composing import read_command_line;"
        "read_command_line(['dataset=jena', 'model=gru']).only_job;"
        "heavy = 'tensorflow keras polars sklearn matplotlib pooch requests'.split();"
        "print(sorted(set(heavy) & set(sys.modules)))"
    )
    done = python(code, folder=in_empty_folder)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# The rest in this process: what they print is the same, and it is ten times faster.


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--info", "defaults-tree"], "    dataset: climate_demo\n"),
        (["--info", "defaults"], "| pair/climate_demo-conv_gru"),
        (["--info", "searchpath"], "pkg://seqconv.conf"),
        (["--hydra-help"], "== Flags =="),
        (["--cfg", "job", "--package", "trainer"], "epochs: 10\n"),
        (["--cfg", "job", "--resolve", "seed=3"], "seed: 3\n"),
        (["--cfg", "hydra", "--package", "hydra.run"], "dir: outputs/${dataset.name}-"),
        (["-sc", "install=bash"], "complete -o nospace -o default -F hydra_bash_completion"),
    ],
)
def test_hydra_answers_as_its_users_expect(
    command, in_empty_folder: Path, without_tensorflow, words: list[str], part: str
):
    answer = command(words)
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert part in answer.stdout
    assert list(in_empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("seqconv-train model=conv", ["model=conv1d", "model=conv_gru"]),
        ("seqconv-train trainer.ep", ["trainer.epochs="]),
        ("seqconv-train dataset=jena lookb", ["lookback="]),
        ("seqconv-train nothing", []),
    ],
)
def test_completion(
    command,
    in_empty_folder: Path,
    without_tensorflow,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    choices: list[str],
):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    answer = command(["-sc", "query=bash"])
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert answer.stdout.split() == choices
