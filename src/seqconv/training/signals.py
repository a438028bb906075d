"""Signals and time limits that ask a run to stop: raised at once where there is nothing to save, else held back."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, MethodType
from typing import Any

from seqconv.config.errors import InterruptedRun

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)
)
# Before the time of a job is up; a host such as submitit, which listens for one of them, requeues it.
OF_THE_HOST = tuple(
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)


class Signals:
    """Listens for SIGHUP, SIGINT and SIGTERM while used as a context manager, and watches the clock.

    A signal raises where it comes. Inside `with signals.held():` it is only noted, and `check()` raises it where the
    state is whole; inside `with signals.raised():` it raises again. A second SIGINT raises KeyboardInterrupt at once.
    What is raised where a signal comes can be lost, since C code may clear it: a listener inside of another one begins
    with the signal that came to that one.
    SIGUSR1 and SIGUSR2 are like them where the host program has a handler, which is called at the end.

    Args:
        error: makes what is raised for a signal, of its number.
        since: when what a limit counts began, on the monotonic clock that all processes share; None: now.

    Attributes:
        number: of the first signal that came.
        since: when what a limit counts began.
        reserve: seconds that saving may take; a time limit ends so much earlier.
    """

    def __init__(
        self,
        error: Callable[[int], BaseException] = InterruptedRun,
        since: float | None = None,
    ) -> None:
        self._error = error
        self._held = False
        self.number: int | None = None
        self.reserve = 0.0
        # The monotonic clock: setting the machine's clock back neither shortens nor lengthens a run.
        self.since = time.monotonic() if since is None else since
        self._seconds: float | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        hosts = [number for number in OF_THE_HOST if callable(signal.getsignal(number))]
        for number in (*SIGNALS, *hosts):
            try:
                before = signal.getsignal(number)
                # `nohup` has SIGHUP ignored, a shell SIGINT for what it starts in the background; that stays so.
                if before == signal.SIG_IGN:
                    continue
                if isinstance(before, MethodType) and isinstance(before.__self__, Signals):
                    self.number = before.__self__.number
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # Not the main thread: a host program handles its signals itself.
                break
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self.number is not None and self.number in OF_THE_HOST:
            signal.raise_signal(self.number)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only note signals in the block; nothing raises at its end either."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raise signals where they come in the block, one that was held back before at its start."""
        before, self._held = self._held, False
        try:
            self.check_signal()
            yield
        finally:
            self._held = before

    def limit(self, seconds: float | None) -> None:
        """Ask to stop so many seconds after `since`; None: never."""
        self._seconds = seconds

    @property
    def reason(self) -> InterruptedRun | None:
        """Why to stop; None as long as nothing asks for it."""
        if self.number is not None:
            return InterruptedRun(self.number)
        if self._seconds is not None:
            spent = time.monotonic() - self.since
            if spent + self.reserve >= self._seconds:
                # As if a scheduler had sent SIGTERM at that moment: one case less for scripts.
                return InterruptedRun(
                    signal.SIGTERM,
                    f"the time of `trainer.max_time` is up ({spent:.0f} s)",
                )
        return None

    def check_signal(self) -> None:
        """As `check`, whatever the time: a run that gets no time at all would never come to an end."""
        if self.number is not None:
            raise self._error(self.number)

    def check(self) -> None:
        """Raise if a signal has come or the time is up."""
        self.check_signal()
        if (reason := self.reason) is not None:
            raise reason

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number if self.number is None else self.number
        if not self._held:
            raise self._error(number)
