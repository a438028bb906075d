"""The story of one run: data, model, fit, best checkpoint, figures, record."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqconv import baselines, console, reporting, rundir
from seqconv.checkpoints import CheckpointStore
from seqconv.config import Config, Requirement, to_yaml
from seqconv.errors import (
    DataError,
    DivergedError,
    InterruptedRun,
    RequirementError,
    SeqconvError,
)
from seqconv.loading import LOADING
from seqconv.loop import Training
from seqconv.registry import DATASETS, MODELS
from seqconv.resuming import Resumption
from seqconv.stopping import StopRequest

# Of the output folder: full, over the quota, turned read-only, broken.
DISK_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

log = logging.getLogger("seqconv")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        metrics: as in `metrics.json`.
        run_dir: where everything is.
        error: why it did not end well; None if it did.
    """

    metrics: dict[str, Any]
    run_dir: Path
    error: SeqconvError | None = None

    @property
    def objective(self) -> float:
        """The value that optimizers are told; not-a-number if the run did not complete."""
        value = self.metrics.get("objective", {}).get("value")
        return float("nan") if value is None or self.metrics["status"] != "completed" else value

    @property
    def summary(self) -> dict[str, Any]:
        """The line for scripts."""
        return summary(self.metrics, self.run_dir)


def summary(metrics: dict[str, Any], run_dir: Path) -> dict[str, Any]:
    """The line for scripts: where the run is, how it ended, and its headline figures."""
    headline = {
        f"{split}_{name}": value
        for split in ("validation", "test")
        for name, value in metrics.get(split, {}).items()
        if isinstance(value, int | float)
    }
    return {
        "run_dir": str(run_dir),
        "status": metrics["status"],
        "objective": metrics.get("objective"),
        **headline,
    }


def not_started(error: SeqconvError, run_dir: Path) -> Outcome:
    """The outcome of a job that has a directory, but a configuration that it cannot start with."""
    return _finish({"status": "failed"}, run_dir, error)


def load_data(config: Config) -> Any:
    """Find, read and check the dataset of a configuration. TensorFlow is not needed for it.

    Raises:
        DataError: if the data is missing or corrupt.
        ConfigError: if the configuration does not fit it.
    """
    return DATASETS.get(config.dataset.name).build(config.dataset, config.task)


def run(
    config: Config,
    run_dir: Path,
    data: Any = None,
    *,
    place: Resumption | None = None,
    stop: StopRequest | None = None,
) -> Outcome:
    """Train as configured and leave everything in `run_dir`, which exists and is locked by the caller.

    Errors are returned, not raised, and are in `metrics.json` too: a job of a sweep does not end the others.

    Args:
        config: checked.
        run_dir: of this run alone.
        data: from `load_data`, where it was loaded already.
        place: where to go on; None: a new run.
        stop: where the caller listens for signals already.
    """
    metrics: dict[str, Any] = {"status": "failed", "seed": config.seed}
    error: SeqconvError | None = None
    with contextlib.ExitStack() as listening:
        stop = stop or listening.enter_context(StopRequest())
        stop.limit(config.trainer.max_time)
        try:
            _train(config, run_dir, data or load_data(config), metrics, stop, place)
            # What is left takes no time, and shall not be cut short.
            stop.deferred = True
            metrics["status"] = "completed"
            error = check_requirements(config.require, metrics)
        except (Exception, KeyboardInterrupt) as failure:
            stop.deferred = True
            error = _told(failure, stop)
            metrics["status"] = {InterruptedRun: "interrupted", DivergedError: "diverged"}.get(
                type(error), "failed"
            )
        return _finish(metrics, run_dir, error)


def _told(failure: BaseException, stop: StopRequest) -> SeqconvError:
    """What went wrong, as it is told."""
    if isinstance(failure, KeyboardInterrupt):
        return InterruptedRun(signal.SIGINT, "stopped at once by a second signal")
    if isinstance(failure, SeqconvError):
        return failure
    if stop.number is not None:
        # Libraries that are broken off in the middle make other errors of it.
        return InterruptedRun(stop.number)
    if isinstance(failure, OSError) and failure.errno in DISK_FAILURES:
        return SeqconvError(f"{failure.filename or 'the output folder'}: {failure.strerror}")
    return _unexpected(failure)


def _finish(metrics: dict[str, Any], run_dir: Path, error: SeqconvError | None) -> Outcome:
    """Write `metrics.json`, the last file of a run, and say what is kept."""
    if error is not None:
        metrics["error"] = {"message": str(error), "exit_code": error.exit_code}
    if metrics["status"] != "completed":
        last = _last_checkpoint(run_dir)
        if last is not None:
            metrics["checkpoint"] = str(last)
            console.say(f"last good checkpoint: {last}")
        if isinstance(error, InterruptedRun):
            console.say(f"go on with: seqconv-train resume={run_dir}")
    try:
        rundir.write_json(run_dir / rundir.METRICS, metrics)
    except OSError as failure:
        console.say(f"{run_dir / rundir.METRICS}: cannot be written ({failure.strerror})")
        error = error or SeqconvError(
            f"{run_dir}: the results cannot be written ({failure.strerror})"
        )
        metrics["status"] = "failed" if metrics["status"] == "completed" else metrics["status"]
    return Outcome(metrics, run_dir, error)


def _last_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint that the run could go on from; it was complete when it was pointed to."""
    folder = run_dir / rundir.CHECKPOINTS
    try:
        name = CheckpointStore(folder).pointers().get("last") if folder.is_dir() else None
    except (DataError, OSError):
        return None
    return folder / name if name else None


def _train(
    config: Config,
    run_dir: Path,
    data: Any,
    metrics: dict[str, Any],
    stop: StopRequest,
    place: Resumption | None,
) -> None:
    """Fill `metrics` step by step, so that what was reached is there when a step fails."""
    # First of all, and whole: with it the run can be gone on with.
    stop.deferred = True
    rundir.write_text(run_dir / rundir.CONFIG, to_yaml(config))
    stop.deferred = False
    stop.check_signal()
    reporting.show_start(config, run_dir)
    metrics["dataset"] = data.describe()
    reporting.show_data(metrics["dataset"])
    rundir.write_json(run_dir / rundir.PREPARATION, data.preparation())

    model = build_model(config, data)
    metrics["model"] = {"name": config.model.name, "parameters": model.count_params()}
    reporting.show_model(model)
    record_environment(run_dir, place)

    training = Training(
        config,
        data,
        model,
        checkpoints=CheckpointStore(run_dir / rundir.CHECKPOINTS, config.trainer.keep),
        stop=stop,
        record_epoch=lambda record: append_line(run_dir / rundir.EPOCHS, record),
    )
    if place is not None:
        go_on(training, place, run_dir)
    try:
        progress = training.fit()
    finally:
        record_progress(metrics, training)
    # All is saved: a signal may break off anything from here on, and a run that is gone on with repeats it.
    stop.deferred = False
    stop.check()
    # Only now, since they delay the first step by seconds.
    metrics["baselines"] = baselines.baselines_of(data, slow=config.trainer.baselines)
    training.restore_weights(training.checkpoints.load("best"))
    # Validation figures are in the history; only the details that texts have must be computed again.
    for split in ("validation", "test") if data.has_details else ("test",):
        metrics[split] = training.evaluate(split, details=True)
    metrics["objective"] = {"name": config.objective.name, "value": progress.best}

    reporting.draw_pictures(config, metrics, progress, run_dir)
    reporting.show_results(config, data, metrics)
    console.say(f"run directory {run_dir}")


def go_on(training: Training, place: Resumption, run_dir: Path) -> None:
    """Put a training where the run was, and its directory too: what came after that place is gone.

    Raises:
        DataError: if the checkpoint belongs to another model.
    """
    for note in place.notes:
        console.say(note)
    if place.checkpoint is not None:
        training.restore(place.checkpoint, place.progress)
    console.say(f"going on from {place.place}")
    (run_dir / rundir.METRICS).unlink(missing_ok=True)
    known = training.checkpoints.names()
    best = place.progress.best_name
    training.checkpoints.rewind(
        place.progress.name if place.checkpoint is not None else None,
        best if best in known else None,
    )
    lines = [rundir.json_line(record) + "\n" for record in place.progress.history]
    rundir.write_text(run_dir / rundir.EPOCHS, "".join(lines))


def record_environment(run_dir: Path, place: Resumption | None) -> None:
    """Write `environment.json`; a run that is gone on with keeps the first one and adds to its `resumed`."""
    now = rundir.environment(device_names())
    path = run_dir / rundir.ENVIRONMENT
    first = rundir.read_json(path) if place is not None else None
    if place is not None and first is not None:
        if first.get("packages") != now["packages"]:
            console.say(
                "versions of packages differ from those the run was started with: so may its last digits"
            )
        resumed = first.get("resumed")
        now = {
            **first,
            "resumed": [
                *(resumed if isinstance(resumed, list) else []),
                {**now, "from": place.place},
            ],
        }
    rundir.write_json(path, now)


def build_model(config: Config, data: Any) -> Any:
    """The Keras model, seeded. From here on TensorFlow is needed."""
    LOADING.finish()
    import keras
    import tensorflow as tf

    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    # TensorFlow's own sums of a gradient over tokens, for one, have another order each time without it. A step that is
    # compiled as a whole does not need it on a CPU, and XLA refuses the gradient of a maximum pooling under it.
    if not config.trainer.jit_compile:
        tf.config.experimental.enable_op_determinism()
    return MODELS.get(config.model.name).build(config.model, data.spec)


def check_requirements(
    requirements: tuple[Requirement, ...], metrics: dict[str, Any]
) -> RequirementError | None:
    """Record in `metrics` whether each requirement holds; an error that names those that do not."""
    failed = []
    results = []
    for requirement in requirements:
        value: Any = metrics
        for part in requirement.name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        met = isinstance(value, int | float) and requirement.holds(value)
        results.append({"condition": str(requirement), "value": value, "met": met})
        if not met:
            failed.append(f"require={requirement} is not met: {requirement.name} is {value}")
    if results:
        metrics["require"] = results
    return RequirementError("; ".join(failed)) if failed else None


def record_progress(metrics: dict[str, Any], training: Training) -> None:
    """What was reached, whether or not the training came to its end."""
    progress = training.progress
    metrics["epochs"] = {"completed": progress.completed, "best": progress.best_epoch}
    metrics["objective"] = {"name": training.config.objective.name, "value": progress.best}
    if progress.best_epoch:
        best = progress.history[progress.best_epoch - 1]
        metrics["train"] = {name: best[name] for name in best if f"val_{name}" in best}
        metrics["validation"] = {
            name.removeprefix("val_"): value
            for name, value in best.items()
            if name.startswith("val_")
        }
    # Speed as of this process: one that only repeats the last evaluation has none.
    in_steps = training.seconds_in_steps or float("nan")
    metrics["timing"] = {
        "fit_seconds": progress.fit_seconds + progress.epoch_seconds,
        "steps_per_second": training.steps_done / in_steps,
        "samples_per_second": training.steps_done * training.config.batch_size / in_steps,
    }


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add the record of an epoch to `metrics.jsonl`."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(rundir.json_line(record) + "\n")


def device_names() -> list[str]:
    """The devices that TensorFlow sees."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices()]


def _unexpected(failure: BaseException) -> SeqconvError:
    """A failure that is ours to mend: the traceback goes to people and to the log."""
    text = "".join(traceback.format_exception(failure))
    console.say(text.rstrip())
    wrapped = SeqconvError(f"unexpected {type(failure).__name__}: {failure}")
    if isinstance(failure, KeyboardInterrupt):
        wrapped.exit_code = 130
    return wrapped
