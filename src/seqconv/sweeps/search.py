"""A search among settings by Optuna: asks for settings, launches them, tells what came out.

The study is a journal in the sweep's directory, written at every step. Whatever ends the search, it goes on from there:
trials that were under way or failed are resumed as the runs they are, and then reported to the study.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)

from seqconv import console
from seqconv.config.errors import ConfigError, OutputError, Problem
from seqconv.config.schema import OF_NO_EFFECT
from seqconv.runs.layout import JOURNAL
from seqconv.runs.result import FINAL, read_result

Study = Any
Trial = Any
"""Classes of Optuna, which is imported where it is used."""

STUDY = "sweep"
# Keys of the study that hold what is searched, and the checksum of all other settings.
SPACE = "space"
SETTINGS = "settings"
LOG = "log"


@dataclass(frozen=True)
class Search:
    """What to search, and how.

    Attributes:
        trials: how many settings to try.
        sampler: `tpe` (Bergstra et al., 2011, "Algorithms for hyper-parameter optimization") or `random`.
        seed: of the sampler.
        at_once: trials that are asked for before the results of the others are known.
        objective: its name.
        larger_is_better: of the objective.
        settings: checksum of the configuration with the first of all that is searched.
    """

    trials: int
    sampler: Literal["tpe", "random"]
    seed: int
    at_once: int
    objective: str
    larger_is_better: bool
    settings: str


def search(
    plan: Search,
    overrides: Sequence[Override],
    sweep_dir: Path,
    launch: Callable[[list[str], Mapping[int, list[str]]], bool],
) -> None:
    """Run trials until there are as many as are wanted.

    Args:
        plan: how.
        overrides: of the command line; those with several values or an interval are searched.
        sweep_dir: of the sweep.
        launch: runs jobs to their ends, of words that all have and those of each, by number; whether others may follow.

    Raises:
        ConfigError: if Optuna is not installed, or nothing is searched.
        OutputError: if the directory's study is of another search.
    """
    space = {o.get_key_element(): o for o in overrides if o.is_sweep_override()}
    if not space:
        rule = "searches among keys with several values (a,b,c), range(...) or interval(...); there are none"
        raise ConfigError([Problem("hydra/sweeper", rule)])
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    study = _study(plan, sweep_dir, sorted(_that_matter(overrides)))

    def run(trials: Sequence[Trial]) -> bool:
        go_on = launch(fixed, {trial.number: _words(trial, space) for trial in trials})
        for trial in trials:
            _tell(study, trial, sweep_dir, plan.objective)
        return go_on

    goes_on = True
    if interrupted := _under_way(study):
        numbers = ", ".join(str(trial.number) for trial in interrupted)
        console.info(f"{sweep_dir}: resuming with trials {numbers} of {plan.trials}")
        goes_on = run(interrupted)
    while goes_on and (left := plan.trials - len(study.trials)) > 0:
        goes_on = run([study.ask() for _ in range(min(left, plan.at_once))])
    done = [trial for trial in study.trials if trial.value is not None]
    if done:
        best = study.best_trial
        found = " ".join(f"{key}={value}" for key, value in best.params.items())
        console.info(
            f"the best of {len(study.trials)} trials: {best.number} with {best.value:.5g} ({found})"
        )


def _that_matter(overrides: Sequence[Override]) -> Iterator[str]:
    """The words that say what is searched, and not how the sweep is run or what is kept of it."""
    for override in overrides:
        key = override.key_or_group
        if override.is_sweep_override() or not (key.startswith("sweep.") or key in OF_NO_EFFECT):
            yield str(override.input_line)


def _study(plan: Search, sweep_dir: Path, space: list[str]) -> Study:
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        rule = "needs Optuna: pip install 'seqconv[optuna]'"
        raise ConfigError([Problem("hydra/sweeper", rule)]) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {
        # Settings that are tried at once keep away from one another.
        "tpe": lambda: optuna.samplers.TPESampler(seed=plan.seed, constant_liar=True),
        "random": lambda: optuna.samplers.RandomSampler(seed=plan.seed),
    }
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(sweep_dir / JOURNAL))),
        study_name=STUDY,
        sampler=samplers[plan.sampler](),
        direction="maximize" if plan.larger_is_better else "minimize",
        load_if_exists=True,
    )
    known, settings = study.user_attrs.get(SPACE), study.user_attrs.get(SETTINGS)
    if known == space and settings not in (None, plan.settings):
        raise OutputError(
            f"{sweep_dir}: holds a search by the same words, of other settings: a config file or a default has changed "
            "since. Change it back, or give this search a directory of its own"
        )
    if known is not None and known != space:
        raise OutputError(
            f"{sweep_dir}: holds a search of other settings ({' '.join(known)}); give this one a directory of its own"
        )
    study.set_user_attr(SPACE, space)
    study.set_user_attr(SETTINGS, plan.settings)
    if study.trials:
        # The same draws again would be the same trials again.
        study.sampler.reseed_rng()
    return study


def _under_way(study: Study) -> list[Trial]:
    """Trials that came to no result: their process was killed, or they failed."""
    import optuna

    running = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
    return [optuna.trial.Trial(study, trial._trial_id) for trial in running]


def _words(trial: Trial, space: Mapping[str, Override]) -> list[str]:
    return [f"{key}={_suggest(trial, key, override)}" for key, override in space.items()]


def _suggest(trial: Trial, key: str, override: Override) -> Any:
    """A value of one key."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        log = LOG in sweep.tags
        if isinstance(sweep.start, int) and isinstance(sweep.end, int):
            return trial.suggest_int(key, sweep.start, sweep.end, log=log)
        return trial.suggest_float(key, float(sweep.start or 0), float(sweep.end or 0), log=log)
    if isinstance(sweep, RangeSweep | ChoiceSweep):
        return trial.suggest_categorical(key, list(override.sweep_string_iterator()))
    raise ConfigError([Problem(key, f"cannot be searched: {override.input_line}")])


def _tell(study: Study, trial: Trial, sweep_dir: Path, objective: str) -> None:
    """What came out, if it is final: a trial that was interrupted, or failed for want of something, is resumed."""
    import optuna

    result = read_result(sweep_dir / str(trial.number))
    if result is None or result.status not in FINAL:
        return
    value = result.objective.value if result.objective is not None else None
    if result.objective is not None and result.objective.name != objective:
        # A group that is searched may bring one along.
        console.info(
            f"trial {trial.number} has the objective {result.objective.name}, the search {objective}: it counts as "
            "failed"
        )
        value = None
    if result.status == "completed" and value is not None and math.isfinite(value):
        study.tell(trial, value)
    else:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
