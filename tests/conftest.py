"""Fixtures that every kind of test may use."""

from __future__ import annotations

import functools
import gzip
import importlib.resources
import io
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]


class Answer(NamedTuple):
    """What a command line gave."""

    exit_code: int
    stdout: str
    stderr: str


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
    from hydra.core.singleton import Singleton

    from seqconv import cli

    def run(words: Sequence[str]) -> Answer:
        monkeypatch.setattr(sys, "argv", ["seqconv-train", *words])
        monkeypatch.setattr(cli, "_REPORTED", set())
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
    from seqconv.data.climate import simulate_climate

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


@pytest.fixture
def words_for_dataset() -> Callable[[str], list[str]]:
    """The words that choose a dataset, with what its page cannot know: the name of a file."""
    from omegaconf import OmegaConf

    from seqconv.composing import CONFIG_MODULE

    pages = importlib.resources.files(CONFIG_MODULE.removeprefix("pkg://"))

    def words(name: str) -> list[str]:
        page = OmegaConf.create(pages.joinpath("dataset", f"{name}.yaml").read_text("utf-8"))
        chosen = [f"dataset={name}"]
        return [*chosen, "dataset.path=a_file.csv"] if "path" in page["dataset"] else chosen

    return words


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: `SEQCONV_TEST_DATA`, else `../shared/data` beside the repository."""
    chosen = os.environ.get("SEQCONV_TEST_DATA")
    folder = Path(chosen) if chosen else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is no folder (SEQCONV_TEST_DATA names another)")
    return folder
