"""Every error a user can meet. Each class knows the exit code that scripts rely on."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

# Of a disk: full, over the quota, turned read-only, broken.
DISK_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class SeqconvError(Exception):
    """Parent of all errors that are reported in a few lines, without a traceback."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration: which key, and what to do about it."""

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


class ConfigError(SeqconvError):
    """The command line or a YAML file is wrong. Holds all problems found, not the first one."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]):
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class OutputError(SeqconvError):
    """The output folder cannot be written, or belongs to another run."""

    exit_code = 2


def not_written(path: Path, error: OSError) -> SeqconvError:
    """The error of what could not be written: that a disk is full or broken is no mistake of whoever named the path."""
    message = f"{path}: cannot be written ({error.strerror})"
    return SeqconvError(message) if error.errno in DISK_FAILURES else OutputError(message)


class DataError(SeqconvError):
    """Data that is missing, unreachable or corrupt."""

    exit_code = 3


class ChangedDataError(DataError):
    """A run was started with other data."""


class FileError(DataError):
    """A file as a whole cannot be used: it is missing, empty, or cut off."""


class DivergedError(SeqconvError):
    """The loss, a weight or a validation metric is no longer a number."""

    exit_code = 4


class SweepError(SeqconvError):
    """Some jobs of a sweep failed; the others' results stand."""

    exit_code = 5


class RequirementError(SeqconvError):
    """The run is complete, but a `require` does not hold."""

    exit_code = 6


class InterruptedRun(SeqconvError):
    """A signal or a time limit asked the run to stop.

    Attributes:
        signal_number: such as SIGTERM; the exit code is 128 more.
    """

    def __init__(self, signal_number: int, message: str | None = None):
        super().__init__(message or f"stopped by signal {signal_number}")
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known name, or an empty string."""
    matches = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{matches[0]}`?" if matches else ""


def unknown_key(key: str, known: Iterable[str], where: str = "") -> Problem:
    """The problem of a key that no section has."""
    return Problem(key, f"unknown key{where}.{did_you_mean(key, known)}".removesuffix("."))
