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
from multiprocessing import reduction
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, cast

from omegaconf import DictConfig

from seqconv.config.errors import SeqconvError
from seqconv.training.signals import SIGNALS

PRELOADED = "seqconv.sweeps.preload"


@dataclass(frozen=True)
class Surroundings:
    """What a job's process has around it.

    Attributes:
        environment: variables of the process that launches; the server's are older.
        output: descriptor of a file for what libraries write to the terminal.
    """

    environment: Mapping[str, str]
    output: int

    def enter(self) -> None:
        """Make this process a job's."""
        os.environ.clear()
        os.environ.update(self.environment)
        _leave_the_terminal(self.output)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        threading.Thread(target=_save_when_orphaned, name="watch-parent", daemon=True).start()

    def __reduce__(self) -> tuple[Any, ...]:
        # A descriptor has another number in the process that gets it.
        return _received, (self.environment, reduction.DupFd(self.output))


def _received(environment: Mapping[str, str], output: Any) -> Surroundings:
    return Surroundings(environment, output.detach())


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
    from multiprocessing import forkserver, resource_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    # Its start would unblock what is blocked below.
    resource_tracker.ensure_running()
    # Ctrl-C and `timeout` send signals to the whole group: the server stays, or nobody would know how jobs end.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def run_hydra_job(surroundings: Surroundings, job: HydraJob) -> None:
    """Run a job of a sweep, in a process of its own.

    Raises:
        SystemExit: with why the job could not leave a result, which is written to stderr.
    """
    surroundings.enter()
    from hydra.core.utils import JobRuntime, run_job, setup_globals
    from hydra.types import HydraContext

    setup_globals()
    JobRuntime.instance().set("name", job.config.hydra.job.name)
    # The loader has composed the configuration already, in the process that launches.
    context = HydraContext(config_loader=cast(Any, None), callbacks=job.callbacks)
    done = run_job(
        hydra_context=context,
        task_function=job.task_function,
        config=job.config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    try:
        # Hydra keeps what the job has raised until it is asked.
        _ = done.return_value
    except SeqconvError as error:
        raise SystemExit(str(error)) from error


def _leave_the_terminal(output: int) -> None:
    """Ctrl-C is for the process that launches, which passes it on once; and it alone writes to the terminal."""
    with suppress(OSError):
        os.setpgid(0, 0)
    for target in (1, 2):
        os.dup2(output, target)
    os.close(output)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def _save_when_orphaned() -> None:
    """When the process that launches dies, however it dies, the job saves and ends too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
