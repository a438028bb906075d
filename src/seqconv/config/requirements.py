"""What a run is judged by: its objective, and conditions on the finished run."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seqconv.config.errors import Problem, did_you_mean
from seqconv.tasks.contract import Json
from seqconv.tasks.metrics import Metric

COMPARISONS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
# The parts of `metrics.json` that a condition may name; the first three hold metrics.
PARTS = (
    "train",
    "validation",
    "test",
    "baselines",
    "epochs",
    "timing",
    "model",
    "dataset",
    "objective",
)
MEASURED = PARTS[:3]
# What the measured parts hold besides metrics: of targets, leads, levels or classes, whose names the data tells.
DETAILS = ("targets", "interval", "quantiles", "classes")
# Settings of a loss itself: `val_loss` is another number with another value of these.
OF_LOSSES = ("loss", "lead_decay", "quantiles")
# The numbers of the parts that are the same for every run.
NUMBERS = {
    "epochs": ("completed", "best"),
    "timing": ("fit_seconds", "steps_per_second", "samples_per_second"),
    "model": ("parameters",),
    "objective": ("value",),
}
# Columns have names of all kinds: `test.targets.T (degC).mae<2`.
_CONDITION = re.compile(
    r"\s*(?P<name>[A-Za-z_][^<>=]*?)\s*(?P<operator><=|>=|<|>)\s*(?P<bound>[-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The validation metric that chooses the best epoch.

    Attributes:
        name: as in `metrics.jsonl`, `val_loss`.
        larger_is_better: whether it is made large.
    """

    name: str
    larger_is_better: bool

    @property
    def metric(self) -> str:
        """The metric's name, without `val_`."""
        return self.name.removeprefix("val_")

    def better(self, value: float, best: float | None) -> bool:
        """Whether `value` beats the best so far."""
        if best is None:
            return True
        return value > best if self.larger_is_better else value < best


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition on `metrics.json`, such as `test.mae<2.5`."""

    name: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value satisfies the condition; not-a-number satisfies none."""
        return bool(COMPARISONS[self.operator](value, self.bound))


def read_objective(name: str, metrics: Sequence[Metric]) -> Objective | Problem:
    """The objective of a name, or what is wrong with it.

    Args:
        name: `val_` and the name of a metric.
        metrics: of the task.
    """
    known = {f"val_{metric.name}": metric for metric in metrics}
    if name in known:
        return Objective(name=name, larger_is_better=known[name].larger_is_better)
    return Problem(
        "objective",
        f"must be one of {', '.join(known)}; received `{name}`.{did_you_mean(name, known)}",
    )


def read_requirements(value: Json, metrics: Sequence[Metric]) -> Iterator[Requirement | Problem]:
    """The conditions of the key `require`, or what is wrong with each.

    Args:
        value: None, a condition or a list of conditions.
        metrics: of the task.
    """
    conditions = [] if value is None else value if isinstance(value, list) else [value]
    for condition in conditions:
        yield _read_requirement(condition, [metric.name for metric in metrics])


def _read_requirement(condition: Json, metrics: list[str]) -> Requirement | Problem:
    match = _CONDITION.fullmatch(condition) if isinstance(condition, str) else None
    bound = _number(match["bound"]) if match else None
    if match is None or bound is None:
        return Problem(
            "require",
            f'must read like "test.mae<2.5" (operators < <= > >=); received {condition!r}',
        )
    name = match["name"]
    part, _, rest = name.partition(".")
    if part not in PARTS:
        return Problem("require", f"`{name}` must start with one of {', '.join(PARTS)}")
    known = metrics if part in MEASURED else NUMBERS.get(part, (rest,))
    is_detail = part in MEASURED and rest.partition(".")[0] in DETAILS
    if rest not in known and not is_detail:
        listed, hint = ", ".join(known), did_you_mean(rest, known)
        return Problem("require", f"`{name}`: `{part}` has {listed}, not `{rest}`.{hint}")
    return Requirement(name, match["operator"], bound)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
