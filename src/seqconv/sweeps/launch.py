"""What our Hydra launcher does: the jobs of a sweep side by side, each in a process of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from seqconv import console
from seqconv.config.errors import ConfigError
from seqconv.config.schema import Config, parse
from seqconv.machine import jobs_at_once
from seqconv.runs.files import json_line
from seqconv.runs.result import Result, summary
from seqconv.sweeps import process
from seqconv.sweeps.pool import Pool, Refused, Start


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

    Returns:
        The objective of each, in the order of `job_overrides`; not-a-number if it did not complete.

    Raises:
        SystemExit: after a signal, when every job has saved.
    """
    setup_globals()
    configure_log(config.hydra.hydra_logging, config.hydra.verbose)
    places: dict[Path, int] = {}
    values = [math.nan] * len(job_overrides)
    stops = str(config.sweep.on_failure) == "stop"

    def starts() -> Iterator[Start | Refused]:
        for place, words in enumerate(job_overrides):
            job = _compose(context.config_loader, config, list(words), initial_job_idx + place)
            start = _start(job, task_function, context.callbacks)
            places[start.run_dir] = place
            yield start

    def ended(start: Start | Refused, result: Result) -> bool:
        if task_function.reports:
            task_function.reported.add(start.run_dir)
            console.job_result(json_line(summary(result, start.run_dir)))
        done = result.status == "completed"
        value = result.objective.value if result.objective is not None and done else None
        if value is not None:
            values[places[start.run_dir]] = value
        if stops and not done:
            task_function.stopped = True
            number = start.state.number
            console.info(f"job {number} did not complete: the sweep stops (sweep.on_failure=stop)")
        return stops and not done

    room = at_once or _room_for_each(task_function.configs)
    number = Pool(starts(), len(job_overrides), room, ended).run()
    if number is not None:
        raise SystemExit(128 + number)
    return [JobReturn(_return_value=value, status=JobStatus.COMPLETED) for value in values]


def _room_for_each(configs: Sequence[Config | ConfigError]) -> int | None:
    """How many jobs run at once, whichever they are; None where they are not known before."""
    threads = [config.threads for config in configs if isinstance(config, Config)]
    return jobs_at_once(max(threads)) if threads else None


def _compose(loader: ConfigLoader, config: DictConfig, words: list[str], number: int) -> DictConfig:
    job: DictConfig = loader.load_sweep_config(config, words)
    with open_dict(job):
        job.hydra.job.id = number
        job.hydra.job.num = number
    return job


def _start(composed: DictConfig, task_function: Any, callbacks: Any) -> Start | Refused:
    sweep = composed.hydra.sweep
    number, words = int(sweep.subdir), [str(word) for word in composed.hydra.overrides.task]
    run_dir = Path(sweep.dir) / str(sweep.subdir)
    state = console.JobState(
        number=number,
        label=task_function.label_of(number, words),
        epochs=0,
        started=time.monotonic(),
    )
    try:
        config = parse(composed)
    except ConfigError as error:
        return Refused(state=state, run_dir=run_dir, error=error)
    state.epochs = config.trainer.epochs
    return Start(
        state=state,
        run_dir=run_dir,
        threads=config.threads,
        objective=(config.objective.name, config.objective.larger_is_better),
        target=process.run_hydra_job,
        payload=process.HydraJob(config=composed, task_function=task_function, callbacks=callbacks),
    )
