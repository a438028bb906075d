"""The task of a configuration: its dataset is found, read and prepared, and what only the data tells is checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from seqconv import console
from seqconv.config.errors import ConfigError, Problem, did_you_mean
from seqconv.config.registry import DATASETS
from seqconv.config.requirements import DETAILS, MEASURED, Objective, Requirement
from seqconv.config.schema import Config
from seqconv.runs.result import is_number
from seqconv.tasks.contract import EVALUATED, Split, StoredPreparation, Task
from seqconv.tasks.metrics import value_of

# Of what `require` may name, among which one that is meant is looked for.
MOST_NAMES = 2000


def load_task(
    config: Config, stored: StoredPreparation | None = None, *, other_file: bool = False
) -> Task:
    """Find, read, check and prepare the dataset of a configuration. TensorFlow is not needed for it.

    Args:
        config: checked.
        stored: the preparation of a finished run, which is used instead of learning one.
        other_file: whether `dataset.path` is not the file of that run, but to be read as that was.

    Raises:
        DataError: if the data is missing or corrupt.
        ConfigError: if the configuration does not fit it.
    """
    entry = DATASETS.get(config.dataset.name)
    task = entry.build(config.dataset, config.settings, stored, other_file)
    limit, available = config.trainer.evaluation_windows, len(task.samples("validation"))
    if limit is not None and limit < available:
        task = task.with_validation(limit)
        console.info(
            f"validation on {limit:,} of {available:,} samples, evenly spaced (trainer.evaluation_windows)"
        )
    # A finished run has shown that its model fits, and what it was to meet is settled.
    if stored is None:
        check_length(config, task)
    require = config.require if stored is None else ()
    names = [metric.name for metric in task.metrics]
    problems = [
        *_absent_metrics(config.objective, require, names),
        *_absent_details(task, require),
        *_absent_facts(task, require),
        *_absent_baselines(task, require, slow=config.trainer.baselines),
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


def _absent_facts(task: Task, require: Sequence[Requirement]) -> Iterator[Problem]:
    """What is asked of the data that its description does not have."""
    for requirement in require:
        part, _, name = requirement.name.partition(".")
        if part != "dataset":
            continue
        described = task.describe()
        if not is_number(value_of(described, name)):
            known = [key for key, value in described.items() if is_number(value)]
            rule = (
                f"must name a number that `dataset` has in metrics.json, such as {', '.join(known)}"
            )
            yield Problem("require", f"{rule}; received `{requirement.name}`")


def _absent_baselines(
    task: Task, require: Sequence[Requirement], *, slow: bool
) -> Iterator[Problem]:
    """What is asked of baselines that there will not be."""
    known = task.baseline_names(slow=slow)
    for requirement in require:
        part, name, split, *_ = [*requirement.name.split("."), "", ""]
        if part != "baselines" or (name in known and split in EVALUATED):
            continue
        rule = f"must name validation or test of one of {', '.join(known)}"
        if name in task.baseline_names(slow=True) and name not in known:
            rule = f"`{name}` is computed with trainer.baselines=true alone"
        yield Problem("require", f"{rule}; received `{requirement.name}`")


def _absent_parts(config: Config, require: Sequence[Requirement]) -> Iterator[Problem]:
    """What is asked of parts of a result that a run made of others does not have."""
    lacking = {"train", "epochs"} if config.ensemble else set()
    if config.settings.folds_to_run:
        lacking = {"train", "epochs", "timing"}
    speeds = {f"timing.{unit}_per_second" for unit in ("steps", "samples")}
    for requirement in require:
        unknown = config.ensemble and requirement.name in speeds
        if unknown or requirement.name.partition(".")[0] in lacking:
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
