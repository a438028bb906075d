"""Jobs that are killed and gone on with, and the comparison with a run that nobody disturbed.

Used by `test_random_kills.py` and by `make soak` (`soak.py`). The jobs are forked from one process that has imported
everything, and has not yet run anything of TensorFlow: its threads would not be there in a fork. So a job begins after
hundredths of a second, and kills by the hundred take minutes.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from seqconv.config.errors import DataError
from seqconv.runs import files
from seqconv.runs import layout as rundir
from seqconv.runs.checkpoints import POINTERS, STAGING, CheckpointStore, read

# What a run loads on its way; the packages of scikit-learn and rich that are imported where they are needed, too.
PRELOADED = [
    "tensorflow",
    "keras",
    "filelock",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "rich.progress",
    "rich.table",
    "sklearn.linear_model",
    "seqconv.cli.train",
    "seqconv.models.conv1d",
    "seqconv.models.conv_gru",
    "seqconv.models.gru",
    "seqconv.models.lstm",
    "seqconv.models.layers.recurrent",
    "seqconv.training.run",
]

# Some hundred windows to validate and to test on; the two data sets need no file.
SERIES = [
    "dataset=climate_demo",
    "lookback=72",
    "step=2",
    "delay=20",
    "split.train_end=0.98",
    "split.validation_end=0.99",
    "batch_size=16",
]
TEXTS = ["dataset=reviews_demo", "max_len=32", "embedding_size=8", "batch_size=32"]

# A job takes seconds; one that has come no further by then hangs.
DEADLINE = 300
TIMES = ("seconds", "samples_per_second", "step_seconds", "epoch_seconds", "fit_seconds")

# `Process.start` looks after all processes that have ended, and of two threads that ask how one of them ended only
# the first is told.
_ASKING = threading.Lock()


class JobError(Exception):
    """A job did not do what every job must do: end, in one of the ways that it may."""


@dataclass(frozen=True)
class Event:
    """Where a job was.

    Attributes:
        name: `started`, `step`, `saving`, `saved`.
        time: of the monotonic clock, which all processes of a machine share.
        checkpoint: which one, of the last two.
    """

    name: str
    time: float
    checkpoint: str = ""


class Job:
    """`seqconv-train WORDS` in a process of its own, in a folder of its own.

    Args:
        words: of the command line.
        folder: its current one; what it prints is added to `stdout.txt` and `stderr.txt` there.
    """

    def __init__(self, words: Sequence[str], folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.events: list[Event] = []
        self.ended = False
        self._process, self._told = _fork(_work, list(words), folder)
        self.started = time.monotonic()

    def await_event(self, name: str) -> Event | None:
        """The first event of a name, or None if the job ended without.

        Raises:
            JobError: if neither comes.
        """
        deadline = time.monotonic() + DEADLINE
        while True:
            for event in self.events:
                if event.name == name:
                    return event
            if not self._hear(deadline):
                if self.ended:
                    return None
                self.signal(signal.SIGKILL)
                raise JobError(f"{self.folder}: no {name!r} for {DEADLINE} s")

    def runs_until(self, moment: float) -> bool:
        """Wait until a moment of the monotonic clock; whether the job is still running then."""
        while self._hear(moment):
            pass
        return not self.ended

    def signal(self, number: int) -> int:
        """Send a signal, wait for the end; the exit code, negative for a signal that ended it."""
        # It may have ended just now.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        return self.end()

    def end(self) -> int:
        """Wait for the end; the exit code.

        Raises:
            JobError: if it does not end.
        """
        if self.runs_until(time.monotonic() + DEADLINE):
            os.kill(self._process.pid, signal.SIGKILL)
            raise JobError(f"{self.folder}: did not end in {DEADLINE} s")
        with _ASKING:
            self._process.join()
        self._told.close()
        code = self._process.exitcode
        self._process.close()
        return code

    def _hear(self, moment: float) -> bool:
        """Take up one event; False where the time is up, or the job has ended and told all.

        A pipe holds a few hundred events: somebody has to listen, or the job waits.
        """
        heard = wait([self._told, self._process.sentinel], max(moment - time.monotonic(), 0))
        if self._told in heard:
            try:
                self.events.append(self._told.recv())
                return True
            except EOFError:
                # It is ending: what is left of it takes no time.
                heard = wait([self._process.sentinel], DEADLINE)
        self.ended = self._process.sentinel in heard
        return False

    @property
    def writing(self) -> bool:
        """Whether the last thing it told was that it saves a checkpoint."""
        told = [event.name for event in self.events if event.checkpoint]
        return bool(told) and told[-1] == "saving"


def _fork(target: Callable[..., None], *arguments: Any) -> tuple[Any, Connection]:
    """Start a process with everything imported, and the end of a pipe to it as its last argument; the other end."""
    context = multiprocessing.get_context("forkserver")
    # As `loading.import_quickly` sets it, but that comes after the import here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    context.set_forkserver_preload(PRELOADED)
    told, telling = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, telling), daemon=True)
    with _ASKING:
        process.start()
    telling.close()
    return process, told


def _work(words: list[str], folder: Path, telling: Connection) -> None:
    """What a forked process does: run the command line, and tell where it is."""
    # Keras collects garbage when a model is built, and would look at all that TensorFlow has made: a third of a second.
    gc.freeze()
    os.chdir(folder)
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        with open(name, "ab") as file:
            os.dup2(file.fileno(), number)
    sys.argv = ["seqconv-train", *words]

    from seqconv.cli import train as cli
    from seqconv.training import loop

    count, save = loop.Training._count, CheckpointStore.save

    def tell(name: str, checkpoint: str = "") -> None:
        telling.send(Event(name, time.monotonic(), checkpoint))

    def count_and_tell(self: Any, *arguments: Any) -> None:
        count(self, *arguments)
        tell("step")

    def save_and_tell(self: Any, name: str, *arguments: Any, **options: Any) -> Path:
        tell("saving", name)
        path = save(self, name, *arguments, **options)
        tell("saved", name)
        return path

    loop.Training._count, CheckpointStore.save = count_and_tell, save_and_tell
    try:
        tell("started")
        code = cli.run_command(words)
    except KeyboardInterrupt:  # before it listens, or after
        code = 130
    sys.exit(code)


def unsoundness() -> str:
    """What is wrong with the process that the jobs are forked from; empty if nothing is."""
    process, told = _fork(_look_around)
    answer = told.recv()
    process.join()
    told.close()
    return answer


def _look_around(telling: Connection) -> None:
    missing = [name for name in PRELOADED if name not in sys.modules]
    import tensorflow as tf

    answer = f"not loaded: {', '.join(missing)}" if missing else ""
    try:
        # Refused as soon as TensorFlow has its threads.
        tf.config.threading.set_inter_op_parallelism_threads(0)
    except RuntimeError as error:
        answer += f"TensorFlow has run before the fork: {error}"
    telling.send(answer)


# A run that nobody disturbed


@dataclass(frozen=True)
class Twin:
    """What a run must come to.

    Attributes:
        run_dir: where it is.
        whole: seconds from the start of the process to its end.
        span: seconds from the first step to the end.
        saved: checkpoints inside each epoch, by epoch.
    """

    run_dir: Path
    whole: float
    span: float
    saved: dict[int, int]


def undisturbed(words: Sequence[str], folder: Path) -> Twin:
    """Run a command line to its end.

    Raises:
        JobError: if it does not complete.
    """
    job = Job(words, folder)
    first = job.await_event("step")
    code = job.end()
    ended = time.monotonic()
    run_dir = newest_run(folder)
    if code != 0 or first is None or run_dir is None:
        raise JobError(f"{folder}: exit code {code}\n{said(folder)}")
    saved: dict[int, int] = {}
    for event in job.events:
        if event.name == "saved" and not event.checkpoint.endswith("-step-0000000"):
            epoch = int(event.checkpoint.split("-")[1])
            saved[epoch] = saved.get(epoch, 0) + 1
    return Twin(run_dir, ended - job.started, ended - first.time, saved)


def newest_run(folder: Path) -> Path | None:
    """The run directory below a job's folder; None if it has not been made. Names tell the time."""
    return max(folder.glob("outputs/*/*"), default=None)


def said(folder: Path) -> str:
    """The last lines that a job printed, for people who must find out what went wrong."""
    return "".join((folder / "stderr.txt").read_text(errors="replace").splitlines(True)[-30:])


# What is left of a run that was killed


@dataclass(frozen=True)
class Remains:
    """How a kill left a run directory.

    Attributes:
        place: the last checkpoint by the pointer; empty: none.
        writing: the job was in the middle of saving.
        half_written: names of staging files and directories.
        unpointed: checkpoints that were renamed, but not yet pointed to.
    """

    place: str
    writing: bool
    half_written: list[str]
    unpointed: list[str]


def remains(folder: Path, job: Job) -> Remains:
    """Look, without touching: `CheckpointStore` would clean up."""
    run_dir = newest_run(folder)
    if run_dir is None:
        return Remains("", job.writing, [], [])
    folder = run_dir / rundir.CHECKPOINTS
    pointers = files.read_json(folder / POINTERS) or {}
    last = pointers.get("last", "")
    names = sorted(path.name for path in folder.glob("epoch-*"))
    return Remains(
        last,
        job.writing,
        [path.name for path in staging(run_dir)],
        [name for name in names if name > last],
    )


def staging(run_dir: Path) -> list[Path]:
    """What is written under another name first, and should be gone when a run has ended."""
    known = (".hydra", rundir.LOCK)
    return sorted(path for path in run_dir.rglob(".*") if path.name not in known)


@dataclass(frozen=True)
class Disturbance:
    """What came of a signal to a job.

    Attributes:
        code: the exit code.
        left: in the run directory; None if the job had ended before the signal.
        span: seconds from the event, after which the signal was timed, to the end.
    """

    code: int
    left: Remains | None
    span: float


def disturb(
    words: Sequence[str], folder: Path, number: int, delay: float, after: str = "step"
) -> Disturbance:
    """Start a job, and send it a signal so many seconds after an event."""
    job = Job(words, folder)
    event = job.await_event(after)
    running = event is not None and job.runs_until(event.time + delay)
    code = job.signal(number) if running else job.end()
    span = time.monotonic() - (event.time if event else job.started)
    return Disturbance(code, remains(folder, job) if running else None, span)


# The comparison


def differences(twin: Path, run_dir: Path, keep: int = 1) -> list[str]:
    """In what a run that was killed and gone on with is not what its undisturbed twin is; empty: in nothing.

    Args:
        twin: the run directory of the undisturbed one.
        run_dir: of the other.
        keep: its `trainer.keep`.
    """
    found = []
    # A picture whose writing was cut off would differ.
    pictures = {path.name: Path.read_bytes for path in sorted(twin.glob("*.png"))}
    for name, reading in (READ | pictures).items():
        try:
            expected, got = reading(twin / name), reading(run_dir / name)
        except (OSError, ValueError, DataError) as error:
            found.append(f"{name}: {error}")
            continue
        if expected != got:
            found.append(f"{name}: {_first_difference(expected, got)}")
    found += [f"left over: {path.relative_to(run_dir)}" for path in staging(run_dir)]
    others = _files(run_dir) ^ _files(twin)
    found += [f"only one of them has {name}" for name in sorted(others)]
    return [*found, *_wrong_checkpoints(run_dir, keep)]


def _wrong_checkpoints(run_dir: Path, keep: int) -> list[str]:
    """Every checkpoint that is there must be whole, and none too many may be there."""
    folder = run_dir / rundir.CHECKPOINTS
    found = []
    names = sorted(path.name for path in folder.iterdir() if path.name != POINTERS)
    for name in names:
        if not name.startswith(STAGING):
            try:
                read(folder / name)
            except DataError as error:
                found.append(str(error))
    last = (files.read_json(folder / POINTERS) or {}).get("last", "")
    found += [f"checkpoints/{name} comes after the last one" for name in names if name > last]
    if len(names) > 2 + keep:
        found.append(f"{len(names)} checkpoints where {2 + keep} are kept: {', '.join(names)}")
    return found


def _files(run_dir: Path) -> set[str]:
    """Names outside of the checkpoints; of Hydra's record, the start that was killed may have left none."""
    return {
        str(path.relative_to(run_dir))
        for path in run_dir.iterdir()
        if path.name not in (".hydra", rundir.CHECKPOINTS)
    }


def _epochs(path: Path) -> list[Any]:
    return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]


def _results(path: Path) -> dict[str, Any]:
    return {key: value for key, value in json.loads(path.read_text()).items() if key != "timing"}


def _checkpoint(role: str, path: Path) -> dict[str, Any]:
    """What a pointer leads to: its name, its state without times, its variables bit by bit."""
    name = json.loads((path / POINTERS).read_text())[role]
    checkpoint = read(path / name)
    variables = {
        key: (value.dtype.str, value.shape, value.tobytes())
        for key, value in checkpoint.variables.items()
    }
    return {"name": name, "state": _timeless(checkpoint.state), **variables}


def _timeless(value: Any) -> Any:
    """JSON without the seconds that something took."""
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    return value


READ = {
    rundir.CONFIG: Path.read_bytes,
    rundir.PREPARATION: Path.read_bytes,
    rundir.EPOCHS: _epochs,
    rundir.METRICS: _results,
    f"{rundir.CHECKPOINTS}/": lambda path: [_checkpoint(role, path) for role in ("last", "best")],
}


def _first_difference(expected: Any, got: Any) -> str:
    """The first place where two values differ, with both."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(expected.keys() | got.keys()):
            if key not in expected or key not in got:
                return f"only one of them has {key}"
            if expected[key] != got[key]:
                return f"{key}: {_first_difference(expected[key], got[key])}"
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for number, (one, other) in enumerate(zip(expected, got, strict=True)):
            if one != other:
                return f"{number}: {_first_difference(one, other)}"
    return f"{_short(expected)} in the undisturbed run, {_short(got)} in this"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({len(text)} characters)"
