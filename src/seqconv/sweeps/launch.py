"""What our Hydra launcher does: the jobs of a sweep side by side, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from seqconv import console
from seqconv.runs.compare import larger_is_better
from seqconv.runs.files import json_line
from seqconv.runs.result import Result, summary
from seqconv.sweeps import process
from seqconv.sweeps.pool import Pool, Start


def launch(
    job_overrides: Sequence[Sequence[str]],
    initial_job_idx: int,
    *,
    config: DictConfig,
    context: HydraContext,
    task_function: Any,
    at_once: int | None,
) -> list[JobReturn]:
    """Run jobs to their ends.

    Args:
        job_overrides: words of each.
        initial_job_idx: number of the first, where the words do not say it.
        config: composed by Hydra for the sweep.
        context: composes the configuration of each, and has callbacks.
        task_function: what Hydra calls for each.
        at_once: how many side by side; None: as many as there is room for.

    Raises:
        SystemExit: after a signal, when every job has saved.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    returns: list[JobReturn] = []
    stops = str(config.sweep.on_failure) == "stop"

    def starts() -> Iterator[Start]:
        for index, words in enumerate(job_overrides):
            job = _compose(context.config_loader, config, list(words), initial_job_idx + index)
            yield _start(job, task_function, context.callbacks)

    def ended(start: Start, result: Result) -> bool:
        if task_function.reports:
            task_function.reported.add(start.run_dir)
            console.job_result(json_line(summary(result, start.run_dir)))
        done = result.status == "completed"
        value = result.objective.value if result.objective is not None and done else None
        returns.append(
            JobReturn(
                _return_value=float("nan") if value is None else value, status=JobStatus.COMPLETED
            )
        )
        if stops and not done:
            number = start.state.number
            console.info(f"job {number} did not complete: the sweep stops (sweep.on_failure=stop)")
        return stops and not done

    number = Pool(starts(), len(job_overrides), at_once, ended).run()
    if number is not None:
        raise SystemExit(128 + number)
    return returns


def _compose(loader: ConfigLoader, config: DictConfig, words: list[str], number: int) -> DictConfig:
    job: DictConfig = loader.load_sweep_config(config, words)
    with open_dict(job):
        job.hydra.job.id = number
        job.hydra.job.num = number
    return job


def _start(config: DictConfig, task_function: Any, callbacks: Any) -> Start:
    sweep = config.hydra.sweep
    number, words = int(sweep.subdir), [str(word) for word in config.hydra.overrides.task]
    name = str(config.objective)
    return Start(
        state=console.JobState(
            number=number,
            label=task_function.label_of(number, words),
            epochs=int(config.trainer.epochs),
            started=time.monotonic(),
        ),
        run_dir=Path(sweep.dir) / str(sweep.subdir),
        threads=int(config.threads),
        objective=(name, larger_is_better(name)),
        target=process.run_hydra_job,
        payload=process.HydraJob(config=config, task_function=task_function, callbacks=callbacks),
    )
