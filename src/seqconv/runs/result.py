"""How a run ended: the typed record behind `metrics.json`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard

from seqconv.config.fields import STRICT, read_values
from seqconv.data.files import LARGEST_JSON, parse_json, read_plain
from seqconv.runs.files import read_json, write_json
from seqconv.runs.layout import EPOCHS, METRICS
from seqconv.tasks.contract import Json
from seqconv.tasks.metrics import value_of

Status = Literal["completed", "interrupted", "diverged", "failed"]
# A run that ended so is not run again: the same numbers would come out.
FINAL: tuple[Status, ...] = ("completed", "diverged")


@dataclass(kw_only=True)
class ObjectiveResult:
    """The metric that chose the best epoch, and its value there; None before the first epoch has ended."""

    __pydantic_config__ = STRICT

    name: str
    value: float | None


@dataclass(kw_only=True)
class ModelResult:
    """The model by name and size."""

    __pydantic_config__ = STRICT

    name: str
    parameters: int


@dataclass(kw_only=True)
class EpochsResult:
    """Finished epochs, and the number of the best one, 0 before the first has ended."""

    __pydantic_config__ = STRICT

    completed: int
    best: int


@dataclass(kw_only=True)
class Timing:
    """Speed as of the process that ended the run; None where it has done no step."""

    __pydantic_config__ = STRICT

    fit_seconds: float
    steps_per_second: float | None
    samples_per_second: float | None


@dataclass(kw_only=True)
class RequirementResult:
    """A condition, the value it was compared with, and whether it is met."""

    __pydantic_config__ = STRICT

    condition: str
    value: Json
    met: bool


@dataclass(kw_only=True)
class ErrorResult:
    """Why a run did not end well, and its exit code."""

    __pydantic_config__ = STRICT

    message: str
    exit_code: int


@dataclass(kw_only=True)
class Result:
    """The content of `metrics.json`. What was not reached is None, and absent from the file.

    Attributes:
        status: how the run ended.
        seed: of the run.
        dataset: what `Task.describe` gives.
        model: name and size.
        epochs: how many, and which was best.
        objective: the metric that chose it.
        train: metrics of the best epoch.
        validation: metrics of the best epoch.
        timing: seconds and rates.
        baselines: metrics of what a model must beat, by name and split.
        differences: how much smaller the test errors are than those of each baseline: `mean`, and `low` and `high` of
            its 95 % confidence interval.
        test: metrics and details of the best epoch's checkpoint.
        require: conditions of the configuration.
        error: None if the run ended well.
        checkpoint: the last one, if the run did not complete.
        folds: the result of each fold, where the run is several; the parts above are means over them then.
        members: the result of each member, where the run is an ensemble.
        spread: standard deviations over the folds of `validation`, `test` and `baselines`.
    """

    __pydantic_config__ = STRICT

    status: Status = "failed"
    seed: int | None = None
    dataset: dict[str, Json] | None = None
    model: ModelResult | None = None
    epochs: EpochsResult | None = None
    objective: ObjectiveResult | None = None
    train: dict[str, Json] | None = None
    validation: dict[str, Json] | None = None
    timing: Timing | None = None
    baselines: dict[str, dict[str, Json]] | None = None
    differences: dict[str, dict[str, Json]] | None = None
    test: dict[str, Json] | None = None
    require: list[RequirementResult] | None = None
    error: ErrorResult | None = None
    checkpoint: str | None = None
    folds: list[dict[str, Json]] | None = None
    members: list[dict[str, Json]] | None = None
    spread: dict[str, Json] | None = None

    def to_json(self) -> dict[str, Json]:
        """The content of `metrics.json`."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def in_short(self) -> dict[str, Json]:
        """As it stands in the result of a run made of several: each target and lead is in this run's own file alone."""
        measured = ("train", "validation", "test", "baselines")
        return {
            name: _without_targets(value) if name in measured else value
            for name, value in self.to_json().items()
        }

    @classmethod
    def from_json(cls, value: Json) -> Result:
        """Read a result back.

        Raises:
            ValueError: if it is none.
        """
        return read_values(cls, value)

    def value(self, name: str) -> Json:
        """What stands under a dotted name, such as `test.mae`; None if nothing does."""
        return value_of(self.to_json(), name)


def read_result(run_dir: Path) -> Result | None:
    """The result of a run; None where there is none that can be read. The file is not trusted."""
    content = read_json(run_dir / METRICS)
    try:
        return None if content is None else Result.from_json(content)
    except ValueError:
        return None


def read_epochs(run_dir: Path) -> list[dict[str, Json]]:
    """The finished epochs of a run, a record each; not a line that is being written. The file is not trusted."""
    records = []
    with contextlib.suppress(OSError, ValueError):
        for line in read_plain(run_dir / EPOCHS, largest=LARGEST_JSON).splitlines():
            record = parse_json(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def is_number(value: Json) -> TypeGuard[float]:
    """Whether a value of a file that is not trusted is a finite number; JSON has integers that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def objective_values(records: list[dict[str, Json]], name: str) -> list[float]:
    """The objective of each epoch that has one."""
    return [float(record[name]) for record in records if is_number(record.get(name))]


def baseline_values(result: Result, objective: str) -> dict[str, float]:
    """The objective of each baseline that has it."""
    found: dict[str, float] = {}
    for name, splits in (result.baselines or {}).items():
        metrics = splits.get("validation")
        # Dotted with several targets or leads, `scaled.mae`.
        metric = objective.removeprefix("val_")
        value = value_of(metrics, metric) if isinstance(metrics, dict) else None
        if is_number(value):
            found[name] = float(value)
    return found


def write_result(run_dir: Path, result: Result) -> None:
    """Write `metrics.json`, the last file of a run."""
    write_json(run_dir / METRICS, result.to_json())


def summary(result: Result, run_dir: Path) -> dict[str, Json]:
    """The line for scripts: where the run is, how it ended, and its metrics that are single numbers.

    With several targets or leads these are the loss and what is measured in standard deviations, `scaled`.
    """
    metrics = {
        f"{split}_{name}": value
        for split, values in (("validation", result.validation), ("test", result.test))
        for name, value in _single_numbers(values or {}).items()
    }
    objective = None if result.objective is None else asdict(result.objective)
    return {"run_dir": str(run_dir), "status": result.status, "objective": objective, **metrics}


def _without_targets(values: Json) -> Json:
    if not isinstance(values, dict):
        return values
    return {name: _without_targets(each) for name, each in values.items() if name != "targets"}


def _single_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    scaled = values.get("scaled", {})
    named = {**values, **{f"scaled.{name}": value for name, value in scaled.items()}}
    return {name: value for name, value in named.items() if isinstance(value, int | float)}
