"""Everything people see, on stderr; the same text goes to the run's log. Results for scripts go to stdout.

The only module that imports rich.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from seqconv.config.errors import ConfigError, SeqconvError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

SECONDS_BETWEEN_REFRESHES = 0.1
# Cells of tables that are longer may be wrapped; numbers are not.
LONGEST_WHOLE = 24
DUMB = ("dumb", "unknown")

log = logging.getLogger("seqconv")


def _console() -> Console:
    from rich.console import Console

    # Made anew each time, so that a redirected sys.stderr is respected. Names from data are no markup.
    return Console(
        stderr=True,
        force_terminal=_is_terminal(sys.stderr),
        markup=False,
        highlight=False,
        emoji=False,
    )


def _is_terminal(stream: IO[str] | None) -> bool:
    """Whether lines can be written again; rich takes a FORCE_COLOR, and a terminal that is dumb, for one that can."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") not in DUMB


def printable(text: str) -> str:
    """Text with control characters written out: a column name cannot command the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else repr(c)[1:-1] for c in text)


def info(text: str) -> None:
    """A message for people."""
    text = printable(text)
    # A terminal that has hung up, or a reader that has gone, is no failure of the run: the log has it all.
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            print(text, file=sys.stderr)
    for line in text.splitlines():
        _to_log(line)


def _to_log(text: str) -> None:
    """A message for the log of a run. A log that cannot be written, as on a full disk, is not reported too."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        log.info("%s", text)
    finally:
        logging.raiseExceptions = before


class NativeNotices:
    """What native code writes to stderr, such as TensorFlow's start-up notices, kept for the run's log.

    They are of no use on the terminal, and no Python setting reaches the ones written before TensorFlow's own logging
    has started. Where stderr is no file of the system (a test that captures it), nothing is redirected.

    Args:
        people: whether people are written to in the meantime: `sys.stderr` then writes where it wrote before.
    """

    def __init__(self, *, people: bool = False) -> None:
        self._people = people
        self._notices: IO[bytes] | None = None
        self._terminal = -1
        self._before: Any = None
        self._meanwhile: Any = None

    def catch(self) -> None:
        """From now on."""
        try:
            notices = tempfile.TemporaryFile()  # noqa: SIM115
        except OSError:
            return
        try:
            sys.stderr.flush()
            self._terminal = os.dup(2)
        except (OSError, ValueError, AttributeError):
            notices.close()
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if self._people and sys.stderr.fileno() == 2:
                self._before = sys.stderr
                # Left open at the end: a log handler may have been given it.
                self._meanwhile = sys.stderr = open(  # noqa: SIM115
                    self._terminal,
                    "w",
                    buffering=1,
                    encoding=sys.stderr.encoding,
                    errors=sys.stderr.errors,
                    closefd=False,
                )
        self._notices = notices
        os.dup2(notices.fileno(), 2)

    def release(self) -> None:
        """No longer; what was written until now goes to the log."""
        if self._notices is None:
            return
        os.dup2(self._terminal, 2)
        if self._meanwhile is None:
            os.close(self._terminal)
        elif sys.stderr is self._meanwhile:
            sys.stderr = self._before
        with self._notices as notices:
            self._notices = None
            notices.seek(0)
            for line in notices.read().decode(errors="replace").splitlines():
                _to_log(line)


@contextlib.contextmanager
def native_notices_in_log() -> Iterator[None]:
    """Keep what native code writes to stderr in a block for the run's log."""
    notices = NativeNotices()
    notices.catch()
    try:
        yield
    finally:
        notices.release()


def result(line: str) -> None:
    """One line for scripts, on stdout. A reader that has gone away, or a full disk, is no failure of the run."""
    with _lost_stdout():
        print(line, flush=True)


@contextlib.contextmanager
def _lost_stdout() -> Iterator[None]:
    """Say once that stdout cannot be written; of a reader that has seen enough nothing need be said."""
    try:
        yield
    except OSError as error:
        # Python would complain again when it flushes stdout at exit.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        if not isinstance(error, BrokenPipeError):
            info(f"stdout cannot be written ({error.strerror}): what was to follow there is lost")


def job_result(line: str) -> None:
    """The line of a job for scripts; on a terminal there is a table of all jobs instead."""
    if sys.stdout is not None and not sys.stdout.isatty():
        result(line)


def error(failure: SeqconvError, program: str = "seqconv-train") -> None:
    """An error in a few lines: what, where, what to do."""
    if isinstance(failure, ConfigError):
        count = len(failure.problems)
        head = f"{count} problem{'s' if count > 1 else ''}"
        # Of `seqconv` they may be options, or files.
        head += " with the configuration" if program == "seqconv-train" else ""
        info("\n".join([f"{program}: {head}", *(f"  {problem}" for problem in failure.problems)]))
    else:
        info(f"{program}: {failure}")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; the first column reads to the left, the others to the right."""
    from rich.table import Table

    shown = Table(title=printable(title), title_justify="left", title_style="bold")
    widths = [
        _least_width(column, [row[index] for row in rows]) for index, column in enumerate(columns)
    ]
    for index, (column, width) in enumerate(zip(columns, widths, strict=True)):
        shown.add_column(
            printable(column),
            justify="right" if index else "left",
            overflow="fold",
            min_width=width,
        )
    for row in rows:
        shown.add_row(*(printable(cell) for cell in row))
    console = _console()
    # With a border and a space on each side. Wider than the terminal is better than cut off.
    needed = sum(widths) + 3 * len(widths) + 1
    console.width = max(needed, console.width if console.is_terminal else 110)
    with contextlib.suppress(OSError):
        console.print(shown)
    _to_log(f"{printable(title)}\n{_plain_table(columns, rows)}")


def _least_width(column: str, cells: Sequence[str]) -> int:
    """The width of a column whose heading is wrapped between words, and whose cells are only where they are long."""
    from rich.cells import cell_len

    words = max((cell_len(word) for word in printable(column).split()), default=0)
    widest = max((cell_len(printable(cell)) for cell in cells), default=0)
    return max(words, widest if widest <= LONGEST_WHOLE else LONGEST_WHOLE // 2)


def result_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    dispensable: Sequence[str] = (),
) -> None:
    """A table that was asked for, on stdout; in a pipe as wide as it is.

    Args:
        title: above it.
        columns: their names.
        rows: cells of each.
        dispensable: columns that are left out where a terminal has no room for all, the last one first.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(
        force_terminal=_is_terminal(sys.stdout), markup=False, highlight=False, emoji=False
    )
    if not console.is_terminal:
        console.width = 1000
    kept = _columns_with_room(columns, rows, dispensable, console.width)
    shown = Table(title=printable(title), title_justify="left", title_style="bold")
    for column in kept:
        # Half a name, or half a number, would be of no use.
        shown.add_column(printable(columns[column]), overflow="fold")
    for row in rows:
        shown.add_row(*(printable(row[column]) for column in kept))
    with _lost_stdout():
        console.print(shown)
    if len(kept) < len(columns):
        missing = [name for place, name in enumerate(columns) if place not in kept]
        info(f"no room for {', '.join(missing)}: a wider terminal or --format csv shows all")


def _columns_with_room(
    columns: Sequence[str], rows: Sequence[Sequence[str]], dispensable: Sequence[str], room: int
) -> list[int]:
    from rich.cells import cell_len

    # With a border and a space on each side.
    widths = [
        3 + max(cell_len(printable(row[place])) for row in [columns, *rows])
        for place in range(len(columns))
    ]
    kept = list(range(len(columns)))
    for name in reversed(dispensable):
        if sum(widths[place] for place in kept) + 1 <= room:
            break
        kept.remove(columns.index(name))
    return kept


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        "  ".join(f"{printable(cell):>14}" for cell in row) for row in [columns, *rows]
    )


class TrainingProgress:
    """Live progress on a terminal; a line per epoch elsewhere."""

    def __init__(self, epochs: int, steps: int):
        self._epochs = epochs
        self._steps = steps
        self._bar: Progress | None = None
        self._task: Any = None

    @contextlib.contextmanager
    def live(self) -> Iterator[TrainingProgress]:
        """Show progress while the block runs."""
        console = _console()
        if not console.is_terminal:
            yield self
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
        )
        with self._bar:
            self._task = self._bar.add_task(
                "", total=self._epochs * self._steps, epoch=f"1/{self._epochs}", status=""
            )
            yield self
        self._bar = None

    def step(self, epoch: int, step: int, loss: float) -> None:
        """One training step was done; `step` counts from 1 within the epoch."""
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=(epoch - 1) * self._steps + step,
                epoch=f"{epoch}/{self._epochs}",
                status=f"loss {loss:.4f}",
            )

    def status(self, text: str) -> None:
        """What happens between steps, such as validation."""
        if self._bar is not None:
            self._bar.update(self._task, status=text)

    def epoch(self, line: str) -> None:
        """The line of a finished epoch."""
        info(line)


@dataclass
class JobState:
    """What people see of a job of a sweep.

    Attributes:
        number: of the job.
        label: what tells it from the others.
        epochs: how many it has to do.
        started: on the monotonic clock.
        epoch: how many it has done.
        resumed: how many of these it had done before.
        best: its objective at its best epoch.
        epoch_seconds: of one epoch.
        status: `running`, or how it ended.
    """

    number: int
    label: str
    epochs: int
    started: float
    epoch: int = 0
    resumed: int = 0
    best: float | None = None
    epoch_seconds: float = 0.0
    status: str = "running"

    @property
    def seconds_left(self) -> float | None:
        """Until its last epoch ends."""
        if self.status != "running":
            return 0.0
        return self.epoch_seconds * (self.epochs - self.epoch) if self.epoch else None


class SweepProgress:
    """One live table of all jobs on a terminal; a line for each event elsewhere.

    Args:
        count: of jobs.
    """

    def __init__(self, count: int):
        self.at_once = 1
        self.larger_is_better = False
        self._count = count
        self._jobs: list[JobState] = []
        self._live: Any = None
        self._begun = time.monotonic()
        self._shown = 0.0

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show progress while the block runs."""
        console = _console()
        if not console.is_terminal:
            yield
            return
        from rich.live import Live

        with Live(console=console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def started(self, job: JobState) -> None:
        """A job has started."""
        self._jobs.append(job)
        if self._live is None:
            info(f"job {job.number} begins ({len(self._jobs)} of {self._count}): {job.label}")

    def epoch(self, job: JobState) -> None:
        """A job has finished an epoch."""
        if self._live is None:
            info(
                f"job {job.number}  epoch {job.epoch}/{job.epochs}  best {_value(job.best)}  "
                f"{self._left(job)}; the sweep: {self._sweep_left()}"
            )

    def ended(self, job: JobState, reason: str) -> None:
        """A job has ended; `reason` says why, if not well."""
        if self._live is None or reason:
            after = f": {reason}" if reason else ""
            seconds = time.monotonic() - job.started
            text = (
                f"job {job.number} {job.status} after {_duration(seconds)}, best {_value(job.best)}"
            )
            if self._live is None:
                info(text + after)
            else:
                self._live.console.print(printable(text + after))
                _to_log(text + after)

    def refresh(self) -> None:
        """Draw the table again."""
        now = time.monotonic()
        if self._live is None or now - self._shown < SECONDS_BETWEEN_REFRESHES:
            return
        self._shown = now
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich.table import Table

        ended = [job for job in self._jobs if job.status != "running"]
        title = (
            f"{len(ended)} of {self._count} jobs done, {self.at_once} at once, {self._sweep_left()}"
        )
        table = Table(title=title, title_justify="left")
        for name in ("job", "settings", "status", "epoch", "best", "left"):
            table.add_column(name, justify="left" if name in ("settings", "status") else "right")
        sign = -1 if self.larger_is_better else 1
        known = sorted(
            self._jobs, key=lambda job: (job.best is None, sign * (job.best or 0.0), job.number)
        )
        running = [job for job in known if job.status == "running"]
        room = max(3, self._live.console.height - 6 - len(running))
        best = [job for job in known if job.status != "running"][:room]
        chosen = {job.number for job in (*best, *running)}
        for job in known:
            if job.number in chosen:
                table.add_row(
                    str(job.number),
                    printable(job.label),
                    job.status,
                    f"{job.epoch}/{job.epochs}",
                    _value(job.best),
                    self._left(job),
                )
        return table

    @staticmethod
    def _left(job: JobState) -> str:
        if job.status != "running":
            return ""
        seconds = job.seconds_left
        return "" if seconds is None else f"{_duration(seconds)} left"

    def _sweep_left(self) -> str:
        done = sum(job.epoch - job.resumed for job in self._jobs)
        if not done:
            return "time left unknown"
        # A job that has failed or stopped early has nothing left; one that has not begun is like the others.
        left: float = sum(job.epochs - job.epoch for job in self._jobs if job.status == "running")
        left += (self._count - len(self._jobs)) * max(job.epochs for job in self._jobs)
        spent = time.monotonic() - self._begun
        return f"about {_duration(spent * left / done)} left"


def _value(number: float | None) -> str:
    return "-" if number is None else f"{number:.5g}"


def _duration(seconds: float) -> str:
    """In the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class DownloadBar:
    """A progress bar as pooch wants it: `total`, `update`, `reset`, `close`.

    Args:
        name: what is downloaded.
    """

    def __init__(self, name: str):
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.total = 0
        self._name = name
        self._bar = Progress(
            TextColumn(printable(name)),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=_console(),
            transient=True,
            auto_refresh=False,  # no thread that could outlive a download that fails
        )
        self._task: Any = None
        self._shown = 0.0

    def update(self, size: int) -> None:
        """So many bytes more have come."""
        if self._task is None:
            if not self._bar.console.is_terminal:
                info(f"downloading {self._name}, {self.total / 1e6:.1f} MB")
            self._task = self._bar.add_task("", total=self.total)
            self._bar.start()
        self._bar.update(self._task, advance=size)
        now = time.monotonic()
        if now - self._shown > SECONDS_BETWEEN_REFRESHES:
            self._shown = now
            self._bar.refresh()

    def reset(self) -> None:
        """Called by pooch at the end, before it fills the bar."""

    def close(self) -> None:
        """The download has ended."""
        self._bar.stop()
