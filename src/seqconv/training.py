"""The story of one run: data, model, fit, best checkpoint, figures, record."""

from __future__ import annotations

import logging
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqconv import baselines, console, reporting, rundir
from seqconv.checkpoints import CheckpointStore
from seqconv.config import Config, Requirement, to_yaml
from seqconv.errors import DivergedError, InterruptedRun, RequirementError, SeqconvError
from seqconv.loop import Training
from seqconv.registry import DATASETS, MODELS
from seqconv.stopping import StopRequest

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


def run(config: Config, run_dir: Path, data: Any = None) -> Outcome:
    """Train as configured and leave everything in `run_dir`, which exists.

    Errors are returned, not raised, and are in `metrics.json` too: a job of a sweep does not end the others.

    Args:
        config: checked.
        run_dir: of this run alone.
        data: from `load_data`, where it was loaded already.
    """
    metrics: dict[str, Any] = {"status": "failed", "seed": config.seed}
    error: SeqconvError | None = None
    with StopRequest() as stop:
        try:
            _train(config, run_dir, data or load_data(config), metrics, stop)
            metrics["status"] = "completed"
            error = check_requirements(config.require, metrics)
        except SeqconvError as failure:
            error = failure
            metrics["status"] = {InterruptedRun: "interrupted", DivergedError: "diverged"}.get(
                type(failure), "failed"
            )
        except (Exception, KeyboardInterrupt) as failure:
            error = _unexpected(failure)
    return _finish(metrics, run_dir, error)


def _finish(metrics: dict[str, Any], run_dir: Path, error: SeqconvError | None) -> Outcome:
    """Write `metrics.json`, the last file of a run."""
    if error is not None:
        metrics["error"] = {"message": str(error), "exit_code": error.exit_code}
    rundir.write_json(run_dir / rundir.METRICS, metrics)
    return Outcome(metrics, run_dir, error)


def _train(
    config: Config, run_dir: Path, data: Any, metrics: dict[str, Any], stop: StopRequest
) -> None:
    """Fill `metrics` step by step, so that what was reached is there when a step fails."""
    rundir.write_text(run_dir / rundir.CONFIG, to_yaml(config))
    reporting.show_start(config, run_dir)
    metrics["dataset"] = data.describe()
    reporting.show_data(metrics["dataset"])
    metrics["baselines"] = baselines.baselines_of(data, slow=config.trainer.baselines)
    rundir.write_json(run_dir / rundir.PREPARATION, data.preparation())

    model = build_model(config, data)
    metrics["model"] = {"name": config.model.name, "parameters": model.count_params()}
    reporting.show_model(model)
    rundir.write_json(run_dir / rundir.ENVIRONMENT, rundir.environment(device_names()))

    training = Training(
        config,
        data,
        model,
        checkpoints=CheckpointStore(run_dir / rundir.CHECKPOINTS, config.trainer.keep),
        stop=stop,
        record_epoch=lambda record: append_line(run_dir / rundir.EPOCHS, record),
    )
    stop.deferred = True
    started = time.perf_counter()
    try:
        progress = training.fit()
    finally:
        record_progress(metrics, training, time.perf_counter() - started)
    training.restore_weights(training.checkpoints.load("best"))
    for split in ("validation", "test"):
        metrics[split] = training.evaluate(split, details=True)
    metrics["objective"] = {"name": config.objective.name, "value": progress.best}

    reporting.draw_pictures(config, metrics, progress, run_dir)
    reporting.show_results(config, data, metrics)
    console.say(f"run directory {run_dir}")


def build_model(config: Config, data: Any) -> Any:
    """The Keras model, seeded. This is where TensorFlow is loaded."""
    # XLA tells of every compilation otherwise; warnings still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    with console.native_notices_in_log():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()  # Looks for a GPU, and says so where it finds none.
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    # Without it the gradient of an embedding is summed in another order each time.
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


def record_progress(metrics: dict[str, Any], training: Training, seconds: float) -> None:
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
    in_steps = training.seconds_in_steps or float("nan")
    metrics["timing"] = {
        "fit_seconds": seconds,
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
