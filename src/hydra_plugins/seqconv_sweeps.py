"""Our launcher and sweeper: Hydra finds them in this namespace only. What they do is in `seqconv.sweeps`, their
defaults in `conf/hydra`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SeqconvLauncher(Launcher):
    """Runs jobs side by side, each in a process of its own.

    Args:
        jobs: how many at once; None: as many as there are cores and memory for.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs
        self.hydra_context: Any = None
        self.task_function: Any = None
        self.config: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """What Hydra gives every launcher."""
        self.hydra_context, self.task_function = hydra_context, task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run jobs to their ends."""
        from seqconv.sweeps.launch import launch

        return launch(
            job_overrides,
            initial_job_idx,
            config=self.config,
            context=self.hydra_context,
            task_function=self.task_function,
            at_once=self.jobs,
        )


class SeqconvSweeper(Sweeper):
    """Launches the jobs of a sweep that are not done yet, as its manifest says.

    Args:
        params: what is swept besides the command line, as for Hydra's basic sweeper.
    """

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.task_function: Any = None
        self.launcher: Any = None

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """What Hydra gives every sweeper."""
        from hydra.core.plugins import Plugins

        self.task_function = task_function
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Launch; the jobs are known already."""
        return self.task_function.launch_pending(self.launcher)


class SeqconvHalving(SeqconvSweeper):
    """Lets many jobs begin, and the best go on.

    Args:
        first: epochs of all jobs.
        factor: of epochs from one choice to the next; one job in so many goes on.
        params: what is swept besides the command line.
    """

    def __init__(self, first: int, factor: int, params: dict[str, str] | None = None) -> None:
        super().__init__(params)
        self.plan = {"first": first, "factor": factor}

    def sweep(self, arguments: list[str]) -> Any:
        """Launch, choose, launch."""
        return self.task_function.halve(self.launcher, self.plan)


class SeqconvSearch(SeqconvSweeper):
    """Searches among settings by Optuna.

    Args:
        trials: how many to try.
        sampler: `tpe` or `random`.
        seed: of the sampler.
        at_once: trials that are asked for before the results of the others are known.
        params: what is searched besides the command line.
    """

    def __init__(
        self,
        trials: int,
        sampler: str,
        seed: int,
        at_once: int,
        params: dict[str, str] | None = None,
    ) -> None:
        super().__init__(params)
        self.plan = {"trials": trials, "sampler": sampler, "seed": seed, "at_once": at_once}

    def sweep(self, arguments: list[str]) -> Any:
        """Ask, launch, tell."""
        return self.task_function.search(self.launcher, arguments, self.plan)
