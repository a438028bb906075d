"""Signals that ask a run to stop: noted at once, acted on where the state is whole."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from seqconv.errors import InterruptedRun

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGTERM") if hasattr(signal, name)
)


class StopRequest:
    """Listens for SIGHUP, SIGINT and SIGTERM while used as a context manager.

    Before training there is nothing to save: the signal raises `InterruptedRun` where it comes. Once `deferred`
    is set, it is only noted, and `check()` raises it between two steps. A second SIGINT raises
    KeyboardInterrupt at once.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in SIGNALS:
            try:
                self._previous[number] = signal.signal(number, self._note)
            except ValueError:  # Not the main thread: a host program handles its signals itself.
                break
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def check(self) -> None:
        """Raise `InterruptedRun` if a signal has come."""
        if self.number is not None:
            raise InterruptedRun(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        if not self.deferred:
            raise InterruptedRun(number)
