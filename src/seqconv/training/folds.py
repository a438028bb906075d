"""Rolling-origin evaluation: a run for each fold, in a directory of its own, and what they have in common."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from seqconv import console
from seqconv.config.errors import SeqconvError
from seqconv.config.schema import Config, fold_configs
from seqconv.runs import display, layout
from seqconv.runs.result import ObjectiveResult, Result, Status
from seqconv.runs.resume import ResumePoint
from seqconv.tasks.contract import Json, Task
from seqconv.training.ensemble import RunMembers, run_ensemble
from seqconv.training.load import load_task
from seqconv.training.outcome import Outcome, check_requirements, finish, not_started
from seqconv.training.parts import begin, changed_meanwhile, own_part, run_part
from seqconv.training.run import record_environment, run
from seqconv.training.signals import Signals


def start(
    config: Config,
    run_dir: Path,
    task: Task | None = None,
    *,
    resume_point: ResumePoint | None = None,
    signals: Signals | None = None,
    run_members: RunMembers,
) -> Outcome:
    """Start or resume a run: several folds, an ensemble, or one training.

    Args:
        config: checked.
        run_dir: of this run alone, locked by the caller.
        task: prepared, of folds the first one's; None: it is loaded here.
        resume_point: where to resume; None: a new run.
        signals: where the caller listens for signals already.
        run_members: runs the members of an ensemble.

    Raises:
        DataError: if the data has changed since a fold or a member was started.
    """
    if not config.settings.folds_to_run and config.ensemble is None:
        return run(config, run_dir, task, resume_point=resume_point, signals=signals)
    run_parts = run_folds if config.settings.folds_to_run else run_ensemble
    return run_parts(
        config,
        run_dir,
        task or load_task(config),
        resume_point=resume_point,
        signals=signals,
        run_members=run_members,
    )


def run_folds(
    config: Config,
    run_dir: Path,
    task: Task,
    *,
    resume_point: ResumePoint | None = None,
    signals: Signals | None = None,
    run_members: RunMembers,
) -> Outcome:
    """Run the folds of a configuration that are not finished, each in `fold-<number>` below `run_dir`.

    Args:
        config: with folds.
        run_dir: of this run alone, locked by the caller.
        task: of the first fold, for its metrics.
        resume_point: where to resume; None: a new run.
        signals: where the caller listens for signals already.
        run_members: runs the members of an ensemble.

    Raises:
        DataError: if the data has changed since a fold was started.
    """
    configs = fold_configs(config)
    places = [run_dir / layout.fold_name(1 + index) for index in range(len(configs))]
    begin(config, run_dir, places, task)
    results: list[Result] = []
    status: Status = "failed"
    error: SeqconvError | None = None
    for number, (fold, place) in enumerate(zip(configs, places, strict=True), start=1):
        console.info(f"fold {number} of {len(configs)}")
        outcome = _run_fold(fold, place, signals, run_members)
        status, error = outcome.result.status, outcome.error
        if status == "completed" and _fingerprint(outcome.result) != task.fingerprint:
            status, error = "failed", changed_meanwhile(task.name, place)
            break
        results.append(outcome.result)
        if error is not None:
            break
    result = mean_of(results)
    result.seed, result.status = config.seed, status
    if error is None:
        record_environment(run_dir, resume_point)
        display.show_folds(task, config.model.name, results, result)
        error = check_requirements(config.require, result)
    console.info(f"run directory {run_dir}")
    return finish(result, run_dir, error)


def _run_fold(
    config: Config, run_dir: Path, signals: Signals | None, run_members: RunMembers
) -> Outcome:
    """Run a fold, resume it, or take its result where nothing is left to do."""

    def start_it(point: ResumePoint | None) -> Outcome:
        try:
            return start(
                config, run_dir, resume_point=point, signals=signals, run_members=run_members
            )
        except SeqconvError as error:
            # What a fold of an ensemble reads is read before it begins; the folds before it stand.
            return not_started(error, run_dir)

    with own_part(run_dir):
        return run_part(config, run_dir, start_it)


def _fingerprint(result: Result) -> Json:
    """That of the data of a run."""
    return (result.dataset or {}).get("fingerprint")


def mean_of(results: Sequence[Result]) -> Result:
    """The result of a run of several folds: means of what is a number in each, and their standard deviations."""
    done = [result for result in results if result.status == "completed"]
    found = Result(folds=[result.in_short() for result in results])
    if not done:
        return found
    first = done[0]
    found.dataset, found.model = first.dataset, first.model
    found.train = _over([result.train for result in done], statistics.fmean)
    found.validation = _over([result.validation for result in done], statistics.fmean)
    found.test = _over([result.test for result in done], statistics.fmean)
    found.baselines = _over([result.baselines for result in done], statistics.fmean)
    objectives = [result.objective.value for result in done if result.objective is not None]
    known = [value for value in objectives if value is not None]
    if first.objective is not None and known:
        found.objective = ObjectiveResult(name=first.objective.name, value=statistics.fmean(known))
    if len(done) > 1:
        found.spread = {
            "validation": _over([result.validation for result in done], statistics.stdev),
            "test": _over([result.test for result in done], statistics.stdev),
            "baselines": _over([result.baselines for result in done], statistics.stdev),
        }
    return found


def _over(values: Sequence[Json], function: Callable[[list[float]], float]) -> Json:
    """A function of what stands at the same place in each; what is no finite number in all of them is left out."""
    first = values[0]
    if isinstance(first, dict):
        parts = {
            key: _over([each.get(key) for each in values], function)
            for key in first
            if all(isinstance(each, dict) for each in values)
        }
        return {key: part for key, part in parts.items() if part is not None}
    numbers = [each for each in values if isinstance(each, int | float) and math.isfinite(each)]
    return function(numbers) if len(numbers) == len(values) else None
