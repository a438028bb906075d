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
from seqconv.config.schema import Config, member_configs, to_yaml
from seqconv.runs import layout, report
from seqconv.runs.checkpoints import Checkpoint, CheckpointStore
from seqconv.runs.files import write_json, write_text
from seqconv.runs.progress import Progress
from seqconv.runs.result import (
    ModelResult,
    ObjectiveResult,
    Result,
    Timing,
)
from seqconv.runs.resume import ResumePoint, find_resume_point, finished
from seqconv.tasks.contract import Task
from seqconv.tasks.metrics import value_of
from seqconv.training import tensorflow_import
from seqconv.training.predictor import member_name, model_variables, restore_members
from seqconv.training.run import (
    Outcome,
    build_predictor,
    check_requirements,
    evaluate,
    finish,
    record_environment,
    run,
)
from seqconv.training.signals import Signals

Member: TypeAlias = tuple[Config, Path]
"""A configuration, and the directory of its run."""
RunMembers: TypeAlias = Callable[[Sequence[Member], int, Signals], list[Outcome]]
# Of a result: what a member's says of itself alone.
OF_A_MEMBER = ("status", "seed", "epochs", "objective", "train", "validation", "timing", "test")


def run_in_turn(members: Sequence[Member], threads: int, signals: Signals) -> list[Outcome]:
    """Run members one after the other in this process, up to the first that does not complete."""
    outcomes: list[Outcome] = []
    for number, member in enumerate(members, start=1):
        console.info(f"member {number} of {len(members)}")
        outcomes.append(run_member(*member, signals))
        if outcomes[-1].error is not None:
            break
    return outcomes


def run_member(config: Config, run_dir: Path, signals: Signals) -> Outcome:
    """Run a member, resume it, or take its result where nothing is left to do."""
    return run_part(
        config, run_dir, lambda point: run(config, run_dir, resume_point=point, signals=signals)
    )


def run_part(
    config: Config, run_dir: Path, start: Callable[[ResumePoint | None], Outcome]
) -> Outcome:
    """The outcome of one of the runs that a run is made of.

    Args:
        config: of the part.
        run_dir: of the part; need not exist.
        start: starts or resumes it; not called where nothing is left to do.
    """
    point = None
    if (run_dir / layout.CONFIG).is_file():
        point = find_resume_point(run_dir)
        result = finished(run_dir, config, point)
        if result is not None:
            console.info(f"{run_dir}: is finished")
            return Outcome(result, run_dir)
    run_dir.mkdir(exist_ok=True)
    return start(point)


def run_ensemble(
    config: Config,
    run_dir: Path,
    task: Task,
    *,
    signals: Signals | None = None,
    run_members: RunMembers = run_in_turn,
) -> Outcome:
    """Run the members of a configuration, each in `member_<number>` below `run_dir`, and join them.

    Args:
        config: of an ensemble.
        run_dir: of this run alone, locked by the caller.
        task: prepared.
        signals: where the caller listens for signals already.
        run_members: runs or resumes them.
    """
    with contextlib.ExitStack() as listening:
        signals = signals or listening.enter_context(Signals())
        with signals.held():
            return _run(config, run_dir, task, signals, run_members)


def _run(
    config: Config, run_dir: Path, task: Task, signals: Signals, run_members: RunMembers
) -> Outcome:
    write_text(run_dir / layout.CONFIG, to_yaml(config))
    configs = member_configs(config)
    members = [
        (member, run_dir / member_name(number)) for number, member in enumerate(configs, start=1)
    ]
    outcomes = run_members(members, config.threads, signals)
    results = [outcome.result for outcome in outcomes]
    result = Result(seed=config.seed, members=[_brief(each) for each in results])
    error = _first_error(members, outcomes)
    if error is None:
        try:
            with signals.raised():
                _join(
                    config,
                    run_dir,
                    task,
                    result,
                    [outcome.run_dir for outcome in outcomes],
                    signals,
                )
            result.timing = _timing(results)
            result.status = "completed"
            report.show_members(task, [each.seed for each in configs], results)
            report.show_results(task, f"mean of {len(members)}", result)
            error = check_requirements(config.require, result)
        except InterruptedRun as stopped:
            error = stopped
    if error is not None and result.status != "completed":
        result.status = "interrupted" if isinstance(error, InterruptedRun) else "failed"
    console.info(f"run directory {run_dir}")
    return finish(result, run_dir, error)


def _brief(result: Result) -> dict[str, object]:
    """What a member's result says of itself alone: data and baselines are those of the ensemble."""
    return {name: value for name, value in result.to_json().items() if name in OF_A_MEMBER}


def _first_error(members: Sequence[Member], outcomes: Sequence[Outcome]) -> SeqconvError | None:
    """Why a member did not complete, with its number; None if all did."""
    interrupted: SeqconvError | None = None
    for number, ((config, _), outcome) in enumerate(zip(members, outcomes, strict=False), start=1):
        error = outcome.error
        if isinstance(error, InterruptedRun):
            # Perhaps since another one failed.
            interrupted = error
        elif error is not None:
            error.args = (f"member {number} (seed={config.seed}) did not complete: {error}",)
            return error
    return interrupted


def _join(
    config: Config,
    run_dir: Path,
    task: Task,
    result: Result,
    member_dirs: Sequence[Path],
    signals: Signals,
) -> None:
    """Make one checkpoint of the members' best ones, and measure it."""
    result.dataset = task.describe()
    tensorflow_import.finish()
    tensorflow_import.use_threads(config.threads)
    stores = [CheckpointStore(path / layout.CHECKPOINTS) for path in member_dirs]
    with tensorflow_import.deterministic_operations(not config.trainer.jit_compile):
        predictor = build_predictor(config, task)
        restore_members(predictor.model, [store.load("best") for store in stores])
        write_json(run_dir / layout.PREPARATION, task.preparation.to_json())
        record_environment(run_dir, None)
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


def _timing(results: Sequence[Result]) -> Timing:
    """What the members took, one after the other."""
    seconds = [each.timing.fit_seconds for each in results if each.timing is not None]
    return Timing(fit_seconds=sum(seconds), steps_per_second=None, samples_per_second=None)
