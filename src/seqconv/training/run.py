"""The story of one run: task, model, fit, best checkpoint, metrics, record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqconv import console
from seqconv.config.errors import SeqconvError
from seqconv.config.registry import MODELS
from seqconv.config.schema import Config, to_yaml
from seqconv.runs import display, layout
from seqconv.runs.checkpoints import CheckpointStore
from seqconv.runs.environment import environment
from seqconv.runs.files import json_line, read_json, write_json, write_text
from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import EpochsResult, ModelResult, ObjectiveResult, Result, Timing
from seqconv.runs.resume import ResumePoint
from seqconv.runs.significance import differences
from seqconv.runs.tracking.trackers import Trackers, trackers_of
from seqconv.tasks.contract import Json, Predicted, Task
from seqconv.tasks.metrics import nested
from seqconv.training import memory, tensorflow_import
from seqconv.training.load import load_task
from seqconv.training.loop import Training
from seqconv.training.outcome import Outcome, check_requirements, finish, reported, status_of
from seqconv.training.predictor import Predictor, build_model
from seqconv.training.signals import Signals


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
                result.status = status_of(error)
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
    # What is free now would stay beside what drawing takes.
    memory.give_back()
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
