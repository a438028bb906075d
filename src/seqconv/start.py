"""The console script: signals end it without a traceback from the first moment on.

Loads nothing before they do. Later, what has something to save listens itself (`seqconv.stopping`).
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """The console script."""
    for name in ("SIGHUP", "SIGINT", "SIGTERM"):
        number = getattr(signal, name, None)
        # `nohup` asks to survive the terminal.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    from seqconv import cli

    cli.main()


def _end(number: int, frame: FrameType | None) -> None:
    # There is nothing to save, or it is saved. An exception would be told as a failure by the library it comes upon.
    os._exit(128 + number)
