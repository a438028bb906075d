"""`seqconv-train`: compose, check, run, answer with an exit code.

Hydra by itself makes the run directory before our function runs, ends with 1 whatever went wrong, and tells of one
mistake at a time. So the command line is composed and checked first (`seqconv.composing`); only what can start is
handed over to Hydra, with a directory that was made for it alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seqconv.composing import (
    CONFIG_MODULE,
    CONFIG_NAME,
    CommandLine,
    asks_hydra,
    read_command_line,
)
from seqconv.errors import (
    ConfigError,
    InterruptedRun,
    RequirementError,
    SeqconvError,
    SweepError,
)


def main() -> None:
    """The console script."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(words: Sequence[str]) -> int:
    """Do what a command line asks for.

    Args:
        words: without the program's name.

    Returns:
        The exit code, as `README.md` lists them.
    """
    try:
        if asks_hydra(words):
            return _let_hydra_answer(words)
        line = read_command_line(words)
        if line.multirun:
            _sweep(line)
        else:
            _single(line)
    except SeqconvError as error:
        from seqconv import console

        console.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    return 0


def _single(line: CommandLine) -> None:
    """One run: its data is read before anything is made, so that a wrong file leaves nothing behind."""
    from seqconv import console, rundir, training
    from seqconv.stopping import StopRequest

    config = line.only_job
    rundir.check_free(Path(line.run_dir))
    with StopRequest():
        data = training.load_data(config)
    run_dir = _own_directory(line.run_dir, chosen=line.chooses("hydra.run.dir"))
    outcomes: list[training.Outcome] = []

    def job(composed: DictConfig) -> None:
        outcomes.append(training.run(config, run_dir, data))

    _hand_over([*line.words, f"hydra.run.dir={_quoted(run_dir)}"], job)
    console.result(rundir.json_line(outcomes[0].summary))
    if outcomes[0].error is not None:
        raise outcomes[0].error


def _sweep(line: CommandLine) -> None:
    """Many runs; those that fail do not keep the others from running."""
    from seqconv import console, rundir, training

    rundir.check_free(Path(line.sweep_dir))
    for number, job in enumerate(line.jobs):
        if isinstance(job, ConfigError):
            console.say(f"job {number} of the sweep cannot start:\n{job}")
    sweep_dir = _own_directory(line.sweep_dir, chosen=line.chooses("hydra.sweep.dir"))
    os.environ[REPORTING_PROCESS] = str(os.getpid())
    try:
        _hand_over([*line.words, f"hydra.sweep.dir={_quoted(sweep_dir)}"], sweep_job)
    finally:
        del os.environ[REPORTING_PROCESS]
        ended = _read_jobs(sweep_dir)
        for name, metrics in ended.items():
            if sweep_dir / name not in _REPORTED:
                console.result(rundir.json_line(training.summary(metrics, sweep_dir / name)))
    _judge(ended, len(line.jobs))


def sweep_job(composed: DictConfig) -> float:
    """One job of a sweep, in whatever process the launcher runs it.

    Returns:
        The objective; not-a-number if the job failed, which optimizers take for a failed trial.
    """
    from seqconv import console, rundir, training
    from seqconv.config import parse

    sweep = HydraConfig.get().sweep
    run_dir = Path(sweep.dir) / sweep.subdir
    try:
        outcome = training.run(parse(composed), run_dir)
    except ConfigError as error:
        outcome = training.not_started(error, run_dir)
    if os.environ.get(REPORTING_PROCESS) == str(os.getpid()):
        console.result(rundir.json_line(outcome.summary))
        _REPORTED.add(run_dir)
    if outcome.error is not None:
        console.error(outcome.error)
    if isinstance(outcome.error, InterruptedRun):
        # Hydra goes on with the next job after an Exception, but not after this.
        raise SystemExit(outcome.error.exit_code)
    return outcome.objective


# Jobs in this process write their line when they end. Those that a launcher runs elsewhere, where stdout may lead
# nowhere, are read from their directories at the end of the sweep.
REPORTING_PROCESS = "SEQCONV_REPORTING_PROCESS"
_REPORTED: set[Path] = set()


def _read_jobs(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """The `metrics.json` of every job that has one, by directory name."""
    from seqconv import rundir

    paths = sweep_dir.glob(f"*/{rundir.METRICS}")
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(paths)}


def _judge(ended: dict[str, dict[str, Any]], jobs: int) -> None:
    """Raise if a job did not complete, or else if one does not meet its requirements."""
    completed = [name for name, metrics in ended.items() if metrics["status"] == "completed"]
    unmet = [name for name in completed if "error" in ended[name]]
    if len(completed) < jobs:
        raise SweepError(
            f"{jobs - len(completed)} of {jobs} jobs did not complete; the others' results stand"
        )
    if unmet:
        raise RequirementError(
            f"`require` is not met by {len(unmet)} of {jobs} jobs: {', '.join(unmet)}"
        )


def _own_directory(path: str, *, chosen: bool) -> Path:
    """Make a directory that no other run has.

    Args:
        path: what the configuration resolves to.
        chosen: whether the user named it; else it ends in the time, and a later time will do as well.

    Raises:
        OutputError: if it cannot be made, or the chosen one holds something.
    """
    from seqconv import rundir

    target = Path(path)
    while True:
        try:
            return rundir.create(target)
        except FileExistsError:
            if chosen:
                return rundir.claim(target)
            target = target.with_name(f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")


def _quoted(path: Path) -> str:
    """A path as a value that Hydra reads as it is."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _let_hydra_answer(words: Sequence[str]) -> int:
    """Let Hydra print its help, the configuration and the like.

    Only if it cannot do we look for what is wrong, and tell all of it, with the exit code for it.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            _hand_over(words, lambda composed: None)
    except SystemExit as leaving:
        if leaving.code:
            read_command_line(words)
            sys.stderr.write(complaint.getvalue())
            return 2
    sys.stderr.write(complaint.getvalue())
    return 0


def _hand_over(words: Sequence[str], job: Callable[[DictConfig], Any]) -> None:
    """Let Hydra do what it does for any application: `.hydra/`, the log, callbacks, launchers."""
    sys.argv[1:] = words
    hydra.main(version_base="1.3", config_path=CONFIG_MODULE, config_name=CONFIG_NAME)(job)()
