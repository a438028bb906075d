"""Fixtures that every kind of test may use."""

from __future__ import annotations

import functools
import gc
import gzip
import importlib.resources
import io
import json
import logging
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[1]


class Answer(NamedTuple):
    """What a command line gave."""

    exit_code: int
    stdout: str
    stderr: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest in `make test-all`, so that none of them is left for the end."""
    items.sort(key=lambda item: item.path.parent.name != "fuzz")


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what stays until the end: every model that is built asks for it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def signals_arrive() -> None:
    """Undo what `nohup` or a shell in the background has made this process ignore, and its children after it."""
    for name, handler in (("SIGHUP", signal.SIG_DFL), ("SIGINT", signal.default_int_handler)):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty, and no other place that anything could be found in or left in.

    Other files that a test needs belong in `aside`.
    """
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    """A folder for the files of a test, outside the current one."""
    folder = tmp_path / "aside"
    folder.mkdir()
    return folder


@pytest.fixture
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `import tensorflow` and `import keras` fail, also where an earlier test has loaded them."""
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Sequence[str]], Answer]]:
    """Run `seqconv-train WORDS` in this process; what it changes for its own process is put back."""
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton

    from seqconv.cli import train as cli

    Plugins.instance()  # kept from test to test: looking for them takes longer than most refusals

    def run(words: Sequence[str]) -> Answer:
        monkeypatch.setattr(sys, "argv", ["seqconv-train", *words])
        capfd.readouterr()
        exit_code = cli.run_command(list(words))
        return Answer(exit_code, *capfd.readouterr())

    singletons = Singleton.get_state()
    environment = dict(os.environ)
    with _same_logging():
        yield run
    os.environ.clear()
    os.environ.update(environment)
    Singleton.set_state(singletons)


class KeptRuns(NamedTuple):
    """Run directories by the words that were trained, relative to the current folder and to `folder` alike."""

    folder: Path
    by_words: dict[tuple[str, ...], Path]


@pytest.fixture(scope="module")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> KeptRuns:
    """What `train_once` has trained for a file of tests."""
    return KeptRuns(tmp_path_factory.mktemp("kept"), {})


@pytest.fixture
def train_once(
    command: Callable[[Sequence[str]], Answer], kept_runs: KeptRuns, in_empty_folder: Path
) -> Callable[..., Path]:
    """Train a command line once in a file of tests; every test has a run directory of its own, to change as it likes.

    `train_once(*words)`: files are named relative to the current folder, where each test has its own.
    """

    def run(*words: str) -> Path:
        if words in kept_runs.by_words:
            run_dir = kept_runs.by_words[words]
            shutil.copytree(kept_runs.folder / run_dir, run_dir)
            return run_dir
        exit_code, stdout, stderr = command(words)
        assert exit_code == 0, stderr
        run_dir = Path(json.loads(stdout)["run_dir"])
        shutil.copytree(run_dir, kept_runs.folder / run_dir)
        kept_runs.by_words[words] = run_dir
        return run_dir

    return run


@pytest.fixture
def real_pictures() -> None:
    """Asked for by a test that looks at pictures, in a file of tests that has `blank_pictures`."""


@pytest.fixture
def blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of runs in this process stay blank: drawing them is a third of the time of a small run."""
    if "real_pictures" not in request.fixturenames:
        from matplotlib.figure import Figure

        monkeypatch.setattr(Figure, "draw", lambda figure, renderer: None)


class _same_logging:  # noqa: N801
    """Put the loggers back that Hydra configures, and close the files of its handlers.

    Hydra has `logging` close every handler there is. The one of absl, which TensorFlow brings along, closes its
    stream then, and that is pytest's stderr of the test that loaded TensorFlow: so those there are already are
    kept out of sight.
    """

    def __enter__(self) -> None:
        self.known = logging._handlerList[:]
        logging._handlerList.clear()
        self.loggers = [logging.getLogger(), logging.getLogger("seqconv")]
        self.before = [
            (list(logger.handlers), logger.level, logger.propagate, logger.disabled)
            for logger in self.loggers
        ]

    def __exit__(self, *exception: object) -> None:
        for logger, (handlers, level, propagate, disabled) in zip(
            self.loggers, self.before, strict=True
        ):
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate, logger.disabled = propagate, disabled
        logging._handlerList[:] = self.known + logging._handlerList


JENA_HEADER = '"Date Time",' + ",".join(
    f'"{name}"'
    for name in (
        "p (mbar)",
        "T (degC)",
        "Tpot (K)",
        "Tdew (degC)",
        "rh (%)",
        "VPmax (mbar)",
        "VPact (mbar)",
        "VPdef (mbar)",
        "sh (g/kg)",
        "H2OC (mmol/mol)",
        "rho (g/m**3)",
        "wv (m/s)",
        "max. wv (m/s)",
        "wd (deg)",
    )
)


@functools.cache
def _jena_lines(rows: int) -> tuple[str, ...]:
    """Header and rows of a SIMULATED record as the station writes them."""
    from seqconv.data.simulated.climate import simulate_climate

    times, values = simulate_climate(rows)
    stamps = [f"{time.item():%d.%m.%Y %H:%M:%S}" for time in times]
    cells = [",".join(f"{value:.2f}" for value in row) for row in values]
    return (
        JENA_HEADER,
        *(f"{stamp},{row}" for stamp, row in zip(stamps, cells, strict=True)),
    )


@pytest.fixture
def write_jena() -> Callable[..., Path]:
    """Write a file in Jena's original format, with simulated values.

    `write_jena(path, rows=2000, change=None)`: the suffix `.csv`, `.csv.gz` or `.zip` says how it is packed;
    `change` takes the list of lines, the header first, and returns the ones to write.
    """

    def write(
        path: Path,
        rows: int = 2000,
        change: Callable[[list[str]], list[str]] | None = None,
    ) -> Path:
        lines = list(_jena_lines(rows))
        text = "\n".join(change(lines) if change else lines).encode() + b"\n"
        path.write_bytes(_packed(text, path))
        return path

    return write


def _packed(text: bytes, path: Path) -> bytes:
    if path.name.endswith(".csv"):
        return text
    if path.name.endswith(".csv.gz"):
        return gzip.compress(text, compresslevel=1)
    if path.name.endswith(".zip"):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(path.name.removesuffix(".zip"), text)
            # The original archive was packed on a Mac, which adds this.
            archive.writestr("__MACOSX/._jena_climate.csv", b"\x00\x05\x16\x07")
        return content.getvalue()
    raise ValueError(f"no such format: {path.name}")


# Ranks of the simulated reviews go up to this one, which is in both parts.
IMDB_RANKS = 400


@pytest.fixture
def write_imdb() -> Callable[..., Path]:
    """Write a file in the layout of Keras' imdb.npz, with SIMULATED reviews.

    `write_imdb(path, reviews=60, change=None)`: so many reviews in each part, of 3 to 90 ranks; `change` takes
    the arrays by name and returns the ones to write.
    """

    def write(
        path: Path,
        reviews: int = 60,
        change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> Path:
        rng = np.random.default_rng(7)
        arrays: dict[str, Any] = {}
        for part in ("train", "test"):
            labels = rng.permutation(np.arange(reviews) % 2)
            ranks = [_simulated_ranks(rng, label) for label in labels]
            ranks[0][-1] = IMDB_RANKS
            arrays[f"x_{part}"] = lists_as_array(ranks)
            arrays[f"y_{part}"] = labels
        np.savez(path, **(change(arrays) if change else arrays))
        return path

    return write


def _simulated_ranks(rng: np.random.Generator, label: int) -> list[int]:
    """Frequent words have low ranks; in 10 to 19 the even ones are of one class and the odd ones of the other."""
    ranks = np.minimum(rng.geometric(0.02, rng.integers(3, 91)), IMDB_RANKS)
    opinion = (ranks >= 10) & (ranks < 20)
    ranks[opinion] = ranks[opinion] // 2 * 2 + label
    return ranks.tolist()


def lists_as_array(lists: Sequence[Any]) -> np.ndarray:
    """An object array of lists, also where they have one length."""
    array = np.empty(len(lists), object)
    array[:] = lists
    return array


class TextCorpus(NamedTuple):
    """Labelled texts."""

    texts: list[str]
    labels: list[str]


@functools.cache
def _simulated_texts() -> TextCorpus:
    rng = np.random.default_rng(11)

    def some(words: str) -> str:
        return str(rng.choice(words.split()))

    subjects = {
        "cooking": "soup bread sauce pasta rice stew salad pie broth dumpling",
        "sailing": "mast keel rudder sail anchor harbour tide jib deck buoy",
        "gardening": "rose tulip hedge lawn compost seed mulch orchard fern ivy",
    }
    texts, labels = [], []
    for number in range(300):
        label = list(subjects)[number % 3]
        sentences = [
            f"{some('Today Yesterday Once Again Often')} {some('we they she nobody')} "
            f"{some('saw praised mended forgot')} the {some('old new small crème')} "
            f"{some(subjects[label])}{some('. ! ?')}"
            for _ in range(rng.integers(1, 7))
        ]
        # What a format must get right: separators, quotes, line ends, and letters beyond ASCII.
        joint = str(rng.choice([" ", "\n", ' "so", ', "<br />"]))
        texts.append(joint.join(sentences) + f" It's note {number}, {some('done fin')}")
        labels.append(label)
    return TextCorpus(texts, labels)


@pytest.fixture
def text_corpus() -> TextCorpus:
    """SIMULATED notes: 300 short texts of three classes, 100 each."""
    corpus = _simulated_texts()
    return TextCorpus(list(corpus.texts), list(corpus.labels))


@pytest.fixture
def write_texts() -> Callable[..., Path]:
    """Write labelled texts in the format that the suffix names: .csv, .jsonl, .parquet; without one, as folders.

    `write_texts(path, texts, labels, parts=None, names=("text", "label", "split"))`.
    """

    def write(
        path: Path,
        texts: Sequence[Any],
        labels: Sequence[Any],
        parts: Sequence[Any] | None = None,
        names: Sequence[str] = ("text", "label", "split"),
    ) -> Path:
        columns = dict(zip(names, (texts, labels, parts), strict=True))
        if parts is None:
            del columns[names[2]]
        if path.suffix == ".jsonl":
            rows = [
                dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif path.suffix == "":
            for number, (text, label) in enumerate(zip(texts, labels, strict=True)):
                folder = path / (parts[number] if parts else "") / label
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}.txt").write_bytes(text.encode())
        else:
            import polars as pl

            frame = pl.DataFrame(columns, strict=False)
            if path.suffix == ".csv":
                frame.write_csv(path)
            else:
                frame.write_parquet(path)
        return path

    return write


@pytest.fixture
def words_for_dataset(
    tmp_path: Path, write_imdb, write_texts, text_corpus
) -> Callable[[str], list[str]]:
    """The words that choose a dataset, with what its config file cannot know: the name of a file.

    The files of imdb and text are there, and small; so are the settings that such a file needs.
    """
    from omegaconf import OmegaConf

    from seqconv.cli.overrides import CONFIG_MODULE

    files = importlib.resources.files(CONFIG_MODULE)
    small_text = ["max_len=64", "embedding_size=8"]

    def words(name: str) -> list[str]:
        shipped = OmegaConf.create(files.joinpath("dataset", f"{name}.yaml").read_text("utf-8"))
        chosen = [f"dataset={name}"]
        if name == "imdb":
            path = write_imdb(tmp_path / "reviews.npz")
            return [*chosen, f"dataset.path={path}", "max_features=300", *small_text]
        if name == "text":
            path = write_texts(tmp_path / "notes.jsonl", *text_corpus)
            return [*chosen, f"dataset.path={path}", "max_features=60", *small_text]
        return [*chosen, "dataset.path=a_file.csv"] if "path" in shipped["dataset"] else chosen

    return words


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: `SEQCONV_TEST_DATA`, else `../shared/data` beside the repository."""
    chosen = os.environ.get("SEQCONV_TEST_DATA")
    folder = Path(chosen) if chosen else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no folder (SEQCONV_TEST_DATA names another)")
    return folder


def finished_epoch(number: int) -> Any:
    """The record of an epoch, as one of `climate_demo` has it."""
    from seqconv.runs.progress import EpochRecord

    return EpochRecord(
        epoch=number,
        training={"loss": 0.5, "mae": 1.0},
        validation={"loss": 0.25, "mae": 2.0, "rmse": 3.0},
        learning_rate=0.001,
        seconds=1.5,
        samples_per_second=100.0,
    )


@pytest.fixture
def completed_run(tmp_path: Path, in_empty_folder: Path) -> Path:
    """A run of two epochs that was completed, as it stands on disk; no process has trained it.

    Checkpoints are inside the first epoch, at its end (the best one), and at the end of the second.
    """
    from seqconv.cli.overrides import read_command_line
    from seqconv.config.schema import to_yaml
    from seqconv.runs import files
    from seqconv.runs import layout as rundir
    from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
    from seqconv.runs.progress import Progress

    path = tmp_path / "run"
    path.mkdir()
    words = ["model=conv1d", "trainer=smoke", "trainer.epochs=2"]
    (path / rundir.CONFIG).write_text(to_yaml(read_command_line(words).only_job))
    best: dict[str, Any] = {"best": 2.0, "best_epoch": 1}
    history = [finished_epoch(number) for number in (1, 2)]
    places = (
        Progress(epoch=1, step=2, sums={"loss": 1.0, "mae": 2.0}, samples=64, step_seconds=0.5),
        Progress(epoch=2, history=history[:1], **best),
        Progress(epoch=3, history=history, stalled=1, plateau=1, **best),
    )
    store = CheckpointStore(path / rundir.CHECKPOINTS, keep=1)
    store.prepare()
    variables = {
        "model/output/kernel": np.ones((2, 3), np.float32),
        "optimizer/sgd/iteration": np.array(3),
    }
    for place in places:
        state = {"progress": place.to_json(), "fingerprint": "sha256:0"}
        store.save(place.name, Checkpoint(variables, state), best=place is places[1])
    metrics_of_split = {"loss": 0.5, "mae": 1.0, "rmse": 2.0}
    metrics = {
        "status": "completed",
        "seed": 1,
        "objective": {"name": "val_mae", "value": 2.0},
        "validation": metrics_of_split,
        "test": metrics_of_split,
        "baselines": {"persistence": {"test": metrics_of_split}},
    }
    files.write_json(path / rundir.METRICS, metrics)
    return path


@pytest.fixture(scope="session")
def new_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    from seqconv.runs.tracking.mlflow import _connect

    path = tmp_path_factory.mktemp("mlflow") / "new.db"
    _connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(new_mlflow_database: Path, tmp_path: Path) -> str:
    """Of a database without runs."""
    return f"sqlite:///{shutil.copy(new_mlflow_database, tmp_path / 'mlflow.db')}"


@pytest.fixture
def mlflow_client(mlflow_uri: str) -> Any:
    """What reads that database."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=mlflow_uri)
