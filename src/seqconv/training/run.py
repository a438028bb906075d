"""The story of one run: task, model, fit, best checkpoint, metrics, record."""

from __future__ import annotations

import contextlib
import errno
import signal
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from seqconv import console
from seqconv.config.errors import (
    ConfigError,
    DataError,
    DivergedError,
    InterruptedRun,
    Problem,
    RequirementError,
    SeqconvError,
    did_you_mean,
)
from seqconv.config.registry import DATASETS, MODELS
from seqconv.config.requirements import DETAILS, MEASURED, Objective, Requirement
from seqconv.config.schema import Config, to_yaml
from seqconv.runs import display, layout
from seqconv.runs.checkpoints import CheckpointStore
from seqconv.runs.environment import environment
from seqconv.runs.files import json_line, read_json, write_json, write_text
from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import (
    EpochsResult,
    ErrorResult,
    ModelResult,
    ObjectiveResult,
    RequirementResult,
    Result,
    Status,
    Timing,
    summary,
    write_result,
)
from seqconv.runs.resume import ResumePoint
from seqconv.runs.significance import differences
from seqconv.runs.tracking.trackers import Trackers, trackers_of
from seqconv.tasks.contract import Json, Predicted, Split, StoredPreparation, Task
from seqconv.tasks.metrics import nested
from seqconv.training import memory, tensorflow_import
from seqconv.training.loop import Training
from seqconv.training.predictor import Predictor, build_model
from seqconv.training.signals import Signals

# Of what `require` may name, among which one that is meant is looked for.
MOST_NAMES = 2000
# Of the output folder: full, over the quota, turned read-only, broken.
DISK_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


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
    return finish(Result(status=_status(error)), run_dir, error)


def load_task(config: Config, stored: StoredPreparation | None = None) -> Task:
    """Find, read, check and prepare the dataset of a configuration. TensorFlow is not needed for it.

    Args:
        config: checked.
        stored: the preparation of a finished run, which is used instead of learning one.

    Raises:
        DataError: if the data is missing or corrupt.
        ConfigError: if the configuration does not fit it.
    """
    task = DATASETS.get(config.dataset.name).build(config.dataset, config.settings, stored)
    limit, available = config.trainer.evaluation_windows, len(task.samples("validation"))
    if limit is not None and limit < available:
        task = task.with_validation(limit)
        console.info(
            f"validation on {limit:,} of {available:,} samples, evenly spaced (trainer.evaluation_windows)"
        )
    check_length(config, task)
    # What a finished run was to meet is settled.
    require = config.require if stored is None else ()
    names = [metric.name for metric in task.metrics]
    problems = [
        *_absent_metrics(config.objective, require, names),
        *_absent_details(task, require),
        *_absent_parts(config, require),
    ]
    if problems:
        raise ConfigError(problems)
    return task


def _absent_metrics(
    objective: Objective, require: Sequence[Requirement], names: Sequence[str]
) -> Iterator[Problem]:
    """What is asked of metrics that there are not with several targets or leads."""
    if objective.metric not in names:
        known = ", ".join(f"val_{name}" for name in names)
        yield Problem(
            "objective",
            f"must be one of {known} with several targets or leads; received `{objective.name}`",
        )
    for requirement in require:
        part, _, metric = requirement.name.partition(".")
        if part in MEASURED and metric.partition(".")[0] not in DETAILS and metric not in names:
            known = ", ".join(f"{part}.{name}" for name in names)
            rule = f"must name one of {known}, or of {part}.targets, with several targets or leads"
            yield Problem("require", f"{rule}; received `{requirement.name}`")


def _absent_details(task: Task, require: Sequence[Requirement]) -> Iterator[Problem]:
    """What is asked of targets, leads, levels or classes that there are not."""
    for requirement in require:
        part, _, detail = requirement.name.partition(".")
        if part in MEASURED and detail.partition(".")[0] in DETAILS:
            known = list(task.detail_names(cast(Split, part)))
            if detail not in known:
                kind = detail.partition(".")[0]
                alike = [name for name in known if name.partition(".")[0] == kind]
                hint = did_you_mean(detail, alike[:MOST_NAMES])
                has = f"such as `{part}.{alike[0]}`" if alike else f"and there are no {kind}"
                rule = f"must name a number of the results, {has}; received `{requirement.name}`.{hint}"
                yield Problem("require", rule)


def _absent_parts(config: Config, require: Sequence[Requirement]) -> Iterator[Problem]:
    """What is asked of parts of a result that a run made of others does not have."""
    lacking = {"train", "epochs"} if config.ensemble else set()
    if config.settings.folds_to_run:
        lacking = {"train", "epochs", "timing"}
    for requirement in require:
        if requirement.name.partition(".")[0] in lacking:
            rule = "must name what the whole of an ensemble or of folds has, such as validation or test"
            yield Problem("require", f"{rule}; received `{requirement.name}`")


def check_length(config: Config, task: Task) -> None:
    """Check what only the data tells: that a window is long enough for the model, and that it has what it needs.

    Raises:
        ConfigError: if it is not.
    """
    key = config.settings.length_key
    problems = [
        Problem(f"model.{found.key}", found.message)
        for found in (
            *config.model.length_problems(task.spec.time, key),
            *config.model.shape_problems(task.spec),
        )
    ]
    if problems:
        raise ConfigError(problems)


def run(
    config: Config,
    run_dir: Path,
    task: Task | None = None,
    *,
    resume_point: ResumePoint | None = None,
    signals: Signals | None = None,
) -> Outcome:
    """Train as configured and leave everything in `run_dir`, which exists and is locked by the caller.

    Errors are returned, not raised, and are in `metrics.json` too: a job of a sweep does not end the others.

    Args:
        config: checked.
        run_dir: of this run alone.
        task: from `load_task`, where that was done already.
        resume_point: where to resume; None: a new run.
        signals: where the caller listens for signals already.
    """
    result = Result(seed=config.seed)
    error: SeqconvError | None = None
    trackers = trackers_of(config, run_dir, resume_point.progress.history if resume_point else ())
    with contextlib.ExitStack() as listening:
        signals = signals or listening.enter_context(Signals())
        signals.limit(config.trainer.max_time)
        with signals.held():
            try:
                _train(config, run_dir, task, result, signals, resume_point, trackers)
                result.status = "completed"
                error = check_requirements(config.require, result)
            except (Exception, KeyboardInterrupt) as failure:
                error = reported(failure, signals)
                result.status = _status(error)
            return finish(result, run_dir, error, trackers)


def _train(
    config: Config,
    run_dir: Path,
    task: Task | None,
    result: Result,
    signals: Signals,
    point: ResumePoint | None,
    trackers: Trackers,
) -> None:
    """Fill `result` step by step, so that what was reached is there when a step fails."""
    # First of all, and whole: with it the run can be resumed.
    write_text(run_dir / layout.CONFIG, to_yaml(config))
    with signals.raised():
        display.show_start(config, run_dir)
        task = task or load_task(config)
        result.dataset = task.describe()
        display.show_data(task, result.dataset)
        write_json(run_dir / layout.PREPARATION, task.preparation.to_json())
        # Before TensorFlow is configured.
        tensorflow_import.finish()
    tensorflow_import.use_threads(config.threads)
    with tensorflow_import.deterministic_operations(not config.trainer.jit_compile):

        def record(finished: EpochRecord) -> None:
            append_line(run_dir / layout.EPOCHS, finished)
            trackers.epoch(finished)

        with signals.raised():
            predictor = build_predictor(config, task)
            result.model = ModelResult(
                name=config.model.name, parameters=predictor.model.count_params()
            )
            if point is None or point.checkpoint is None:
                adapt(config, predictor, task)
            display.show_device(tensorflow_import.device_names(), config.threads)
            display.show_model(predictor.model)
            record_environment(run_dir, point)
            training = Training(
                config,
                task,
                predictor,
                checkpoints=CheckpointStore(run_dir / layout.CHECKPOINTS, config.trainer.keep),
                signals=signals,
                record_epoch=record,
            )
        training.checkpoints.prepare()
        if point is not None:
            resume(training, point, run_dir)
        trackers.start(training.progress.history)
        with _recorded(result, training), memory.kept():
            training.fit()
        # All is saved: a signal may break off anything from here on, and a run that is resumed repeats it.
        with signals.raised():
            signals.check()
            predictor.restore(training.checkpoints.load("best"))
            evaluate(config, task, predictor, result, run_dir, signals, training.best_validation)
            display.draw_history(task, config.model.name, result, training.progress, run_dir)
            display.show_results(task, config.model.name, result)
    console.info(f"run directory {run_dir}")


def build_predictor(config: Config, task: Task) -> Predictor:
    """The model of a configuration for a task, untrained."""
    model = build_model(config, task.spec)
    return Predictor(model, task.spec, task.loss, config.model.padding_rule())


def adapt(config: Config, predictor: Predictor, task: Task) -> None:
    """Give a new model what is counted in the training samples, before its first step; a checkpoint has it."""
    entry = MODELS.get(config.model.name)
    if entry.adapt is not None:
        entry.adapt(config.model, predictor.model, task.samples("train"))


def evaluate(
    config: Config,
    task: Task,
    predictor: Predictor,
    result: Result,
    run_dir: Path,
    signals: Signals,
    validated: Predicted | None = None,
) -> None:
    """Baselines, and the validation and test splits by the weights of the best checkpoint.

    Args:
        config: of the run.
        task: prepared.
        predictor: with those weights.
        result: filled.
        run_dir: of the run.
        signals: asked between batches.
        validated: what those weights have predicted of the validation split already.
    """
    # Only now, since they would delay the first step by seconds.
    baselines = task.baselines(slow=config.trainer.baselines)
    result.baselines = {name: found.metrics for name, found in baselines.items()}
    if validated is None:
        validated = predictor.predict(task.samples("validation"), signals.check)
    task = task.calibrated(validated)
    write_json(run_dir / layout.PREPARATION, task.preparation.to_json())
    predicted = predictor.predict(task.samples("test"), signals.check)
    measured = task.measure("test", predicted)
    result.test = {**measured, **task.details(predicted)}
    result.differences = differences(task.sample_errors(predicted), baselines)
    known = result.validation or {}
    if measured.keys() - known.keys():
        # The history holds single numbers; those of each target and lead are measured again.
        result.validation = {**task.measure("validation", validated), **known}
    task.draw(run_dir, predicted, display.picture_title(task, config.model.name, result))


def resume(training: Training, point: ResumePoint, run_dir: Path) -> None:
    """Put a training where the run was, and its directory too: what came after that point is removed.

    Raises:
        DataError: if the checkpoint belongs to another model.
    """
    for note in point.notes:
        console.info(note)
    if point.checkpoint is not None:
        training.restore(point.checkpoint, point.progress)
    console.info(f"resuming from {point}")
    (run_dir / layout.METRICS).unlink(missing_ok=True)
    best = point.progress.best_name
    training.checkpoints.rewind(
        point.progress.name if point.checkpoint is not None else None,
        best if best in training.checkpoints.names() else None,
    )
    lines = [json_line(record.to_json()) + "\n" for record in point.progress.history]
    write_text(run_dir / layout.EPOCHS, "".join(lines))


def record_environment(run_dir: Path, point: ResumePoint | None) -> None:
    """Write `environment.json`; a run that is resumed keeps the first one and adds to its `resumed`."""
    now = environment(tensorflow_import.device_names())
    path = run_dir / layout.ENVIRONMENT
    first = read_json(path) if point is not None else None
    if first is not None:
        if _differ(first.get("packages"), now["packages"]):
            console.info(
                "versions of packages differ from those the run was started with: so may its last digits"
            )
        resumed = first.get("resumed")
        earlier = resumed if isinstance(resumed, list) else []
        now = {**first, "resumed": [*earlier, {**now, "from": str(point)}]}
    write_json(path, now)


def _differ(earlier: Json, now: Mapping[str, Json]) -> bool:
    """Whether a package has another version; an earlier record may lack some."""
    known = earlier if isinstance(earlier, dict) else {}
    return any(name in known and known[name] != version for name, version in now.items())


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


@contextlib.contextmanager
def _recorded(result: Result, training: Training) -> Iterator[None]:
    """Record what was reached in a block, whether or not the training came to its end."""
    try:
        yield
    finally:
        progress, objective = training.progress, training.config.objective
        result.epochs = EpochsResult(completed=progress.completed, best=progress.best_epoch)
        result.objective = ObjectiveResult(name=objective.name, value=progress.best)
        if (best := progress.best_record) is not None:
            result.train, result.validation = nested(best.training), nested(best.validation)
        # Speed as of this process: one that only repeats the last evaluation has none.
        seconds = training.seconds_in_steps
        result.timing = Timing(
            fit_seconds=progress.fit_seconds + progress.epoch_seconds,
            steps_per_second=training.steps_done / seconds if seconds else None,
            samples_per_second=training.samples_done / seconds if seconds else None,
        )


def append_line(path: Path, record: EpochRecord) -> None:
    """Add a finished epoch to `metrics.jsonl`."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json_line(record.to_json()) + "\n")


def _status(error: SeqconvError) -> Status:
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
        trackers: that are told of its end.
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
