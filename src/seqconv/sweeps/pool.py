"""Runs side by side, each in a process of its own, watched by what they leave in their directories."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqconv import console
from seqconv.config.errors import SeqconvError
from seqconv.runs import layout
from seqconv.runs.result import Result, objective_values, read_epochs, read_result
from seqconv.sweeps import process
from seqconv.sweeps.machine import jobs_at_once
from seqconv.training.signals import Signals

SECONDS_BETWEEN_LOOKS = 0.25
# Of what a job that died has written last.
LAST_LINES = 5


@dataclass(frozen=True, kw_only=True)
class Start:
    """A run that is to be started.

    Attributes:
        state: what people see of it.
        run_dir: its directory.
        threads: that it computes with.
        objective: its key in `metrics.jsonl`, and whether larger is better.
        target: what its process calls, a function of a module.
        payload: what that is called with; pickled.
    """

    state: console.JobState
    run_dir: Path
    threads: int
    objective: tuple[str, bool]
    target: Callable[[process.Surroundings, Any], None]
    payload: Any


@dataclass
class Running:
    """A run in a process.

    Attributes:
        start: what it is.
        process: its process.
        output: what libraries in it write.
        size: of its `metrics.jsonl` when that was last read.
    """

    start: Start
    process: Any
    output: Path
    size: int = -1

    def look(self) -> None:
        """See how far it is."""
        try:
            size = (self.start.run_dir / layout.EPOCHS).stat().st_size
        except OSError:
            return
        if size == self.size:
            return
        self.size = size
        records = read_epochs(self.start.run_dir)
        name, larger = self.start.objective
        values = objective_values(records, name)
        state = self.start.state
        state.epoch = len(records)
        state.best = (max if larger else min)(values, default=None)
        seconds = objective_values(records, "seconds")
        state.epoch_seconds = sum(seconds) / max(len(seconds), 1)


class Pool:
    """Runs to be started side by side.

    Args:
        starts: what to start, made when there is room for it.
        count: how many they are.
        at_once: how many side by side; None: as many as there is room for.
        ended: called with each that has ended; whether the others are to stop.
    """

    def __init__(
        self,
        starts: Iterator[Start],
        count: int,
        at_once: int | None,
        ended: Callable[[Start, Result], bool],
    ):
        self.starts = starts
        self.left = count
        self.at_once = at_once
        self.ended = ended
        self.context = process.job_context()
        self.running: list[Running] = []
        self.progress = console.SweepProgress(count)
        self.stopping: int | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="seqconv-jobs-"))

    def run(self) -> int | None:
        """Run all of them; the number of a signal that came, after which every run has saved."""
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
        return signals.number

    def _start_some(self) -> None:
        while self.left and self.stopping is None:
            if self.at_once is not None and len(self.running) >= self.at_once:
                return
            start = next(self.starts)
            if self.at_once is None:
                self.at_once = jobs_at_once(start.threads)
            self.progress.at_once = self.at_once
            self.left -= 1
            self._start(start)

    def _start(self, start: Start) -> None:
        output = self.folder / str(start.state.number)
        surroundings = process.Surroundings(environment=dict(os.environ), output=output)
        # Processes that the system ends at its own end would leave half-written files.
        job = self.context.Process(
            target=start.target, args=(surroundings, start.payload), daemon=False
        )
        self.progress.larger_is_better = start.objective[1]
        job.start()
        running = Running(start, job, output)
        running.look()
        start.state.resumed = start.state.epoch
        self.running.append(running)
        self.progress.started(start.state)

    def _wait(self) -> None:
        sentinels = {job.process.sentinel: job for job in self.running}
        ready = multiprocessing.connection.wait(list(sentinels), SECONDS_BETWEEN_LOOKS)
        for job in self.running:
            before = job.start.state.epoch
            job.look()
            if job.start.state.epoch != before:
                self.progress.epoch(job.start.state)
        self.progress.refresh()
        for sentinel in ready:
            self._end(sentinels[sentinel])

    def _end(self, job: Running) -> None:
        """Take note of a run that has ended, and see to it that it has a result."""
        job.process.join()
        self.running.remove(job)
        result = self._result_of(job)
        job.process.close()
        job.output.unlink(missing_ok=True)
        stop = self.ended(job.start, result)
        job.start.state.status = result.status
        reason = result.error.message if result.error is not None else ""
        self.progress.ended(job.start.state, reason)
        if stop and self.stopping is None:
            self._stop(signal.SIGTERM)

    @staticmethod
    def _result_of(job: Running) -> Result:
        from seqconv.training.run import not_started

        run_dir = job.start.run_dir
        result = read_result(run_dir)
        if result is not None:
            return result
        run_dir.mkdir(exist_ok=True)
        cause = _cause(job.process.exitcode, job.output)
        return not_started(SeqconvError(cause), run_dir).result

    def _stop(self, number: int) -> None:
        """Let every run save and end; no other is started."""
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
