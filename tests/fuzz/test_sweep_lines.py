"""Whatever stands on the command line of a sweep: it has jobs, or it is refused with exit code 2."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from examples import EXAMPLES, outcome, try_all
from words import lines

from seqconv.cli.overrides import CommandLine, read_command_line


@EXAMPLES
def test_a_sweep(examples: int, in_empty_folder: Path, without_tensorflow):
    def check(words: list[str]) -> None:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
            line, error = outcome(lambda: read_command_line(["-m", *words]))
            if error is not None:
                assert error.exit_code == 2
                assert str(error)
            else:
                assert isinstance(line, CommandLine)
                assert line.jobs

    try_all(examples, check, lines(most=3))
