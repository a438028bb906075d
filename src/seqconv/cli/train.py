"""`seqconv-train`: read the command line, then let Hydra answer, or train, or sweep; the answer is an exit code.

Hydra by itself makes the run directory before our function runs, ends with 1 whatever went wrong, and reports one
mistake at a time. So the command line is composed and checked first; only what can start is handed over to Hydra, with
a directory that was made for it alone.
"""

# Other imports stand inside functions: until `main` has run its first line, a signal shows a traceback.
from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


def main() -> None:
    """The console script."""
    # As long as there is nothing to save, a signal ends the process as the system does it; Python's own handler would
    # show a traceback. What a shell or `nohup` ignores stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from seqconv.training import tensorflow_import

    tensorflow_import.allow()
    try:
        exit_code = run_command(sys.argv[1:])
    finally:
        # Native code at work in a thread may crash when the interpreter is taken apart under it.
        tensorflow_import.wait()
    sys.exit(exit_code)


def run_command(words: Sequence[str]) -> int:
    """Do what a command line asks for.

    Args:
        words: without the program's name.

    Returns:
        The exit code, as `README.md` lists them.
    """
    from seqconv import __version__, console
    from seqconv.cli.overrides import asks_hydra, read_command_line
    from seqconv.config.errors import SeqconvError

    if "--version" in words:
        print(f"seqconv {__version__}")
        return 0
    try:
        if asks_hydra(words):
            return _let_hydra_answer(words)
        line = read_command_line(words, prepare=_start_job_server)
        if line.multirun:
            from seqconv.cli.sweep import sweep

            sweep(line)
        else:
            from seqconv.cli.single import single_run

            single_run(line)
    except SeqconvError as error:
        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


def _start_job_server() -> None:
    from seqconv.sweeps.process import job_context

    job_context()


def _let_hydra_answer(words: Sequence[str]) -> int:
    """Let Hydra print its help, the configuration and the like; what it refuses is reported as for a run."""
    import contextlib
    import io

    from seqconv.cli.overrides import hand_over, read_command_line
    from seqconv.config.errors import ConfigError, Problem

    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            hand_over(words, lambda composed: None)
    except ValueError as error:
        # Flags that exclude one another.
        raise ConfigError([Problem("command line", str(error))]) from error
    except SystemExit as leaving:
        if leaving.code:
            read_command_line(words)
            sys.stderr.write(message.getvalue())
            return 2
    sys.stderr.write(message.getvalue())
    return 0
