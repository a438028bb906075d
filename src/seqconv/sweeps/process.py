"""The process of one job: forked from a server that has imported everything once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig

PRELOADED = "seqconv.sweeps.preload"


@dataclass(frozen=True)
class Surroundings:
    """What a job's process has around it.

    Attributes:
        environment: variables of the process that launches; the server's are older.
        output: a file for what libraries write to the terminal.
    """

    environment: Mapping[str, str]
    output: Path

    def enter(self) -> None:
        """Make this process a job's."""
        os.environ.clear()
        os.environ.update(self.environment)
        _leave_the_terminal(self.output)
        threading.Thread(target=_save_when_orphaned, name="watch-parent", daemon=True).start()


@dataclass(frozen=True)
class HydraJob:
    """A job of a sweep.

    Attributes:
        config: composed by Hydra, with its own section.
        task_function: what Hydra calls.
        callbacks: Hydra's.
    """

    config: DictConfig
    task_function: Any
    callbacks: Any


def job_context() -> ForkServerContext | SpawnContext:
    """Where job processes come from: a server that is started here and imports what they need."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    forkserver.ensure_running()
    return context


def run_hydra_job(surroundings: Surroundings, job: HydraJob) -> None:
    """Run a job of a sweep, in a process of its own."""
    surroundings.enter()
    from hydra.core.utils import JobRuntime, run_job, setup_globals
    from hydra.types import HydraContext

    setup_globals()
    JobRuntime.instance().set("name", job.config.hydra.job.name)
    # The loader has composed the configuration already, in the process that launches.
    context = HydraContext(config_loader=cast(Any, None), callbacks=job.callbacks)
    run_job(
        hydra_context=context,
        task_function=job.task_function,
        config=job.config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def _leave_the_terminal(output: Path) -> None:
    """Ctrl-C is for the process that launches, which passes it on once; and it alone writes to the terminal."""
    with suppress(OSError):
        os.setpgid(0, 0)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for target in (1, 2):
        os.dup2(descriptor, target)
    os.close(descriptor)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def _save_when_orphaned() -> None:
    """When the process that launches dies, however it dies, the job saves and ends too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
