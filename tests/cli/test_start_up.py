"""What answers at once: Hydra's own answers and mistakes, in a fresh interpreter where TensorFlow cannot be imported.

How fast they are is measured in `benchmarks/`; here it is shown that the slow part is not needed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from seqconv import __version__
from seqconv.config.registry import DATASETS, MODELS

# As the console script does it, but with TensorFlow out of reach.
BLOCKED = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None
sys.argv[0] = "seqconv-train"
from seqconv.cli.train import main
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


def test_the_version_is_ours(fresh: Run):
    done = fresh("--version")
    assert (done.returncode, done.stdout) == (0, f"seqconv {__version__}\n")


def test_a_missing_file(fresh: Run):
    done = fresh("dataset=jena", "dataset.path=nowhere.csv")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("seqconv-train: nowhere.csv: no such file")


def test_completion_of_a_group_as_a_shell_asks_for_it(fresh: Run):
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
        "import sys; from seqconv.cli.overrides import read_command_line;"
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
        (["--info", "defaults-tree"], "    dataset: climate_demo:\n      task/forecasting\n"),
        (["--info", "defaults"], "| recipe/climate_demo-conv_gru"),
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
        ("seqconv-train trainer.epo", ["trainer.epochs="]),
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


# TensorFlow in a thread of its own. It is replaced by a module whose import lasts until the process waits for it to
# end, or fails; so these show what does not wait for it.

SLOW = """
import os, pathlib, sys, threading
sys.importing, sys.released = threading.Event(), threading.Event()
pathlib.Path("tensorflow.py").write_text('''
import os, sys, threading
os.write(2, b"a native notice\\\\n")
print("importing", flush=True)
sys.importing.set()
sys.released.wait()
''')
pathlib.Path("keras.py").write_text("import tensorflow")
sys.path.insert(0, os.getcwd())
sys.argv[0] = "seqconv-train"
from seqconv.training import tensorflow_import
wait = tensorflow_import.wait
tensorflow_import.wait = lambda: (sys.released.set(), wait())
from seqconv.cli.train import main
main()
"""


def test_wrong_data_is_told_while_tensorflow_is_imported(in_empty_folder: Path, aside: Path):
    (aside / "wrong.csv").write_text("a,b\n1,2\n")
    code = SLOW.replace(
        "from seqconv.cli.train",
        "from seqconv.data import measurements\n"
        "read = measurements.read_table\n"
        "measurements.read_table = lambda *a, **o: sys.importing.wait(60) and read(*a, **o)\n"
        "from seqconv.cli.train",
    )
    done = python(
        code, "dataset=jena", f"dataset.path={aside / 'wrong.csv'}", folder=in_empty_folder
    )
    assert (done.returncode, done.stdout) == (3, "importing\n")
    assert done.stderr.startswith(f"seqconv-train: {aside / 'wrong.csv'}: ")
    assert "native notice" not in done.stderr
    assert not (in_empty_folder / "outputs").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_tensorflow_is_imported(in_empty_folder: Path, number: int):
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SLOW, "trainer=smoke"],
        cwd=in_empty_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # Until the data has been shown, which is when the run waits for TensorFlow.
        shown = iter(process.stderr.readline, "")
        assert any("target " in line for line in shown)
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 128 + number
        assert "Traceback" not in rest
    (run_dir,) = in_empty_folder.glob("outputs/*/*")
    assert json.loads((run_dir / "metrics.json").read_text())["status"] == "interrupted"


def test_data_that_must_be_fetched_comes_before_tensorflow(in_empty_folder: Path):
    code = SLOW.replace(
        "from seqconv.cli.train",
        "from seqconv.config.errors import DataError\n"
        "from seqconv.data import cache\n"
        "def download(*_):\n    raise DataError('no connection')\n"
        "cache.download = download\n"
        "from seqconv.cli.train",
    )
    done = python(
        code, "dataset=jena", folder=in_empty_folder, SEQCONV_DATA_DIR=str(in_empty_folder / "none")
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "seqconv-train: no connection\n"


def test_an_import_that_fails_in_its_thread_is_told(in_empty_folder: Path):
    code = SLOW.replace("sys.released.wait()", "raise ImportError('broken')")
    done = python(code, "trainer=smoke", folder=in_empty_folder)
    assert done.returncode == 1
    assert "unexpected ImportError: broken" in done.stderr
    assert "native notice" not in done.stderr
    (log,) = in_empty_folder.glob("outputs/*/*/train.log")
    assert "a native notice" in log.read_text()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anything_is_loaded_ends_without_a_traceback(
    in_empty_folder: Path, number: int
):
    code = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'hydra':\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from seqconv.cli.train import main; main()\n"
    )
    done = python(code, folder=in_empty_folder)
    # Ended by the signal itself, for which a shell says 128 more.
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


# A run with all that it imports, by thread: what both look for must have been there before.
THREADS = """
import sys, threading
from seqconv.cli import train
from seqconv.training import tensorflow_import
found = {}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if tensorflow_import._under_way is not None:
            found.setdefault(threading.current_thread().name, set()).add(name.partition(".")[0])
sys.meta_path.insert(0, Finder())
finish = tensorflow_import.finish
def finished():
    finish()
    # No package: nothing can wait inside it. Ours are not imported by TensorFlow.
    shared = found["MainThread"] & found["import-tensorflow"]
    print(sorted(n for n in shared if hasattr(sys.modules.get(n), "__path__") and n != "encodings"))
    print(sorted({"sklearn", "matplotlib"} & set(sys.modules)))
    sys.stdout.flush()
    raise KeyboardInterrupt
tensorflow_import.finish = finished
sys.argv[0] = "seqconv-train"
train.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("dataset", DATASETS.names())
def test_no_package_is_imported_by_two_threads(
    in_empty_folder: Path, words_for_dataset, write_jena, aside: Path, dataset: str
):
    words = words_for_dataset(dataset)
    if dataset in ("jena", "table"):
        path = write_jena(aside / "record.zip", 3000)
        splits = ["split.train_end=0.5", "split.validation_end=0.75"]
        windows = ["lookback=144", "step=2", "lead=null", "delay=40"]
        targets = ["dataset.targets=[T (degC)]"]
        words = [f"dataset={dataset}", f"dataset.path={path}", *targets, *splits, *windows]
    # TensorFlow itself warns.
    code = "import warnings; warnings.simplefilter('ignore')\n" + THREADS
    done = python(code, *words, folder=in_empty_folder)
    assert done.stdout.splitlines()[:2] == ["[]", "[]"], done.stderr
