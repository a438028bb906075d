"""A run directory: the names in it, and having one that no other run has."""

from __future__ import annotations

import os
from pathlib import Path

from seqconv.config.errors import OutputError

CONFIG = "config.yaml"
METRICS = "metrics.json"
EPOCHS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
HISTORY = "history.png"
ENVIRONMENT = "environment.json"
PREPARATION = "preparation.json"
LOCK = ".lock"
# The id of the run in MLflow.
MLFLOW = "mlflow.json"
# Of a sweep.
MANIFEST = "sweep.json"
JOURNAL = "study.log"
HYDRA = ".hydra"
LOG = "train.log"
FILES = (CONFIG, METRICS, EPOCHS, HISTORY, ENVIRONMENT, PREPARATION, MLFLOW, LOCK)


def fold_name(number: int) -> str:
    """The directory of a fold in its run's, counted from 1."""
    return f"fold-{number}"


def member_name(number: int) -> str:
    """Name of a member of an ensemble, counted from 1: of its directory in the run's, and of its layer in the model."""
    return f"member_{number}"


def is_sweep(path: Path) -> bool:
    """Whether a directory holds a sweep."""
    return (path / MANIFEST).is_file() or (path / JOURNAL).is_file()


def is_begun(run_dir: Path) -> bool:
    """Whether a run has come so far that it can be resumed."""
    path = run_dir / CONFIG
    return path.is_file() and path.stat().st_size > 0


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
    """Take an existing directory that the user chose, if it is free; between two that do, the lock decides.

    Raises:
        OutputError: if it is not.
    """
    try:
        if not _is_free(path):
            raise OutputError(f"{path}: holds files already; a run needs a directory of its own")
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
    staging = {name for name in names if name.startswith((f".{CONFIG}.", f".{MANIFEST}."))}
    if LOCK not in names or names - staging - {LOCK, CONFIG, HYDRA, LOG}:
        return False
    check_own_files(path)
    return CONFIG not in names or (path / CONFIG).stat().st_size == 0


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
                    f"{found}: is a link or no plain file; a run that is resumed holds files and folders only"
                )
    for name in FILES:
        if (path / name).is_dir():
            raise OutputError(f"{path / name}: must be a file")
    if (path / CHECKPOINTS).is_file():
        raise OutputError(f"{path / CHECKPOINTS}: must be a folder")
