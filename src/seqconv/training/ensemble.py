"""An ensemble: runs that differ in their seeds, and the one model whose outputs are the means of theirs.

After Lakshminarayanan, Pritzel and Blundell, 2017, "Simple and scalable predictive uncertainty estimation using deep
ensembles".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from seqconv import console
from seqconv.config.errors import InterruptedRun, SeqconvError
from seqconv.config.schema import Config, member_configs
from seqconv.runs import display, layout
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
from seqconv.runs.files import write_json
from seqconv.runs.progress import Progress
from seqconv.runs.result import (
    ModelResult,
    ObjectiveResult,
    Result,
    Timing,
)
from seqconv.runs.resume import ResumePoint
from seqconv.tasks.contract import Task
from seqconv.tasks.metrics import value_of
from seqconv.training import tensorflow_import
from seqconv.training.outcome import Outcome, check_requirements, finish, reported
from seqconv.training.parts import begin, changed_meanwhile, run_part
from seqconv.training.predictor import model_variables, restore_members
from seqconv.training.run import build_predictor, evaluate, record_environment, run
from seqconv.training.signals import Signals

Member: TypeAlias = tuple[Config, Path]
"""A configuration, and the directory of its run."""
RunMembers: TypeAlias = Callable[[Sequence[Member], int, Signals], list[Outcome]]
# Of a result: what a member's says of itself alone.
OF_A_MEMBER = ("status", "seed", "epochs", "objective", "train", "validation", "timing", "test")


def run_member(config: Config, run_dir: Path, signals: Signals) -> Outcome:
    """Run a member, resume it, or take its result where nothing is left to do."""
    return run_part(
        config, run_dir, lambda point: run(config, run_dir, resume_point=point, signals=signals)
    )


def run_ensemble(
    config: Config,
    run_dir: Path,
    task: Task,
    *,
    resume_point: ResumePoint | None = None,
    signals: Signals | None = None,
    run_members: RunMembers,
) -> Outcome:
    """Run the members of a configuration, each in `member_<number>` below `run_dir`, and join them.

    Args:
        config: of an ensemble.
        run_dir: of this run alone, locked by the caller.
        task: prepared.
        resume_point: where to resume; None: a new run.
        signals: where the caller listens for signals already.
        run_members: runs or resumes them.

    Raises:
        DataError: if the data has changed since a member was started.
    """
    members = [
        (member, run_dir / layout.member_name(number))
        for number, member in enumerate(member_configs(config), start=1)
    ]
    begin(config, run_dir, [member_dir for _, member_dir in members], task)
    result = Result(seed=config.seed)
    error: SeqconvError | None = None
    with contextlib.ExitStack() as listening:
        signals = signals or listening.enter_context(Signals())
        signals.limit(config.trainer.max_time)
        with signals.held():
            try:
                outcomes = run_members(members, config.threads, signals)
                result.members = [_brief(outcome.result) for outcome in outcomes]
                _raise_first(members, outcomes)
                with signals.raised():
                    _join(config, members, task, result, resume_point, signals)
                result.timing = _timing(outcomes)
                result.status = "completed"
                _show(task, result, members, outcomes)
                error = check_requirements(config.require, result)
            except (Exception, KeyboardInterrupt) as failure:
                error = reported(failure, signals)
                # A member that has diverged is one that failed: the ensemble itself has no loss.
                result.status = "interrupted" if isinstance(error, InterruptedRun) else "failed"
            console.info(f"run directory {run_dir}")
            return finish(result, run_dir, error)


def _show(
    task: Task, result: Result, members: Sequence[Member], outcomes: Sequence[Outcome]
) -> None:
    each = [
        (str(member.seed), outcome.result.to_json())
        for (member, _), outcome in zip(members, outcomes, strict=True)
    ]
    display.show_averaged(task, "members", "seed", each)
    display.show_results(task, f"mean of {len(members)}", result)


def _brief(result: Result) -> dict[str, object]:
    """What a member's result says of itself alone: data and baselines are those of the ensemble."""
    return {name: value for name, value in result.in_short().items() if name in OF_A_MEMBER}


def _raise_first(members: Sequence[Member], outcomes: Sequence[Outcome]) -> None:
    """Raise why a member did not complete, with its number."""
    interrupted: SeqconvError | None = None
    for number, ((config, _), outcome) in enumerate(zip(members, outcomes, strict=False), start=1):
        error = outcome.error
        if isinstance(error, InterruptedRun):
            # Perhaps since another one failed.
            interrupted = error
        elif error is not None:
            error.args = (f"member {number} (seed={config.seed}) did not complete: {error}",)
            raise error
    if interrupted is not None:
        raise interrupted


def _join(
    config: Config,
    members: Sequence[Member],
    task: Task,
    result: Result,
    resume_point: ResumePoint | None,
    signals: Signals,
) -> None:
    """Make one checkpoint of the members' best ones, in the folder above theirs, and measure it."""
    run_dir = members[0][1].parent
    result.dataset = task.describe()
    tensorflow_import.finish()
    tensorflow_import.use_threads(config.threads)
    stores = [CheckpointStore(member_dir / layout.CHECKPOINTS) for _, member_dir in members]
    with tensorflow_import.deterministic_operations(not config.trainer.jit_compile):
        predictor = build_predictor(config, task)
        checkpoints = [store.load("best") for store in stores]
        for (_, member_dir), checkpoint in zip(members, checkpoints, strict=True):
            if checkpoint.state.get("fingerprint") != task.fingerprint:
                raise changed_meanwhile(task.name, member_dir)
        restore_members(predictor.model, checkpoints)
        write_json(run_dir / layout.PREPARATION, task.preparation.to_json())
        record_environment(run_dir, resume_point)
        progress = Progress()
        state = {"progress": progress.to_json(), "fingerprint": task.fingerprint}
        variables = {k: v.numpy() for k, v in model_variables(predictor.model).items()}
        store = CheckpointStore(run_dir / layout.CHECKPOINTS)
        store.prepare()
        store.save(progress.name, Checkpoint(variables, state), best=True)
        result.model = ModelResult(
            name=config.model.name, parameters=predictor.model.count_params()
        )
        evaluate(config, task, predictor, result, run_dir, signals)
    objective = config.objective
    result.objective = ObjectiveResult(
        name=objective.name, value=value_of(result.validation or {}, objective.metric)
    )


def _timing(outcomes: Sequence[Outcome]) -> Timing:
    """What the members took, one after the other."""
    timings = [outcome.result.timing for outcome in outcomes]
    seconds = [timing.fit_seconds for timing in timings if timing is not None]
    return Timing(fit_seconds=sum(seconds), steps_per_second=None, samples_per_second=None)
