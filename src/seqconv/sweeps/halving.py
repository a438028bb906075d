"""Successive halving over epochs: many jobs begin, the best go on, and no epoch is trained twice.

After Jamieson and Talwalkar, 2016, "Non-stochastic best arm identification and hyperparameter optimization". A job that
goes on is the same run, resumed exactly; one that does not keeps what it had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqconv import console
from seqconv.config.errors import ConfigError, Problem
from seqconv.config.requirements import Objective
from seqconv.config.schema import Config
from seqconv.runs.result import objective_values, read_epochs, read_result


@dataclass(frozen=True)
class Halving:
    """How many epochs come before which choice.

    Attributes:
        first: epochs of all jobs.
        factor: of epochs from one choice to the next; one job in so many goes on.
        epochs: of a job that goes on to the end.
        objective: its key in `metrics.jsonl`.
        larger_is_better: of the objective.
    """

    first: int
    factor: int
    epochs: int
    objective: str
    larger_is_better: bool

    @property
    def rungs(self) -> list[int]:
        """Epochs after which is chosen, the last one all of them."""
        found = []
        epochs = self.first
        while epochs < self.epochs:
            found.append(epochs)
            epochs *= self.factor
        return [*found, self.epochs]


def in_common(configs: Sequence[Config | ConfigError]) -> tuple[Objective, int]:
    """What the jobs of a grid must have in common to be chosen among: objective and epochs.

    Args:
        configs: of all jobs, or why one cannot start.

    Raises:
        ConfigError: if they have not.
    """
    known = [config for config in configs if isinstance(config, Config)]
    problems = []
    if any(config.trainer.schedule == "cosine" for config in known):
        rule = (
            "cosine depends on the number of epochs, which halving changes; use constant or plateau"
        )
        problems.append(Problem("trainer.schedule", rule))
    for key, several in (
        ("folds", any(config.settings.folds_to_run for config in known)),
        ("ensemble", any(config.ensemble is not None for config in known)),
    ):
        if several:
            rule = "makes several runs of a job, which halving cannot compare epoch by epoch; leave it out"
            problems.append(Problem(key, rule))
    if len({config.trainer.epochs for config in known}) > 1:
        problems.append(Problem("trainer.epochs", "must be the same in all jobs of halving"))
    if len({config.objective for config in known}) > 1:
        problems.append(Problem("objective", "must be the same in all jobs of halving"))
    if problems:
        raise ConfigError(problems)
    return known[0].objective, known[0].trainer.epochs


def halve(
    plan: Halving,
    jobs: Mapping[int, list[str]],
    sweep_dir: Path,
    launch: Callable[[Mapping[int, list[str]]], bool],
) -> None:
    """Run jobs, fewer and fewer for longer and longer.

    Args:
        plan: how.
        jobs: words of each, by number.
        sweep_dir: of the sweep; what is done there is not done again.
        launch: runs jobs to their ends, of words by number; whether others may follow.
    """
    alive = sorted(jobs)
    for epochs in plan.rungs:
        left = [number for number in alive if not _is_done(sweep_dir / str(number), epochs)]
        words = {number: [*jobs[number], f"trainer.epochs={epochs}"] for number in left}
        if left and not launch(words):
            return
        found = {number: _best(plan, sweep_dir / str(number), epochs) for number in alive}
        ranked = sorted((value, number) for number, value in found.items() if value is not None)
        kept = math.ceil(len(ranked) / plan.factor)
        if epochs < plan.epochs:
            names = ", ".join(str(number) for _, number in ranked[:kept])
            console.info(f"after {epochs} epochs {kept} of {len(alive)} jobs go on: {names}")
        alive = [number for _, number in ranked[:kept]]


def _is_done(run_dir: Path, epochs: int) -> bool:
    result = read_result(run_dir)
    if result is None:
        return False
    # A job that diverged would diverge again; one that failed, or stopped early, is started once more.
    completed = result.epochs.completed if result.epochs is not None else 0
    return result.status == "diverged" or (result.status == "completed" and completed >= epochs)


def _best(plan: Halving, run_dir: Path, epochs: int) -> float | None:
    """The objective of the best of the first epochs, the smaller the better; None if the job did not get so far."""
    values = objective_values(read_epochs(run_dir)[:epochs], plan.objective)
    result = read_result(run_dir)
    # A job that diverged later was chosen among the others then, and is when the sweep is resumed.
    later = result is not None and result.status == "diverged" and len(values) == epochs
    completed = result is not None and result.status == "completed"
    if not values or not (completed or later):
        return None
    return -max(values) if plan.larger_is_better else min(values)
