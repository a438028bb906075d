"""Runs side by side, each in a process of its own, watched by what they leave in their directories."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from seqconv import console
from seqconv.config.errors import ConfigError, InterruptedRun, OutputError, SeqconvError
from seqconv.machine import jobs_at_once
from seqconv.runs import layout
from seqconv.runs.lock import locked
from seqconv.runs.result import (
    ErrorResult,
    Result,
    Status,
    objective_values,
    read_epochs,
    read_result,
)
from seqconv.sweeps import process
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


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A run that cannot start.

    Attributes:
        state: what people see of it.
        run_dir: its directory.
        error: why.
    """

    state: console.JobState
    run_dir: Path
    error: ConfigError


@dataclass
class Running:
    """A run in a process.

    Attributes:
        start: what it is.
        process: its process.
        output: what libraries in it write.
        size: of its `metrics.jsonl` when that was last read.
        before: the `metrics.json` of an earlier process, if there is one.
    """

    start: Start
    process: Any
    output: IO[bytes]
    size: int = -1
    before: tuple[int, int] | None = field(init=False)

    def __post_init__(self) -> None:
        self.before = _result_file(self.start.run_dir)

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
        starts: Iterator[Start | Refused],
        count: int,
        at_once: int | None,
        ended: Callable[[Start | Refused, Result], bool],
    ):
        self.starts = starts
        self.left = count
        self.at_once = at_once
        self.ended = ended
        self.context = process.job_context()
        self.running: list[Running] = []
        self.progress = console.SweepProgress(count)
        self.stopping: int | None = None

    def run(self) -> int | None:
        """Run all of them; the number of a signal that came, after which every run has saved."""
        with Signals() as signals, signals.held(), self.progress.live():
            try:
                self._run(signals)
            except BaseException:
                # A second interrupt: what is not saved by now is lost, but nothing is left running.
                self._end_at_once()
                raise
        return signals.number

    def _run(self, signals: Signals) -> None:
        try:
            while self.running or (self.left and self.stopping is None):
                self._start_some()
                ended = self._wait()
                if signals.number is not None and self.stopping is None:
                    self._stop(signals.number)
                for job in ended:
                    self._end(job)
        except Exception:
            self._stop(signal.SIGTERM)
            for job in self.running:
                job.process.join()
            raise

    def _start_some(self) -> None:
        while self.left and self.stopping is None:
            if self.at_once is not None and len(self.running) >= self.at_once:
                return
            start = next(self.starts)
            self.left -= 1
            if isinstance(start, Refused):
                self._refuse(start)
            else:
                self._start(start)

    def _refuse(self, start: Refused) -> None:
        self.progress.started(start.state)
        self._report(start, _failed(start.error, start.run_dir))

    def _start(self, start: Start) -> None:
        if self.at_once is None:
            self.at_once = jobs_at_once(start.threads)
        self.progress.at_once = self.at_once
        output = tempfile.TemporaryFile()  # noqa: SIM115
        surroundings = process.Surroundings(environment=dict(os.environ), output=output.fileno())
        # Processes that the system ends at its own end would leave half-written files.
        job = self.context.Process(
            target=start.target, args=(surroundings, start.payload), daemon=False
        )
        self.progress.larger_is_better = start.objective[1]
        running = Running(start, job, output)
        job.start()
        self.running.append(running)
        running.look()
        start.state.resumed = start.state.epoch
        self.progress.started(start.state)

    def _wait(self) -> list[Running]:
        """Look after the runs for a moment; those that have ended."""
        sentinels = {job.process.sentinel: job for job in self.running}
        ready = multiprocessing.connection.wait(list(sentinels), SECONDS_BETWEEN_LOOKS)
        for job in self.running:
            before = job.start.state.epoch
            job.look()
            if job.start.state.epoch != before:
                self.progress.epoch(job.start.state)
        self.progress.refresh()
        return [sentinels[sentinel] for sentinel in ready]

    def _end(self, job: Running) -> None:
        """Take note of a run that has ended, and see to it that it has a result."""
        job.process.join()
        self.running.remove(job)
        result = self._result_of(job)
        job.process.close()
        job.output.close()
        self._report(job.start, result)

    def _report(self, start: Start | Refused, result: Result) -> None:
        stop = self.ended(start, result)
        start.state.status = result.status
        if result.objective is not None:
            # Of a job of folds or members, whose epochs are theirs, this is all that is known.
            start.state.best = result.objective.value
        reason = result.error.message if result.error is not None else ""
        self.progress.ended(start.state, reason)
        if stop and self.stopping is None:
            self._stop(signal.SIGTERM)

    def _result_of(self, job: Running) -> Result:
        run_dir, code = job.start.run_dir, job.process.exitcode
        result = read_result(run_dir)
        # One that an earlier process has left says nothing of this one.
        if result is not None and (code == 0 or _result_file(run_dir) != job.before):
            return result
        if self.stopping is not None and code != -signal.SIGKILL:
            # It had not begun to listen for signals, nor to train: what is there stays as it is.
            return _unsaved("interrupted", InterruptedRun(self.stopping))
        return _failed(SeqconvError(_cause(code, job.output)), run_dir)

    def _stop(self, number: int) -> None:
        """Let every run save and end; no other is started."""
        self.stopping = number
        for job in self.running:
            with contextlib.suppress(OSError, ValueError):
                os.kill(job.process.pid, number)

    def _end_at_once(self) -> None:
        # All before the first is waited for: another signal may end the waiting.
        for job in self.running:
            with contextlib.suppress(OSError, ValueError):
                job.process.kill()
        for job in self.running:
            with contextlib.suppress(OSError, ValueError):
                job.process.join()
            job.output.close()


def _result_file(run_dir: Path) -> tuple[int, int] | None:
    """What tells a `metrics.json` from an earlier one; None if there is none."""
    try:
        found = (run_dir / layout.METRICS).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _failed(error: SeqconvError, run_dir: Path) -> Result:
    """The result of a run that has left none, written unless another process has the directory."""
    from seqconv.training.outcome import not_started

    run_dir.mkdir(exist_ok=True)
    try:
        with locked(run_dir):
            return not_started(error, run_dir).result
    except OutputError:
        return _unsaved("failed", error)


def _unsaved(status: Status, error: SeqconvError) -> Result:
    return Result(status=status, error=ErrorResult(message=str(error), exit_code=error.exit_code))


def _cause(code: int | None, output: IO[bytes]) -> str:
    """Why a process has ended without a result."""
    output.seek(0)
    last = output.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = "; the system may have run out of memory" if name == "SIGKILL" else ""
        reason = f"its process was ended by {name}{memory}"
    else:
        reason = f"its process ended with {code} and left no result"
    return ". ".join([reason, *([f"Its last words: {' | '.join(last)}"] if last else [])])
