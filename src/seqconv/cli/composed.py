"""A composed configuration before its run: its sections, whether it can start, and what does not go together in it."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from seqconv.cli.words import words_of, wrong_interval
from seqconv.config.errors import ConfigError, Problem

if TYPE_CHECKING:
    from seqconv.config.schema import Config
    from seqconv.tasks.contract import Json

LAUNCHER = "hydra_plugins.seqconv_sweeps.SeqconvLauncher"
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SWEEPER = "hydra_plugins.seqconv_sweeps.SeqconvSweeper"
SEARCH = "hydra_plugins.seqconv_sweeps.SeqconvSearch"
HALVING = "hydra_plugins.seqconv_sweeps.SeqconvHalving"
# Sweepers whose jobs are those of the grid; others choose theirs as they go.
OF_GRIDS = (SWEEPER, HALVING)
# A value of `resume`.
AUTO = "auto"


def problems_of_kind(
    composed: DictConfig, overrides: Sequence[Override], *, multirun: bool
) -> Iterator[Problem]:
    """What does not go together with one run, or with a sweep.

    Args:
        composed: the first job.
        overrides: of the command line.
        multirun: whether it is a sweep.
    """
    if section(composed, "hydra", "job").get("chdir"):
        rule = "must be false: paths are those of the folder that a command is started in"
        yield Problem("hydra.job.chdir", rule)
    names_delay = any(override.key_or_group == "delay" for override in overrides)
    if names_delay and unresolved(composed).get("lead") is not None:
        rule = (
            "counts for nothing beside `lead`, which is given, too: leave one out, or set lead=null"
        )
        yield Problem("delay", rule)
    swept = [o for o in overrides if o.is_sweep_override()]
    if multirun:
        yield from _sweep_problems(composed, swept)
    else:
        rule = "several values make a sweep; add -m to run one"
        yield from (Problem(o.key_or_group, rule) for o in swept)
    resume = unresolved(composed).get("resume")
    if resume not in (None, AUTO):
        rule = f"must be null or auto here, or name a run directory; received {resume!r}"
        yield Problem("resume", rule)
    elif resume and multirun:
        rule = "is for one run; a sweep is resumed by sweep.resume"
        yield Problem("resume", rule)
    if (
        multirun
        and sweeper_of(composed) not in (SWEEPER, HALVING, SEARCH)
        and section(composed, "sweep").get("resume")
    ):
        yield Problem(
            "sweep.resume",
            "needs hydra/sweeper=seqconv; another one knows no jobs before they run",
        )
    if not multirun and section(composed, "sweep").get("resume"):
        yield Problem("sweep.resume", "is for a sweep; add -m, or use `resume` for one run")


def check(composed: DictConfig) -> Config | ConfigError:
    """The checked configuration of a job, or what is wrong with it."""
    # Not above: Hydra's own answers, such as `--cfg job`, need no schema.
    from seqconv.config.schema import parse

    try:
        config = parse(composed)
        if config.trainer.tensorboard or config.trainer.mlflow is not None:
            from seqconv.runs.tracking.trackers import check_installed

            check_installed(config)
        return config
    except ConfigError as error:
        return error


def choose_threads(job: DictConfig, count: int) -> list[str]:
    """Write down how many threads a job has where its configuration leaves it open; the words that say so."""
    if unresolved(job).get("threads") is not None:
        return []
    OmegaConf.update(job, "threads", count)
    return [f"threads={count}"]


def can_start(job: DictConfig) -> bool:
    """Whether nothing is wrong with the configuration of a job."""
    job = copy.deepcopy(job)
    choose_threads(job, 1)
    return not isinstance(check(job), ConfigError)


def _sweep_problems(composed: DictConfig, swept: Sequence[Override]) -> Iterator[Problem]:
    """What does not go together with a sweep's launcher or sweeper."""
    sweeper, launcher = sweeper_of(composed), launcher_of(composed)
    for override in swept:
        key = override.key_or_group
        if override.is_hydra_override():
            yield Problem(key, f"must be one for all jobs; received {override.input_line}")
        elif sweeper in OF_GRIDS and not override.is_discrete_sweep():
            rule = "an interval holds no values to run; list some, or draw from it by hydra/sweeper=search"
            yield Problem(key, f"{rule}; received {override.input_line}")
        elif rule := wrong_interval(override):
            yield Problem(key, f"{rule}; received {override.input_line}")
        elif sweeper not in OF_GRIDS and "threads=null" in words_of(override):
            yield Problem(key, "null stands for 1 in a sweep: write 1")
    if sweeper in (SEARCH, HALVING):
        yield from _incomparable(str(unresolved(composed).get("objective")), swept)
    if sweeper == SEARCH and not swept:
        rule = "searches among keys with several values (a,b,c), range(...) or interval(...); there are none"
        yield Problem("hydra/sweeper", rule)
    if sweeper == SEARCH and importlib.util.find_spec("optuna") is None:
        yield Problem("hydra/sweeper", "needs Optuna: pip install 'seqconv[optuna]'")
    if section(composed, "sweep").get("on_failure") == "stop" and launcher != LAUNCHER:
        rule = (
            "stop needs hydra/launcher=seqconv; another one runs all jobs whatever becomes of them"
        )
        yield Problem("sweep.on_failure", rule)


def _incomparable(objective: str, swept: Sequence[Override]) -> Iterator[Problem]:
    """What makes another number of the objective, so that jobs cannot be chosen by it."""
    # Not above, as in `check`.
    from seqconv.config.requirements import OF_LOSSES

    for override in swept:
        key = override.key_or_group
        by_window = key == "target" and "target=normalized" in words_of(override)
        if objective == "val_loss" and (key in OF_LOSSES or by_window):
            rule = (
                "changes what val_loss is, so that jobs cannot be chosen by it: set another `objective`, such as "
                "val_mae, or val_scaled.mae with several targets or leads"
            )
            yield Problem(key, f"{rule}; received {override.input_line}")
        elif key == "dataset.scaling" and objective.startswith(("val_loss", "val_scaled.")):
            rule = (
                f"changes the unit of {objective}, so that jobs cannot be chosen by it: set objective=val_mae with one "
                "target and lead, else give each scaling a sweep of its own"
            )
            yield Problem(key, f"{rule}; received {override.input_line}")


def unresolved(composed: DictConfig) -> dict[str, Json]:
    """As plain values, with interpolations as they are written: what they refer to may be a secret."""
    tree = OmegaConf.to_container(composed, resolve=False)
    return {str(key): value for key, value in tree.items()} if isinstance(tree, dict) else {}


def section(composed: DictConfig, *path: str) -> dict[str, Json]:
    """A section as plain values; empty where the command line has taken it away or put something else there."""
    found: Json = unresolved(composed)
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def sweeper_of(composed: DictConfig) -> str:
    """The class that chooses the jobs of a sweep."""
    return str(section(composed, "hydra", "sweeper").get("_target_"))


def launcher_of(composed: DictConfig) -> str:
    """The class that runs the jobs of a sweep."""
    return str(section(composed, "hydra", "launcher").get("_target_"))


def all_keys(tree: Json, prefix: str = "") -> Iterator[str]:
    """All keys with their sections, `trainer.epochs`."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from all_keys(value, f"{prefix}{key}.")
