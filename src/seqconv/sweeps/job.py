"""One job of a sweep, in whatever process a launcher runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from seqconv import console
from seqconv.config.errors import ConfigError, Problem, SeqconvError
from seqconv.config.requirements import Objective, read_objective
from seqconv.config.schema import Config, parse
from seqconv.runs import layout, resume
from seqconv.runs.files import json_line
from seqconv.runs.lock import locked
from seqconv.tasks.metrics import (
    CLASSIFICATION_METRICS,
    FORECAST_METRICS,
    LOSS,
    SCALED_METRICS,
)
from seqconv.training.signals import Signals

ALL_METRICS = (LOSS, *FORECAST_METRICS, *SCALED_METRICS, *CLASSIFICATION_METRICS)

SECONDS_TO_SAVE = 60


@dataclass
class SweepJob:
    """What Hydra calls for each job, in whatever process its launcher runs it.

    Attributes:
        pending: words of each job that is to be run.
        labels: of jobs by number, for people.
        words: of all jobs by number.
        configs: of all jobs, or why one cannot start.
        sweep_dir: of the sweep.
        reported: directories of jobs whose lines for scripts are written.
        reports: whether a job's line is written as soon as it ends.
        error: what kept the launcher from its work; raised when Hydra has returned.
        process: that made this object.
    """

    pending: Sequence[Sequence[str]]
    labels: Mapping[int, str]
    words: Mapping[int, list[str]] = field(default_factory=dict)
    configs: Sequence[Config | ConfigError] = ()
    sweep_dir: Path = Path()
    reported: set[Path] = field(default_factory=set)
    reports: bool = True
    error: SeqconvError | None = None
    process: int = field(default_factory=os.getpid)

    def launch_jobs(self, launcher: Any) -> None:
        """Let a launcher run the jobs."""
        if not self.pending:
            return
        try:
            launcher.launch(self.pending, initial_job_idx=0)
        except SeqconvError as error:
            self.error = error
        except OSError as error:
            self.error = SeqconvError(
                f"{error.filename or 'the launcher'}: {error.strerror or error}"
            )
        except Exception as error:
            # Such as a cluster that is not there.
            name = f"{type(launcher).__module__}.{type(launcher).__name__}"
            reason = f"{type(error).__name__}: {error}"
            problem = Problem("hydra/launcher", f"{name} cannot run the jobs ({reason})")
            self.error = ConfigError([problem])

    def search(
        self, launcher: Any, config: DictConfig, arguments: Sequence[str], plan: Mapping[str, Any]
    ) -> None:
        """Let Optuna choose the jobs, and a launcher run them."""
        from seqconv.sweeps.search import Search, search

        def launch(shared: list[str], jobs: Mapping[int, list[str]]) -> None:
            self.labels = {number: " ".join(words) for number, words in jobs.items()}
            self.pending = [
                [*shared, *words, *place_of(number, sweep_dir)] for number, words in jobs.items()
            ]
            self.launch_jobs(launcher)
            if self.error is not None:
                raise self.error

        sweep_dir = Path(config.hydra.sweep.dir)
        try:
            objective = read_objective(str(config.objective), ALL_METRICS)
            larger = isinstance(objective, Objective) and objective.larger_is_better
            search(
                Search(**plan, larger_is_better=larger),
                OverridesParser.create().parse_overrides(list(arguments)),
                sweep_dir,
                launch,
            )
        except SeqconvError as error:
            self.error = error

    def halve(self, launcher: Any, plan: Mapping[str, Any]) -> None:
        """Let many jobs begin, and the best go on."""
        from seqconv.sweeps.halving import Halving, halve

        def launch(jobs: Mapping[int, list[str]]) -> None:
            self.pending = [
                [*words, *place_of(number, self.sweep_dir)] for number, words in jobs.items()
            ]
            self.launch_jobs(launcher)
            if self.error is not None:
                raise self.error

        # A job ends several times; its line for scripts is the last one.
        self.reports = False
        try:
            objective, epochs = self._shared()
            full = Halving(
                **plan,
                epochs=epochs,
                objective=objective.name,
                larger_is_better=objective.larger_is_better,
            )
            halve(full, self.words, self.sweep_dir, launch)
        except SeqconvError as error:
            self.error = error

    def _shared(self) -> tuple[Objective, int]:
        """What all jobs must have in common to be chosen among.

        Raises:
            ConfigError: if they have not.
        """
        known = [config for config in self.configs if isinstance(config, Config)]
        problems = []
        if any(config.trainer.schedule == "cosine" for config in known):
            rule = "cosine depends on the number of epochs, which halving changes; use constant or plateau"
            problems.append(Problem("trainer.schedule", rule))
        if len({config.trainer.epochs for config in known}) > 1:
            problems.append(Problem("trainer.epochs", "must be the same in all jobs of halving"))
        if len({config.objective for config in known}) > 1:
            problems.append(Problem("objective", "must be the same in all jobs of halving"))
        if problems:
            raise ConfigError(problems)
        return known[0].objective, known[0].trainer.epochs

    def label_of(self, number: int, words: Sequence[str]) -> str:
        """What a job is called."""
        return self.labels.get(number, " ".join(words))

    def __call__(self, composed: DictConfig) -> float:
        """Run the job, or resume it.

        Returns:
            The objective; not-a-number if the job failed, which optimizers take for a failed trial.

        Raises:
            SystemExit: after a signal.
        """
        place = HydraConfig.get().sweep
        run_dir = Path(place.dir) / place.subdir
        # The sweep is ours, so only a job of one whose process was killed may have it, and is about to save and end.
        with locked(run_dir, patience=SECONDS_TO_SAVE), Signals() as signals:
            outcome = self._run(composed, run_dir, signals)
        if os.getpid() == self.process and self.reports:
            self.reported.add(run_dir)
            console.result(json_line(outcome.summary))
        if outcome.error is not None:
            console.error(outcome.error)
        # Also for one that came too late for this job; but not for `trainer.max_time`, which is each job's own.
        if signals.number is not None:
            raise SystemExit(128 + signals.number)
        return float(outcome.objective)

    @staticmethod
    def _run(composed: DictConfig, run_dir: Path, signals: Signals) -> Any:
        from seqconv.training import run as training

        try:
            config = parse(composed)
            if not is_begun(run_dir):
                return _start(config, run_dir, None, signals)
            layout.check_own_files(run_dir)
            point = resume.find_resume_point(run_dir)
            result = resume.finished(run_dir, config, point)
            if result is not None:
                return training.Outcome(result, run_dir)
            return _start(config, run_dir, point, signals)
        except SeqconvError as error:
            return training.not_started(error, run_dir)


def place_of(number: int, sweep_dir: Path) -> list[str]:
    """The words that give a job the directory of its number, whatever place it has among those to run."""
    # `.hydra/` is the record of a run's first start.
    record = ["hydra.output_subdir=null"] if is_begun(sweep_dir / str(number)) else []
    return [f"hydra.sweep.subdir='{number}'", *record]


def is_begun(run_dir: Path) -> bool:
    """Whether a job has come so far that it can be resumed."""
    path = run_dir / layout.CONFIG
    return path.is_file() and path.stat().st_size > 0


def _start(
    config: Config, run_dir: Path, point: resume.ResumePoint | None, signals: Signals
) -> Any:
    from seqconv.training import folds
    from seqconv.training import run as training

    if config.settings.folds_to_run:
        return folds.run_folds(config, run_dir, training.load_task(config), signals=signals)
    if point is None:
        return training.run(config, run_dir, signals=signals)
    task = training.load_task(config)
    point.check_data(task.name, task.fingerprint)
    return training.run(config, run_dir, task, resume_point=point, signals=signals)
