"""Jobs side by side, each in a process of its own, watched by what they leave in their directories."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from seqconv import console
from seqconv.config.errors import SeqconvError
from seqconv.runs import layout
from seqconv.runs.compare import larger_is_better
from seqconv.runs.files import json_line
from seqconv.runs.result import Result, objective_values, read_epochs, read_result, summary
from seqconv.sweeps import process
from seqconv.sweeps.machine import jobs_at_once
from seqconv.training.signals import Signals

SECONDS_BETWEEN_LOOKS = 0.25
# Of what a job that died has written last.
LAST_LINES = 5


@dataclass
class Running:
    """A job in a process.

    Attributes:
        state: what people see of it.
        run_dir: its directory.
        process: its process.
        output: what libraries in it write.
        objective: its key in `metrics.jsonl`, and whether larger is better.
    """

    state: console.JobState
    run_dir: Path
    process: Any
    output: Path
    objective: tuple[str, bool]
    size: int = -1

    def look(self) -> None:
        """See how far it is."""
        try:
            size = (self.run_dir / layout.EPOCHS).stat().st_size
        except OSError:
            return
        if size == self.size:
            return
        self.size = size
        records = read_epochs(self.run_dir)
        name, larger = self.objective
        values = objective_values(records, name)
        self.state.epoch = len(records)
        self.state.best = (max if larger else min)(values, default=None)
        seconds = objective_values(records, "seconds")
        self.state.epoch_seconds = sum(seconds) / max(len(seconds), 1)


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
    composed = (
        _compose(context.config_loader, config, list(words), initial_job_idx + index)
        for index, words in enumerate(job_overrides)
    )
    return _Launch(task_function, context.callbacks, len(job_overrides), composed, at_once).run()


def _compose(loader: ConfigLoader, config: DictConfig, words: list[str], number: int) -> DictConfig:
    job: DictConfig = loader.load_sweep_config(config, words)
    with open_dict(job):
        job.hydra.job.id = number
        job.hydra.job.num = number
    return job


class _Launch:
    """The jobs of one launch."""

    def __init__(
        self,
        task_function: Any,
        callbacks: Any,
        count: int,
        composed: Iterator[DictConfig],
        at_once: int | None,
    ):
        self.task_function = task_function
        self.callbacks = callbacks
        self.composed = composed
        self.left = count
        self.at_once = at_once
        self.context = process.job_context()
        self.running: list[Running] = []
        self.ended: list[JobReturn] = []
        self.progress = console.SweepProgress(count)
        self.stopping: int | None = None
        self.on_failure = ""
        self.folder = Path(tempfile.mkdtemp(prefix="seqconv-jobs-"))

    def run(self) -> list[JobReturn]:
        """All of them."""
        with Signals() as signals, signals.held(), self.progress.live():
            try:
                while self.running or (self.left and self.stopping is None):
                    self._start_some()
                    self._wait()
                    if signals.number is not None and self.stopping is None:
                        self._stop(signals.number)
            except BaseException:
                # A second interrupt: what is not saved by now is lost, but nothing is left running.
                self._end_at_once()
                raise
            finally:
                for path in self.folder.glob("*"):
                    path.unlink(missing_ok=True)
                self.folder.rmdir()
        if signals.number is not None:
            raise SystemExit(128 + signals.number)
        return self.ended

    def _start_some(self) -> None:
        while self.left and self.stopping is None:
            if self.at_once is not None and len(self.running) >= self.at_once:
                return
            config = next(self.composed)
            if self.at_once is None:
                self.at_once = jobs_at_once(int(config.threads))
            self.progress.at_once = self.at_once
            self.left -= 1
            self._start(config)

    def _start(self, config: DictConfig) -> None:
        sweep = config.hydra.sweep
        run_dir = Path(sweep.dir) / str(sweep.subdir)
        output = self.folder / str(sweep.subdir)
        words = [str(word) for word in config.hydra.overrides.task]
        payload = process.Payload(
            config=config,
            task_function=self.task_function,
            callbacks=self.callbacks,
            environment=dict(os.environ),
            output=output,
        )
        # Processes that the system ends at its own end would leave half-written files.
        job = self.context.Process(target=process.main, args=(payload,), daemon=False)
        state = console.JobState(
            number=int(sweep.subdir),
            label=self.task_function.label_of(int(sweep.subdir), words),
            epochs=int(config.trainer.epochs),
            started=time.monotonic(),
        )
        name = str(config.objective)
        objective = (name, larger_is_better(name))
        self.progress.larger_is_better = objective[1]
        job.start()
        running = Running(state, run_dir, job, output, objective)
        running.look()
        state.resumed = state.epoch
        self.running.append(running)
        self.on_failure = str(config.sweep.on_failure)
        self.progress.started(state)

    def _wait(self) -> None:
        sentinels = {job.process.sentinel: job for job in self.running}
        ready = multiprocessing.connection.wait(list(sentinels), SECONDS_BETWEEN_LOOKS)
        for job in self.running:
            before = job.state.epoch
            job.look()
            if job.state.epoch != before:
                self.progress.epoch(job.state)
        self.progress.refresh()
        for sentinel in ready:
            self._end(sentinels[sentinel])

    def _end(self, job: Running) -> None:
        """Take note of a job that has ended, and see to it that it has a result."""
        job.process.join()
        self.running.remove(job)
        result = self._result_of(job)
        job.process.close()
        job.output.unlink(missing_ok=True)
        if self.task_function.reports:
            self.task_function.reported.add(job.run_dir)
            console.job_result(json_line(summary(result, job.run_dir)))
        job.state.status = result.status
        reason = result.error.message if result.error is not None else ""
        self.progress.ended(job.state, reason)
        value = result.objective.value if result.objective is not None else None
        done = result.status == "completed"
        self.ended.append(
            JobReturn(
                _return_value=value if done and value is not None else float("nan"),
                status=JobStatus.COMPLETED,
            )
        )
        if not done and self.on_failure == "stop" and self.stopping is None:
            console.info(
                f"job {job.state.number} did not complete: the sweep stops (sweep.on_failure=stop)"
            )
            self._stop(signal.SIGTERM)

    @staticmethod
    def _result_of(job: Running) -> Result:
        from seqconv.training.run import not_started

        result = read_result(job.run_dir)
        if result is not None:
            return result
        job.run_dir.mkdir(exist_ok=True)
        cause = _cause(job.process.exitcode, job.output)
        return not_started(SeqconvError(cause), job.run_dir).result

    def _stop(self, number: int) -> None:
        """Let every job save and end; no other is started."""
        self.stopping = number
        for job in self.running:
            with contextlib.suppress(OSError, ValueError):
                os.kill(job.process.pid, number)

    def _end_at_once(self) -> None:
        for job in self.running:
            with contextlib.suppress(OSError, ValueError):
                job.process.kill()
                job.process.join()


def _cause(code: int | None, output: Path) -> str:
    """Why a process has ended without a result."""
    last: list[str] = []
    with contextlib.suppress(OSError):
        last = output.read_text(errors="replace").splitlines()[-LAST_LINES:]
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = "; the system may have run out of memory" if name == "SIGKILL" else ""
        reason = f"its process was ended by {name}{memory}"
    else:
        reason = f"its process ended with {code} and left no result"
    return ". ".join([reason, *([f"Its last words: {' | '.join(last)}"] if last else [])])
