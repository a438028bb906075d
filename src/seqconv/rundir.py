"""A run directory: the names in it, writing them whole or not at all, and what machine it ran on."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import math
import os
import platform
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seqconv.errors import OutputError

CONFIG = "config.yaml"
METRICS = "metrics.json"
EPOCHS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
HISTORY = "history.png"
CONFUSION = "confusion.png"
ENVIRONMENT = "environment.json"
PREPARATION = "preparation.json"
LOCK = ".lock"
HYDRA = ".hydra"
LOG = "train.log"
FILES = (CONFIG, METRICS, EPOCHS, HISTORY, CONFUSION, ENVIRONMENT, PREPARATION, LOCK)

PACKAGES = ("seqconv", "tensorflow", "keras", "numpy", "polars", "scikit-learn", "hydra-core")


def check_free(path: Path) -> None:
    """Refuse early, and without creating anything, a folder that could not be made or is in use.

    Raises:
        OutputError: if `path` holds files, or it or the nearest folder above that exists cannot be written.
    """
    existing = path.absolute()
    try:
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if not existing.is_dir():
            raise OutputError(f"{path}: the output folder cannot be made, {existing} is a file")
        if existing == path.absolute() and not _is_free(path):
            raise OutputError(f"{path}: holds files already; a run needs a directory of its own")
    except OSError as error:
        raise OutputError(f"{path}: the output folder cannot be made ({error.strerror})") from error
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(
            f"{path}: the output folder cannot be written (no permission for {existing})"
        )


def create(path: Path) -> Path:
    """Make a run directory that nobody else has.

    Raises:
        FileExistsError: if it exists.
        OutputError: if it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
    except FileExistsError:
        if not path.parent.is_dir():
            raise OutputError(
                f"{path}: the output folder cannot be made, a file is in the way"
            ) from None
        raise
    except OSError as error:
        raise OutputError(f"{path}: the output folder cannot be made ({error.strerror})") from error
    return path


def claim(path: Path) -> Path:
    """Take an existing directory that the user chose, if it is free and nobody else takes it.

    Raises:
        OutputError: if it is not.
    """
    try:
        if not _is_free(path):
            raise OutputError(f"{path}: holds files already; a run needs a directory of its own")
        # Between two processes that come this far, taking the lock decides.
        (path / LOCK).touch()
    except OSError as error:
        raise OutputError(f"{path}: cannot be used ({error.strerror})") from error
    return path


def _is_free(path: Path) -> bool:
    """Whether a directory is empty, or holds only what a start leaves that is killed before it has a configuration.

    Without it a command line that is repeated until it is done would be refused ever after.

    Raises:
        OutputError: if something in what such a start has left leads elsewhere.
    """
    names = {entry.name for entry in path.iterdir()}
    if not names:
        return True
    staging = {name for name in names if name.startswith(f".{CONFIG}.")}
    if LOCK not in names or names - staging - {LOCK, CONFIG, HYDRA, LOG}:
        return False
    check_own_files(path)
    return CONFIG not in names or (path / CONFIG).stat().st_size == 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep a run directory to this process.

    The system's own lock (`flock`): freed when the process ends, however it ends, so there is no stale lock to
    remove. On NFS Linux turns it into a byte-range lock that the server holds, which other machines respect, and
    which is freed when the server learns of a client's death; a file system without locks falls back to a file
    that names its owner. The file itself stays: removing it would let two processes lock two files of one name.

    Raises:
        OutputError: if another process has it, or nothing can be written there.
    """
    import filelock

    lock = filelock.FileLock(path / LOCK, timeout=0)
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


def check_own_files(path: Path) -> None:
    """Refuse a run directory from which something leads elsewhere: what is written there would land outside.

    Raises:
        OutputError: if it is no directory, or holds anything but files and folders.
    """
    if not path.is_dir():
        raise OutputError(f"{path}: no such run directory")
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            found = Path(folder) / name
            if found.is_symlink() or not (found.is_dir() or found.is_file()):
                raise OutputError(
                    f"{found}: is a link or no plain file; a run that is gone on with holds files and folders only"
                )
    for name in FILES:
        if (path / name).is_dir():
            raise OutputError(f"{path / name}: must be a file")
    if (path / CHECKPOINTS).is_file():
        raise OutputError(f"{path / CHECKPOINTS}: must be a folder")


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a crash, sees the old text or the new one."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staging.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_staging(folder: Path) -> None:
    """Remove what `write_text` of a process that died has left in a folder; nobody else writes there now."""
    for path in folder.glob(".*"):
        if path.suffix[1:].isdigit() and path.is_file():
            path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush a folder's own entries, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON as a whole; not-a-number becomes null, since JSON has no such number."""
    write_text(path, json.dumps(_finite(value), indent=2) + "\n")


# A history of a hundred thousand epochs has 30 MB.
LARGEST_JSON = 100_000_000
# Ours are nested five deep.
DEEPEST_JSON = 32


def read_json(path: Path) -> dict[str, Any] | None:
    """An object from a run directory; None where there is none that can be read. The file is not trusted."""
    try:
        value = parse_json(read_plain(path, largest=LARGEST_JSON))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def parse_json(text: bytes) -> Any:
    """The value of a JSON text that is not trusted.

    Raises:
        ValueError: if it is no JSON, or nested so deeply that it could not be walked through or written again.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [value]
    for _ in range(DEEPEST_JSON):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def read_plain(path: Path, *, largest: int | None = None, follow: bool = False) -> bytes:
    """The bytes of a plain file. A pipe would be waited for, a device may never end, a link may lead anywhere.

    Args:
        path: of the file.
        largest: number of bytes; None: no limit.
        follow: whether a link may lead to the file.

    Raises:
        OSError: if it is something else, too large, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is no plain file", str(path))
            content = stream.read(-1 if largest is None else largest + 1)
    except ValueError as error:
        raise OSError(errno.EINVAL, f"that is no name of a file: {error}", str(path)) from error
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link", str(path)) from error
        raise
    if largest is not None and len(content) > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes", str(path))
    return content


def json_line(value: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def environment(devices: list[str]) -> dict[str, Any]:
    """Versions, platform, devices, git commit and command line. No environment variables: they hold secrets."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "devices": devices,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the folder the run was started in, where there is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
