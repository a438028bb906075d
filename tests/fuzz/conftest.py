"""The command line up to where data is read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqconv.cli import train as cli
from seqconv.config.errors import DataError
from seqconv.training import load


@pytest.fixture
def answered(
    in_empty_folder: Path, without_tensorflow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[list[str]], tuple[int, str]]:
    """`seqconv-train WORDS` up to where data is read, which is answered with exit code 3."""

    def read_nothing(config: Any) -> Any:
        raise DataError("this is where data would be read")

    monkeypatch.setattr(load, "load_task", read_nothing)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(words: list[str]) -> tuple[int, str]:
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()) as result:
            exit_code = cli.run_command(words)
        assert result.getvalue() == ""
        assert list(in_empty_folder.iterdir()) == []
        return exit_code, told.getvalue()

    return run
