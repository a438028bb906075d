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
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seqconv.composing import (
    AUTO,
    CONFIG_MODULE,
    CONFIG_NAME,
    CommandLine,
    asks_hydra,
    read_command_line,
)
from seqconv.errors import (
    ConfigError,
    RequirementError,
    SeqconvError,
    SweepError,
)

if TYPE_CHECKING:
    from seqconv.config import Config
    from seqconv.resuming import Resumption
    from seqconv.stopping import StopRequest


def main() -> None:
    """The command of this process, as `seqconv.start` lets it begin."""
    from seqconv.loading import LOADING

    LOADING.expect_own_process()
    try:
        exit_code = run_command(sys.argv[1:])
    except BaseException:
        if not LOADING.under_way:
            raise
        if sys.stderr is not None:
            traceback.print_exc()
        exit_code = 1
    LOADING.leave(exit_code)


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
    """One run, new or gone on with."""
    from seqconv import resuming
    from seqconv.stopping import StopRequest

    with StopRequest() as stop:
        if line.resume not in (None, AUTO):
            run_dir = Path(str(line.resume)).expanduser()
            _go_on(line, run_dir, lambda: resuming.changed_config(run_dir, line.changes), stop)
        elif line.resume != AUTO or not _go_on_with_newest(line, stop):
            _new_run(line, stop)


def _new_run(line: CommandLine, stop: StopRequest) -> None:
    """Its data is read before anything is made, so that a wrong file leaves nothing behind."""
    from seqconv import rundir
    from seqconv.loading import LOADING

    config = line.only_job
    rundir.check_free(Path(line.run_dir))
    LOADING.begin(config)
    from seqconv import training

    data = training.load_data(config)
    run_dir = _own_directory(line.run_dir, chosen=line.chooses("hydra.run.dir"))
    with rundir.locked(run_dir):
        # Another process may have had it in the meantime, from its beginning to its end.
        rundir.check_free(run_dir)
        _run([*line.words, f"hydra.run.dir={_quoted(run_dir)}"], config, run_dir, data, None, stop)


def _go_on_with_newest(line: CommandLine, stop: StopRequest) -> bool:
    """Go on with the newest run of this configuration that needs it and that nobody is working on.

    A directory that was chosen on the command line is the only one looked at, and may be finished already.

    Returns:
        Whether there was one.
    """
    from seqconv import console, resuming
    from seqconv.errors import OutputError

    config, chosen = line.only_job, Path(line.run_dir)
    if line.chooses("hydra.run.dir"):
        candidates = [chosen] if resuming.is_same(chosen, config) else []
    else:
        candidates = list(resuming.unfinished(chosen.parent, config))
    for run_dir in candidates:
        try:
            _go_on(line, run_dir, lambda: config, stop)
        except OutputError as error:
            if line.chooses("hydra.run.dir"):
                raise
            console.say(str(error))
        else:
            return True
    console.say("resume=auto: no unfinished run of this configuration; a new one is started")
    return False


def _go_on(
    line: CommandLine, run_dir: Path, settings: Callable[[], Config], stop: StopRequest
) -> None:
    """Go on with a run, or tell its result where nothing is left to do.

    Args:
        line: its words for Hydra are used.
        run_dir: of the run.
        settings: gives its configuration; called once the directory is known to be whole and ours.
        stop: listens for signals.

    Raises:
        OutputError: if there is no such directory, it leads elsewhere, or another process works on it.
    """
    from seqconv import console, resuming, rundir, training
    from seqconv.loading import LOADING

    config = settings()
    rundir.check_own_files(run_dir)
    with rundir.locked(run_dir):
        place = resuming.find_place(run_dir)
        metrics = resuming.finished(run_dir, config, place)
        if metrics is not None:
            console.say(f"{run_dir}: nothing is left to train; a larger trainer.epochs would go on")
            error = training.check_requirements(config.require, metrics)
            console.result(rundir.json_line(training.summary(metrics, run_dir)))
            if error is not None:
                raise error
            return
        LOADING.begin(config)
        data = training.load_data(config)
        place.check_data(data)
        # Hydra keeps the log; `.hydra/` is the record of the run's first start.
        own = [w for w in line.words if w.partition("=")[0].lstrip("+") != "hydra.run.dir"]
        words = [*own, f"hydra.run.dir={_quoted(run_dir)}", "hydra.output_subdir=null"]
        _run(words, config, run_dir, data, place, stop)


def _run(
    words: Sequence[str],
    config: Config,
    run_dir: Path,
    data: Any,
    place: Resumption | None,
    stop: StopRequest,
) -> None:
    """Let Hydra start the run, write its line for scripts, raise its error."""
    from seqconv import console, rundir, training

    outcomes: list[training.Outcome] = []

    def job(composed: DictConfig) -> None:
        outcomes.append(training.run(config, run_dir, data, place=place, stop=stop))

    # Hydra would make exit code 1 of whatever breaks it off; what it does itself takes a moment.
    stop.deferred = True
    try:
        _hand_over(words, job)
    except SystemExit:
        stop.check()
        raise
    console.result(rundir.json_line(outcomes[0].summary))
    if outcomes[0].error is not None:
        raise outcomes[0].error


def _sweep(line: CommandLine) -> None:
    """Many runs; those that fail do not keep the others from running."""
    from seqconv import console, rundir
    from seqconv.stopping import StopRequest

    rundir.check_free(Path(line.sweep_dir))
    for number, job in enumerate(line.jobs):
        if isinstance(job, ConfigError):
            console.say(f"job {number} of the sweep cannot start:\n{job}")
    # A job listens for signals itself. Between two of them Hydra is at work: it goes on with the next job after an
    # Exception, but not after SystemExit.
    with StopRequest(lambda number: SystemExit(128 + number)) as stop:
        sweep_dir = _own_directory(line.sweep_dir, chosen=line.chooses("hydra.sweep.dir"))
        os.environ[REPORTING_PROCESS] = str(os.getpid())
        try:
            _hand_over([*line.words, f"hydra.sweep.dir={_quoted(sweep_dir)}"], sweep_job)
        except SystemExit:
            stop.check()
            raise
        finally:
            stop.deferred = True
            del os.environ[REPORTING_PROCESS]
            ended = _report_others(sweep_dir)
        stop.check()
    _judge(ended, len(line.jobs))


def _report_others(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """Write the lines of the jobs that did not; the `metrics.json` of all that ended, by directory name."""
    from seqconv import console, rundir, training

    ended = _read_jobs(sweep_dir)
    for name, metrics in ended.items():
        if sweep_dir / name not in _REPORTED:
            console.result(rundir.json_line(training.summary(metrics, sweep_dir / name)))
    return ended


def sweep_job(composed: DictConfig) -> float:
    """One job of a sweep, in whatever process the launcher runs it.

    Returns:
        The objective; not-a-number if the job failed, which optimizers take for a failed trial.
    """
    from seqconv import console, rundir, training
    from seqconv.config import parse
    from seqconv.stopping import StopRequest

    sweep = HydraConfig.get().sweep
    run_dir = Path(sweep.dir) / sweep.subdir
    with rundir.locked(run_dir), StopRequest() as stop:
        try:
            outcome = training.run(parse(composed), run_dir, stop=stop)
        except ConfigError as error:
            outcome = training.not_started(error, run_dir)
    if os.environ.get(REPORTING_PROCESS) == str(os.getpid()):
        _REPORTED.add(run_dir)
        console.result(rundir.json_line(outcome.summary))
    if outcome.error is not None:
        console.error(outcome.error)
    if stop.number is not None:
        # Also one that came too late for this job; but not the end of its own time, which is no signal and says nothing
        # about the others. Hydra goes on with the next one after an Exception, not after this.
        raise SystemExit(128 + stop.number)
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
