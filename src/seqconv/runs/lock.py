"""The lock that keeps a run directory to one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqconv.config.errors import OutputError
from seqconv.runs.layout import LOCK

# That a process whose parent was killed may take to save and end.
SECONDS_TO_SAVE = 60


@contextmanager
def locked(path: Path, *, patience: float = 0) -> Iterator[None]:
    """Keep a run directory to this process.

    The system's own lock (`flock`): freed when the process ends, however it ends, so there is no stale lock to
    remove. On NFS Linux turns it into a byte-range lock that the server holds, which other machines respect, and
    which is freed when the server learns of a client's death; a file system without locks falls back to a file
    that names its owner. The file itself stays: removing it would let two processes lock two files of one name.

    Args:
        path: the directory.
        patience: seconds to wait for another process that has it.

    Raises:
        OutputError: if another process has it, or nothing can be written there.
    """
    import filelock

    lock = filelock.FileLock(path / LOCK, timeout=patience)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise OutputError(f"{path}: another process is working on this run") from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be locked ({error.strerror})") from error
    try:
        yield
    finally:
        lock.release()
