"""Trackers: views of a run in other tools, fed with the records of `metrics.jsonl`. The run directory stays its home.

A tracker is given all epochs each time and shows what it does not show yet, so that one that was out of reach, or a
run that is resumed, needs no other way.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from seqconv import console
from seqconv.config.errors import ConfigError, Problem
from seqconv.config.schema import Config, TrainerConfig
from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import Result
from seqconv.runs.tracking.mlflow import MLflow
from seqconv.runs.tracking.tensorboard import TensorBoard

# An attempt may wait for a server for ten seconds: so they take 2 % of a training at most.
SECONDS_BETWEEN_ATTEMPTS = 600.0
LONGEST_REASON = 300


class Tracker(Protocol):
    """A view of one run. What its methods raise is reported; they are called again with all that was missed.

    Attributes:
        name: of the tool, for people.
    """

    name: str

    def show(self, records: Sequence[EpochRecord]) -> None:
        """Show the run as one that is being trained, with exactly these epochs."""
        ...

    def end(self, records: Sequence[EpochRecord], result: Result) -> None:
        """Show these epochs and how the run ended."""
        ...


class Trackers:
    """The trackers of a run. One that fails is reported once; it neither ends nor changes the training.

    Args:
        trackers: of the run.
        records: the epochs that the run has so far.
    """

    def __init__(self, trackers: Iterable[Tracker] = (), records: Sequence[EpochRecord] = ()):
        self._trackers = tuple(trackers)
        self._records = list(records)
        self._paused_until: dict[str, float] = {}

    def start(self, records: Sequence[EpochRecord]) -> None:
        """Show the run before its first step.

        Args:
            records: the epochs that the training goes on from.
        """
        self._records = list(records)
        self._show()

    def epoch(self, record: EpochRecord) -> None:
        """Show a finished epoch."""
        self._records.append(record)
        self._show()

    def end(self, result: Result) -> None:
        """Show how the run ended; also those that were out of reach are tried again."""
        for tracker in self._trackers:
            try:
                tracker.end(self._records, result)
            except Exception as error:
                console.info(f"{tracker.name} lacks a part of this run ({_reason(error)})")

    def _show(self) -> None:
        for tracker in self._trackers:
            if time.monotonic() < self._paused_until.get(tracker.name, -math.inf):
                continue
            try:
                tracker.show(self._records)
            except Exception as error:
                if tracker.name not in self._paused_until:
                    console.info(
                        f"{tracker.name} cannot show this run ({_reason(error)}). The training goes on; it is tried "
                        "again from time to time, and when the run ends"
                    )
                self._paused_until[tracker.name] = time.monotonic() + SECONDS_BETWEEN_ATTEMPTS


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]


def trackers_of(config: Config, run_dir: Path, records: Sequence[EpochRecord] = ()) -> Trackers:
    """The trackers that a configuration asks for.

    Args:
        config: of the run.
        run_dir: of the run.
        records: the epochs that the run has so far.
    """
    wanted: list[Tracker] = []
    if config.trainer.tensorboard:
        wanted.append(TensorBoard(config, run_dir))
    if config.trainer.mlflow is not None:
        wanted.append(MLflow(config, run_dir, config.trainer.mlflow))
    return Trackers(wanted, records)


def check_installed(config: Config) -> None:
    """Refuse, before anything is made, what cannot be shown for want of a package.

    Raises:
        ConfigError: that names the extras.
    """
    problems = list(_missing(config.trainer))
    if problems:
        raise ConfigError(problems)


def _missing(trainer: TrainerConfig) -> Iterator[Problem]:
    # Not imported: MLflow takes two seconds.
    if trainer.tensorboard and importlib.util.find_spec("tensorboard") is None:
        rule = "needs TensorBoard: pip install 'seqconv[tensorboard]'"
        yield Problem("trainer.tensorboard", rule)
    if trainer.mlflow is not None and importlib.util.find_spec("mlflow") is None:
        yield Problem("trainer.mlflow", "needs MLflow: pip install 'seqconv[mlflow]'")
