"""Evaluating a finished run, or one in progress, again: from its directory and the data alone. Nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqconv import console
from seqconv.config.errors import ConfigError, DataError, FileError, Problem
from seqconv.config.schema import Config, parse_tree
from seqconv.runs import display
from seqconv.runs.progress import Progress
from seqconv.runs.result import read_result
from seqconv.runs.significance import differences
from seqconv.tasks.contract import EVALUATED, Json, Predicted, SampleErrors, Split, Task
from seqconv.training import tensorflow_import
from seqconv.training.averaged import average, other_samples, require_alike
from seqconv.training.load import load_task
from seqconv.training.run import build_predictor
from seqconv.training.tensorflow_import import deterministic_operations
from seqconv.training.trained import TrainedRun, load_run


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a run's best checkpoint.

    Attributes:
        run_dir: of the run.
        status: as in its `metrics.json`; None while it is in progress, or if it was killed.
        epoch: whose weights were evaluated; None for an ensemble, whose members have one each.
        model: name.
        task: that was evaluated on.
        metrics: by split; of data other than the run's own there is `test` alone, all of it.
        baselines: as in `metrics.json`.
        differences: as in `metrics.json`.
        members: of an average of runs, each one's directory and metrics by split; else empty.
    """

    run_dir: Path
    status: str | None
    epoch: int | None
    model: str
    task: Task
    metrics: dict[Split, dict[str, Json]]
    baselines: dict[str, dict[str, Json]]
    differences: dict[str, dict[str, Json]]
    members: list[dict[str, Json]]

    def to_json(self) -> dict[str, Json]:
        """The line for scripts; parts have the names they have in `metrics.json`."""
        return {
            "run_dir": str(self.run_dir),
            "status": self.status,
            "epoch": self.epoch,
            "dataset": self.task.describe(),
            **{str(split): metrics for split, metrics in self.metrics.items()},
            "baselines": self.baselines,
            "differences": self.differences,
            **({"members": self.members} if self.members else {}),
        }


def evaluate_run(run_dir: Path, data: str | None = None, others: Sequence[Path] = ()) -> Evaluation:
    """Measure the best checkpoint of a run, and its baselines, again; or the average of several runs.

    Args:
        run_dir: of a run in whatever state, also beside the process that trains it.
        data: a file or folder to read instead of the one in `config.yaml`. Where it holds the run's own data, by its
            fingerprint, the run's splits are evaluated, else all of it.
        others: directories of runs that predict the same; baselines and settings are those of the first.

    Raises:
        OutputError: if it is no run directory, or no epoch has been finished.
        ConfigError: if its configuration is none of this version, or the runs do not go together.
        DataError: if the data or a file of the run is missing, corrupt or does not fit.
    """
    runs = [load_run(each) for each in (run_dir, *others)]
    require_alike(runs)
    tasks = [_load_task(run, data) for run in runs]
    splits = _splits_of_all(runs, tasks)
    (task, predicted), *further = [
        (task, _predict(run, task, splits)) for run, task in zip(runs, tasks, strict=True)
    ]
    members = []
    if further:
        members = [
            {"run_dir": str(run.run_dir), **_measured(*found)}
            for run, found in zip(runs, [(task, predicted), *further], strict=True)
        ]
        names = [run.run_dir for run in runs]
        predicted = {
            split: average(task.loss, [found, *(other[split] for _, other in further)], names)
            for split, found in predicted.items()
        }
        own = "validation" in predicted
        task = task.calibrated(predicted["validation"]) if own else task.uncalibrated()
    config = runs[0].settings
    result = read_result(run_dir)
    baselines = task.baselines(slow=config.trainer.baselines)
    progress = Progress.from_json(runs[0].checkpoint.state.get("progress"))
    return Evaluation(
        run_dir=run_dir,
        status=None if result is None else result.status,
        epoch=None if config.ensemble is not None else progress.best_epoch,
        model=f"mean of {len(runs)}" if further else config.model.name,
        task=task,
        metrics=_measured(task, predicted),
        baselines={name: found.metrics for name, found in baselines.items()},
        differences=differences(task.sample_errors(predicted["test"]), baselines),
        members=members,
    )


def _load_task(trained: TrainedRun, data: str | None) -> Task:
    """The task of a run, on its own data or on another file.

    Raises:
        DataError: if the data is missing or corrupt, or the run's own has changed.
    """
    config, stored = trained.settings, trained.preparation
    if data is not None:
        config = _with_path(config, data)
    tensorflow_import.begin(config)
    try:
        task = load_task(config, stored, other_file=data is not None)
    except ConfigError as error:
        if data is None:
            raise
        # The configuration has served the run, so it is the data that is wrong.
        raise DataError(f"{data}: {'; '.join(each.message for each in error.problems)}") from error
    except FileError as error:
        section = config.tree["dataset"]
        named = "path" in section and section["path"] is not None
        if data is not None or not named or Path(section["path"]).expanduser().is_absolute():
            raise
        raise FileError(
            f"{error}. The run names its data from the folder in which it was started: start there, or name the file "
            "after the run directory"
        ) from error
    if data is None and not _is_own(trained, task):
        raise DataError(
            f"{task.name}: the data has changed since the run was trained (fingerprint {stored.fingerprint} then, "
            f"{task.fingerprint} now). To evaluate the run on other data, name its file after the run directory"
        )
    return task


def _is_own(trained: TrainedRun, task: Task) -> bool:
    """Whether a task is of the data that the run was trained on; of other data all is test."""
    return task.fingerprint == trained.preparation.fingerprint


def _splits_of_all(runs: Sequence[TrainedRun], tasks: Sequence[Task]) -> Sequence[Split]:
    """The splits on which runs are evaluated: of data that is new to them all is test.

    Raises:
        ConfigError: if data is new to one and not to another, or their samples are not the same.
    """
    own = list(map(_is_own, runs, tasks))
    if len(set(own)) > 1:
        known, new = runs[own.index(True)].run_dir, runs[own.index(False)].run_dir
        rule = (
            f"runs that are averaged are evaluated on the same samples; {known} was trained on this data, {new} was "
            "not. Give data that is new to both"
        )
        raise ConfigError([Problem("--with", rule)])
    splits: Sequence[Split] = EVALUATED if own[0] else ("test",)
    for run, task in zip(runs[1:], tasks[1:], strict=True):
        # Rows of tables are compared by their targets too; a text's number says nothing in other data.
        is_text = not run.serving().scalings
        same = all(np.array_equal(task.ids(split), tasks[0].ids(split)) for split in splits)
        if is_text:
            same &= task.fingerprint == tasks[0].fingerprint
        if not same:
            raise other_samples(run.run_dir, runs[0].run_dir)
    return splits


def _predict(trained: TrainedRun, task: Task, splits: Sequence[Split]) -> dict[Split, Predicted]:
    """What a run's best checkpoint predicts of each split."""
    config = trained.settings
    tensorflow_import.finish()
    with deterministic_operations(not config.trainer.jit_compile):
        predictor = build_predictor(config, task)
        predictor.restore(trained.checkpoint)
        return {split: predictor.predict(task.samples(split)) for split in splits}


def _measured(task: Task, predicted: dict[Split, Predicted]) -> dict[Split, dict[str, Json]]:
    """The metrics of each split, and of the test what is no single number."""
    return {
        split: task.measure(split, found) | (task.details(found) if split == "test" else {})
        for split, found in predicted.items()
    }


def test_errors(run_dir: Path) -> SampleErrors:
    """The errors of a run's best checkpoint on each of its test samples.

    Raises:
        SeqconvError: as `evaluate_run`.
    """
    trained = load_run(run_dir)
    task = _load_task(trained, None)
    return task.sample_errors(_predict(trained, task, ("test",))["test"])


def _with_path(config: Config, data: str) -> Config:
    """The configuration with another file.

    Raises:
        ConfigError: if the dataset reads none.
    """
    dataset = dict(config.tree["dataset"])
    if "path" not in dataset:
        raise ConfigError(
            [Problem("FILE", f"the dataset `{config.dataset.name}` reads no file; leave it out")]
        )
    return parse_tree({**config.tree, "dataset": {**dataset, "path": data}})


def show_evaluation(evaluation: Evaluation) -> None:
    """The table of an evaluation, for people."""
    task = evaluation.task
    display.show_data(task, task.describe())
    display.show_metrics(
        task,
        evaluation.model,
        evaluation.metrics,
        evaluation.baselines,
        evaluation.differences,
        task.describe(),
    )
    if evaluation.members:
        each = [(str(member["run_dir"]), member) for member in evaluation.members]
        display.show_averaged(task, "averaged", "run", each)
        return
    state = evaluation.status or "in progress, or killed"
    weights = (
        "the members, each at its best"
        if evaluation.epoch is None
        else f"epoch {evaluation.epoch}, the best so far"
    )
    console.info(f"weights of {weights}; the run is {state}")
