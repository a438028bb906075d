"""A sweep: many runs; those that fail do not keep the others from running."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from seqconv import console
from seqconv.cli.overrides import CommandLine, hand_over, quoted
from seqconv.cli.single import own_directory
from seqconv.config.errors import ConfigError, InterruptedRun, RequirementError, SweepError
from seqconv.config.schema import parse
from seqconv.runs import layout
from seqconv.runs.files import json_line
from seqconv.runs.lock import locked
from seqconv.runs.result import Result, read_result, summary
from seqconv.training.signals import Signals


def sweep(line: CommandLine) -> None:
    """Run all jobs.

    Raises:
        SeqconvError: if the sweep cannot start, or a job does not end well.
        InterruptedRun: after a signal.
    """
    layout.check_free(Path(line.sweep_dir))
    for number, job in enumerate(line.jobs):
        if isinstance(job, ConfigError):
            console.info(f"job {number} of the sweep cannot start:\n{job}")
    # A job listens for signals itself. Between two of them Hydra is at work: it starts the next job after an
    # Exception, but not after SystemExit.
    with Signals(error=lambda number: SystemExit(128 + number)) as signals:
        sweep_dir = own_directory(line.sweep_dir, chosen=line.chooses("hydra.sweep.dir"))
        run_job = SweepJob()
        try:
            hand_over([*line.words, f"hydra.sweep.dir={quoted(str(sweep_dir))}"], run_job)
        except SystemExit:
            if signals.number is not None:
                raise InterruptedRun(signals.number) from None
            raise
        finally:
            with signals.held():
                results = run_job.report_others(sweep_dir)
    _judge(results, len(line.jobs))


class SweepJob:
    """What Hydra calls for each job, in whatever process its launcher runs it.

    A job in the process that made this object writes its line for scripts when it ends. Those elsewhere, where stdout
    may lead nowhere, are read from their directories at the end of the sweep.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._reported: set[Path] = set()

    def __call__(self, composed: DictConfig) -> float:
        """Run the job.

        Returns:
            The objective; not-a-number if the job failed, which optimizers take for a failed trial.

        Raises:
            SystemExit: after a signal.
        """
        from seqconv.training import folds
        from seqconv.training import run as training

        place = HydraConfig.get().sweep
        run_dir = Path(place.dir) / place.subdir
        with locked(run_dir), Signals() as signals:
            try:
                config = parse(composed)
                if config.settings.folds_to_run:
                    task = training.load_task(config)
                    outcome = folds.run_folds(config, run_dir, task, signals=signals)
                else:
                    outcome = training.run(config, run_dir, signals=signals)
            except ConfigError as error:
                outcome = training.not_started(error, run_dir)
        if os.getpid() == self._process:
            self._reported.add(run_dir)
            console.result(json_line(outcome.summary))
        if outcome.error is not None:
            console.error(outcome.error)
        # Also for one that came too late for this job; but not for `trainer.max_time`, which is each job's own.
        if signals.number is not None:
            raise SystemExit(128 + signals.number)
        return outcome.objective

    def report_others(self, sweep_dir: Path) -> dict[str, Result]:
        """Write the lines that are missing; all results of the sweep, by directory name."""
        results = {}
        for path in sorted(sweep_dir.glob(f"*/{layout.METRICS}")):
            result = read_result(path.parent)
            if result is None:
                continue
            results[path.parent.name] = result
            if path.parent not in self._reported:
                console.result(json_line(summary(result, path.parent)))
        return results


def _judge(results: dict[str, Result], jobs: int) -> None:
    """Raise if a job did not complete, or else if one does not meet its requirements."""
    completed = [name for name, result in results.items() if result.status == "completed"]
    unmet = [name for name in completed if results[name].error is not None]
    if len(completed) < jobs:
        failed = jobs - len(completed)
        raise SweepError(f"{failed} of {jobs} jobs did not complete; the others' results stand")
    if unmet:
        raise RequirementError(
            f"`require` is not met by {len(unmet)} of {jobs} jobs: {', '.join(unmet)}"
        )
