"""One run: a new one, or one that is resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig

from seqconv import console
from seqconv.cli.composed import AUTO
from seqconv.cli.overrides import CommandLine, hand_over
from seqconv.cli.words import quoted
from seqconv.config.errors import ChangedDataError, OutputError, SeqconvError
from seqconv.config.schema import Config
from seqconv.runs import layout, resume
from seqconv.runs.files import json_line
from seqconv.runs.lock import locked
from seqconv.runs.result import Result, summary
from seqconv.runs.tracking.trackers import check_installed
from seqconv.tasks.contract import Task
from seqconv.training import tensorflow_import
from seqconv.training.signals import Signals


def single_run(line: CommandLine) -> None:
    """Start or resume the run that a command line asks for.

    Raises:
        SeqconvError: if it cannot start, or does not end well.
    """
    with Signals() as signals:
        if line.resume is None:
            _new_run(line, signals)
        elif line.resume != AUTO:
            run_dir = Path(os.path.expanduser(line.resume))
            layout.check_own_files(run_dir)
            _resume(line, run_dir, resume.changed_config(run_dir, line.changes), signals)
        elif not _resume_newest(line, signals):
            console.info(
                "resume=auto: no unfinished run of this configuration; a new one is started"
            )
            _new_run(line, signals)


def _new_run(line: CommandLine, signals: Signals) -> None:
    """Its data is read before anything is made, so that a wrong file leaves nothing behind."""
    layout.check_free(Path(line.run_dir))
    task = _load_task(line.only_job)
    run_dir = own_directory(line.run_dir, chosen=line.chooses("hydra.run.dir"))
    with locked(run_dir):
        # Another process may have had it in the meantime, from its beginning to its end.
        layout.check_free(run_dir)
        _start(line.words, line.only_job, run_dir, task, None, signals)


def _load_task(config: Config) -> Task:
    # First of all: TensorFlow is imported beside everything else.
    tensorflow_import.begin(config)
    from seqconv.training.load import load_task

    return load_task(config)


def own_directory(path: str, *, chosen: bool) -> Path:
    """Make a directory that no other run has.

    Args:
        path: what the configuration resolves to.
        chosen: whether the user named it; else it ends in the time, and a later time will do as well.

    Raises:
        OutputError: if it cannot be made, or the chosen one holds something.
    """
    target = Path(path)
    while True:
        try:
            return layout.create(target)
        except FileExistsError:
            if chosen:
                return layout.claim(target)
            target = target.with_name(f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")


def _resume_newest(line: CommandLine, signals: Signals) -> bool:
    """Resume the newest unfinished run of this configuration that no other process has; whether there was one."""
    for run_dir in _candidates(line):
        try:
            _resume(line, run_dir, line.only_job, signals)
        except OutputError as error:
            if line.chooses("hydra.run.dir"):
                raise
            console.info(str(error))
        except ChangedDataError as error:
            # A run of another file is none of this command line's.
            if line.chooses("hydra.run.dir") or not resume.has_other_path(run_dir, line.only_job):
                raise
            console.info(f"{run_dir}: {error}")
        else:
            return True
    return False


def _candidates(line: CommandLine) -> Iterator[Path]:
    """Run directories, newest first; one chosen on the command line is the only one, and may be finished already."""
    run_dir = Path(line.run_dir)
    if not line.chooses("hydra.run.dir"):
        yield from resume.unfinished(run_dir.parent, line.only_job)
    elif resume.is_same(run_dir, line.only_job):
        yield run_dir


def _resume(line: CommandLine, run_dir: Path, config: Config, signals: Signals) -> None:
    """Resume a run, or report its result where nothing is left to do."""
    check_installed(config)
    layout.check_own_files(run_dir)
    with locked(run_dir):
        point = resume.find_resume_point(run_dir)
        result = resume.finished(run_dir, config, point)
        if result is None or resume.has_other_path(run_dir, config):
            # Where a finished run's file is elsewhere, it must hold the same data.
            task = _load_task(config)
            point.check_data(task.name, task.fingerprint)
        if result is not None:
            return _report_finished(result, config, run_dir)
        # `.hydra/` is the record of the run's first start.
        words = [*line.words, "hydra.output_subdir=null"]
        _start(words, config, run_dir, task, point, signals)


def _report_finished(result: Result, config: Config, run_dir: Path) -> None:
    """Write the line of a run that has nothing left to train; its requirements may be new."""
    from seqconv.training.outcome import check_requirements

    console.info(f"{run_dir}: nothing is left to train; a larger trainer.epochs would continue")
    error = check_requirements(config.require, result)
    console.result(json_line(summary(result, run_dir)))
    if error is not None:
        raise error


def _start(
    words: list[str],
    config: Config,
    run_dir: Path,
    task: Task,
    point: resume.ResumePoint | None,
    signals: Signals,
) -> None:
    """Let Hydra start the run, write its line for scripts, raise its error."""
    from seqconv.sweeps.members import run_side_by_side
    from seqconv.training import folds
    from seqconv.training.outcome import Outcome, reported

    outcomes: list[Outcome] = []
    failures: list[SeqconvError] = []

    def job(composed: DictConfig) -> None:
        # Hydra would show a traceback and end with 1.
        try:
            outcome = folds.start(
                config,
                run_dir,
                task,
                resume_point=point,
                signals=signals,
                run_members=run_side_by_side,
            )
        except (SeqconvError, OSError) as error:
            failures.append(reported(error, signals))
        else:
            outcomes.append(outcome)

    try:
        # What a signal raises inside Hydra would show a traceback. The run itself knows where signals are safe.
        with signals.held():
            hand_over([*words, f"hydra.run.dir={quoted(str(run_dir))}"], job)
    except SystemExit:
        signals.check()
        raise
    for failure in failures:
        raise failure
    (outcome,) = outcomes
    console.result(json_line(outcome.summary))
    if outcome.error is not None:
        raise outcome.error
