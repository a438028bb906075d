"""One job of a sweep, in whatever process a launcher runs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from seqconv import console
from seqconv.config.errors import ConfigError, OutputError, Problem, SeqconvError, SweepError
from seqconv.config.schema import Config, parse
from seqconv.runs import layout, resume
from seqconv.runs.files import json_line
from seqconv.runs.lock import SECONDS_TO_SAVE, locked
from seqconv.sweeps import cluster
from seqconv.sweeps.manifest import key_of
from seqconv.training.signals import Signals

if TYPE_CHECKING:
    from seqconv.training.outcome import Outcome


@dataclass
class SweepJob:
    """What Hydra calls for each job, in whatever process its launcher runs it.

    Attributes:
        sweep_dir: of the sweep.
        words: of all jobs by number.
        labels: of jobs by number, for people.
        pending: numbers of the jobs that are not done.
        configs: of all jobs, or why one cannot start.
        reported: directories of jobs whose lines for scripts are written.
        reports: whether a job's line is written as soon as it ends.
        stopped: whether a job did not complete, and no other is to start (`sweep.on_failure=stop`).
        error: what kept the launcher from its work; raised when Hydra has returned.
        process: that made this object.
        folder: its working directory, which relative paths of data refer to.
    """

    sweep_dir: Path
    words: Mapping[int, list[str]] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    pending: Sequence[int] = ()
    configs: Sequence[Config | ConfigError] = ()
    reported: set[Path] = field(default_factory=set)
    reports: bool = True
    stopped: bool = False
    error: SeqconvError | None = None
    process: int = field(default_factory=os.getpid)
    folder: Path = field(default_factory=Path.cwd)

    def __getstate__(self) -> dict[str, Any]:
        # Each job's process is sent this object, and needs nothing of the other jobs: 1.5 MB of 1,000.
        of_all: dict[str, Any] = {
            "words": {},
            "labels": {},
            "pending": (),
            "configs": (),
            "reported": set(),
        }
        return {**self.__dict__, **of_all}

    def launch_pending(self, launcher: Any) -> None:
        """Let a launcher run the jobs that are not done."""
        with self._keeping_error():
            self._launch(launcher, {number: self.words[number] for number in self.pending})

    def search(self, launcher: Any, arguments: Sequence[str], plan: Mapping[str, Any]) -> None:
        """Let Optuna choose the jobs, and a launcher run them."""
        from seqconv.sweeps.search import Search, search

        def launch(shared: list[str], jobs: Mapping[int, list[str]]) -> bool:
            self.labels = {number: " ".join(words) for number, words in jobs.items()}
            return self._launch(
                launcher, {number: [*shared, *words] for number, words in jobs.items()}
            )

        # Not from the configuration that Hydra gives a sweeper: it lacks the groups that are searched.
        sample = next(job for job in self.configs if isinstance(job, Config))
        full = Search(
            **plan,
            objective=sample.objective.name,
            larger_is_better=sample.objective.larger_is_better,
            settings=key_of(sample),
        )
        overrides = OverridesParser.create().parse_overrides(list(arguments))
        with self._keeping_error():
            search(full, overrides, self.sweep_dir, launch)

    def halve(self, launcher: Any, plan: Mapping[str, Any]) -> None:
        """Let many jobs begin, and the best go on."""
        from seqconv.sweeps.halving import Halving, halve, in_common

        # A job ends several times; its line for scripts is the last one.
        self.reports = False
        with self._keeping_error():
            objective, epochs = in_common(self.configs)
            full = Halving(
                **plan,
                epochs=epochs,
                objective=objective.name,
                larger_is_better=objective.larger_is_better,
            )
            halve(full, self.words, self.sweep_dir, lambda jobs: self._launch(launcher, jobs))

    @contextmanager
    def _keeping_error(self) -> Iterator[None]:
        """Hydra would show a traceback of what is raised in a sweeper."""
        try:
            yield
        except SeqconvError as error:
            self.error = error

    def _launch(self, launcher: Any, jobs: Mapping[int, Sequence[str]]) -> bool:
        """Run jobs to their ends, each in the directory of its number.

        Returns:
            Whether others may follow.

        Raises:
            SeqconvError: if the launcher cannot.
        """
        if not jobs:
            return True
        words = [[*own, *_place_of(number, self.sweep_dir)] for number, own in jobs.items()]
        before = self._traces(jobs)
        try:
            launcher.launch(words, initial_job_idx=0)
        except SeqconvError:
            raise
        except OSError as error:
            reason = f"{error.filename or 'the launcher'}: {error.strerror or error}"
            raise SeqconvError(reason) from error
        except Exception as error:
            name = f"{type(launcher).__module__}.{type(launcher).__name__}"
            reason = f"{type(error).__name__}: {error}"
            if self._traces(jobs) != before:
                raise SweepError(
                    f"a job ended without a result ({reason}). What else the cluster has of this sweep may go on by "
                    f"itself; when it has ended: the same command with sweep.resume={self.sweep_dir}"
                ) from error
            # Such as a cluster that is not there.
            problem = Problem("hydra/launcher", f"{name} cannot run the jobs ({reason})")
            raise ConfigError([problem]) from error
        return not self.stopped

    def _traces(self, jobs: Iterable[int]) -> list[float | None]:
        """When each job has last written to its log, so that it shows whether one has begun."""
        logs = [self.sweep_dir / str(number) / layout.LOG for number in jobs]
        return [log.stat().st_mtime if log.exists() else None for log in logs]

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
        if os.getpid() != self.process:
            with suppress(OSError):
                os.chdir(self.folder)
        # The sweep is ours, so only a job of one whose process was killed may have it, and is about to save and end.
        with locked(run_dir, patience=SECONDS_TO_SAVE), Signals() as signals:
            outcome = self._run(composed, run_dir, signals)
        if os.getpid() == self.process and self.reports:
            self.reported.add(run_dir)
            console.job_result(json_line(outcome.summary))
        if outcome.error is not None:
            console.error(outcome.error)
        # Also for one that came too late for this job; but not for `trainer.max_time`, which is each job's own.
        if signals.number is not None:
            if signals.number == signal.SIGTERM and cluster.kills_preempted_jobs():
                signal.pause()
            raise SystemExit(128 + signals.number)
        return float(outcome.objective)

    @staticmethod
    def _run(composed: DictConfig, run_dir: Path, signals: Signals) -> Outcome:
        from seqconv.training import outcome

        try:
            config = parse(composed)
            if not layout.is_begun(run_dir):
                return _start(config, run_dir, None, signals)
            layout.check_own_files(run_dir)
            if not resume.is_same(run_dir, config):
                raise OutputError(
                    f"{run_dir}: holds a run of another configuration; move it elsewhere"
                )
            point = resume.find_resume_point(run_dir)
            result = resume.finished(run_dir, config, point)
            if result is not None:
                return outcome.Outcome(result, run_dir)
            # However this process ends, how an earlier one has ended is no longer so.
            (run_dir / layout.METRICS).unlink(missing_ok=True)
            return _start(config, run_dir, point, signals)
        except SeqconvError as error:
            return outcome.not_started(error, run_dir)


def _place_of(number: int, sweep_dir: Path) -> list[str]:
    """The words that give a job the directory of its number, whatever place it has among those to run."""
    # `.hydra/` is the record of a run's first start.
    record = ["hydra.output_subdir=null"] if layout.is_begun(sweep_dir / str(number)) else []
    return [f"hydra.sweep.subdir='{number}'", *record]


def _start(
    config: Config, run_dir: Path, point: resume.ResumePoint | None, signals: Signals
) -> Outcome:
    from seqconv.sweeps.members import run_side_by_side
    from seqconv.training import folds
    from seqconv.training.load import load_task

    task = None
    if point is not None:
        task = load_task(config)
        point.check_data(task.name, task.fingerprint)
    return folds.start(
        config,
        run_dir,
        task,
        resume_point=point,
        signals=signals,
        run_members=run_side_by_side,
    )
