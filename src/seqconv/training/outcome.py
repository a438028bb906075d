"""How a run ends: its status and its error, what was required of it, and `metrics.json`, the last file it writes."""

from __future__ import annotations

import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqconv import console
from seqconv.config.errors import (
    DISK_FAILURES,
    DataError,
    DivergedError,
    InterruptedRun,
    RequirementError,
    SeqconvError,
)
from seqconv.config.requirements import Requirement
from seqconv.runs import layout
from seqconv.runs.checkpoints import CheckpointStore
from seqconv.runs.result import (
    ErrorResult,
    RequirementResult,
    Result,
    Status,
    summary,
    write_result,
)
from seqconv.runs.tracking.trackers import Trackers
from seqconv.tasks.contract import Json
from seqconv.training.signals import Signals


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        result: as in `metrics.json`.
        run_dir: where everything is.
        error: why it did not end well; None if it did.
    """

    result: Result
    run_dir: Path
    error: SeqconvError | None = None

    @property
    def objective(self) -> float:
        """The value for optimizing sweepers; not-a-number if the run did not complete."""
        found = self.result.objective
        if found is None or found.value is None or self.result.status != "completed":
            return float("nan")
        return found.value

    @property
    def summary(self) -> dict[str, Json]:
        """The line for scripts."""
        return summary(self.result, self.run_dir)


def not_started(error: SeqconvError, run_dir: Path) -> Outcome:
    """The outcome of a job that has a directory, but came to no training."""
    return finish(Result(status=status_of(error)), run_dir, error)


def check_requirements(
    requirements: tuple[Requirement, ...], result: Result
) -> RequirementError | None:
    """Record in the result whether each requirement is met; an error that names those that are not."""
    if not requirements:
        return None
    failed = []
    result.require = []
    for requirement in requirements:
        value = result.value(requirement.name)
        met = isinstance(value, int | float) and requirement.holds(value)
        result.require.append(RequirementResult(condition=str(requirement), value=value, met=met))
        if not met:
            failed.append(f"require={requirement} is not met: {requirement.name} is {value}")
    return RequirementError("; ".join(failed)) if failed else None


def status_of(error: SeqconvError) -> Status:
    """What `metrics.json` says of a run that ended with an error."""
    statuses: dict[Any, Status] = {InterruptedRun: "interrupted", DivergedError: "diverged"}
    return statuses.get(type(error), "failed")


def reported(failure: BaseException, signals: Signals) -> SeqconvError:
    """What went wrong, as it is reported."""
    if isinstance(failure, KeyboardInterrupt):
        return InterruptedRun(signal.SIGINT, "stopped at once by a second signal")
    if isinstance(failure, SeqconvError):
        return failure
    # Before a signal: what it asked to save was not saved.
    if isinstance(failure, OSError) and failure.errno in DISK_FAILURES:
        return SeqconvError(f"{failure.filename or 'the output folder'}: {failure.strerror}")
    if signals.number is not None:
        # Libraries that are broken off in the middle make other errors of it.
        return InterruptedRun(signals.number)
    # Ours to mend: the traceback goes to people and to the log.
    console.info("".join(traceback.format_exception(failure)).rstrip())
    return SeqconvError(f"unexpected {type(failure).__name__}: {failure}")


def finish(
    result: Result, run_dir: Path, error: SeqconvError | None, trackers: Trackers | None = None
) -> Outcome:
    """Write `metrics.json`, the last file of a run, and say what is kept.

    Args:
        result: with its status.
        run_dir: of the run.
        error: why it did not end well; None if it did.
        trackers: that its end is sent to.
    """
    if error is not None:
        result.error = ErrorResult(message=str(error), exit_code=error.exit_code)
    if result.status != "completed":
        last = _last_checkpoint(run_dir)
        if last is not None:
            result.checkpoint = str(last)
            console.info(f"last good checkpoint: {last}")
        if isinstance(error, InterruptedRun):
            console.info(f"resume with: seqconv-train resume={run_dir}")
    try:
        write_result(run_dir, result)
    except OSError as failure:
        console.info(f"{run_dir / layout.METRICS}: cannot be written ({failure.strerror})")
        error = error or SeqconvError(
            f"{run_dir}: the results cannot be written ({failure.strerror})"
        )
        result.status = "failed" if result.status == "completed" else result.status
    if trackers is not None:
        trackers.end(result)
    return Outcome(result, run_dir, error)


def _last_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint that the run could be resumed from; it was complete when it was pointed to."""
    folder = run_dir / layout.CHECKPOINTS
    try:
        name = CheckpointStore(folder).pointers().get("last")
    except (DataError, OSError):
        return None
    return folder / name if name else None
