"""Checkpoints that are complete or absent.

Each is one directory: written under another name, flushed to disk, renamed; then the pointer file is replaced.
The recipe is that of `google-research/big_vision`, `utils.py`; the format is numpy's npz without pickle, with
checksums beside it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.config.errors import DataError, OutputError
from seqconv.data.arrays import read_arrays
from seqconv.data.files import LARGEST_JSON, parse_json, read_plain
from seqconv.runs.files import finite, sync_folder, write_json

VARIABLES = "variables.npz"
STATE = "state.json"
MANIFEST = "manifest.json"
POINTERS = "pointers.json"
STAGING = ".writing-"
BEFORE = "-before"
# What is missing, or something else than a file, is no checkpoint; other errors of the system may pass.
DAMAGES = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EINVAL,
    errno.ELOOP,
    errno.EFBIG,
    None,
)
# How often a reader looks again when the checkpoint it was led to has been replaced meanwhile.
READ_ATTEMPTS = 5


@dataclass(frozen=True)
class Checkpoint:
    """What one checkpoint holds.

    Attributes:
        variables: arrays by the path of their Keras variable, behind `model/`, `optimizer/` or `average/`.
        state: where the training was, as plain JSON values.
    """

    variables: dict[str, np.ndarray]
    state: dict[str, Any]


class CheckpointStore:
    """The checkpoints of one run. Opening and reading changes nothing, also beside a process that writes.

    Args:
        folder: need not exist.
        keep: checkpoints to keep besides best and last.
    """

    def __init__(self, folder: Path, keep: int = 0):
        self.folder = folder
        self.keep = keep

    def prepare(self) -> None:
        """Make the folder, and remove what a process that died has left half-written; only for the one that writes."""
        self.folder.mkdir(exist_ok=True)
        for before in self.folder.glob(f"{STAGING}*{BEFORE}"):
            self._put_back(before.name.removeprefix(STAGING).removesuffix(BEFORE))
        for stale in self.folder.glob(f"{STAGING}*"):
            shutil.rmtree(stale, ignore_errors=True)

    def save(self, name: str, checkpoint: Checkpoint, *, best: bool) -> Path:
        """Write a checkpoint and make it the last one, and the best one if so.

        Args:
            name: of its directory; names sort in the order of training.
            checkpoint: what to keep.
            best: whether it is the best so far.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **checkpoint.variables)
        contents = {
            VARIABLES: buffer.getvalue(),
            STATE: (json.dumps(finite(checkpoint.state)) + "\n").encode(),
        }
        sums = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        contents[MANIFEST] = (json.dumps({"sha256": sums}) + "\n").encode()

        final = self._write(name, contents)
        pointers = self.pointers()
        pointers["last"] = name
        if best:
            pointers["best"] = name
        write_json(self.folder / POINTERS, pointers)
        self._prune(set(pointers.values()))
        return final

    def _write(self, name: str, contents: dict[str, bytes]) -> Path:
        """Make the directory of a checkpoint; nothing is left of it if that fails."""
        self.folder.mkdir(exist_ok=True)
        staging = self.folder / f"{STAGING}{name}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            staging.mkdir()
            for file, content in contents.items():
                with (staging / file).open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            sync_folder(staging)
            final = self.folder / name
            before = self.folder / f"{STAGING}{name}{BEFORE}"
            shutil.rmtree(before, ignore_errors=True)
            # One of the same step: kept until the new one is in its place.
            if final.exists():
                os.replace(final, before)
            os.replace(staging, final)
            shutil.rmtree(before, ignore_errors=True)
        except BaseException:
            self._put_back(name)
            # A full disk gets the space back that the half-written one took.
            shutil.rmtree(staging, ignore_errors=True)
            raise
        sync_folder(self.folder)
        return final

    def _put_back(self, name: str) -> None:
        """Where a checkpoint was to be replaced and is not, give the one before its name again."""
        with contextlib.suppress(OSError):
            if not (self.folder / name).exists():
                os.replace(self.folder / f"{STAGING}{name}{BEFORE}", self.folder / name)

    def names(self) -> list[str]:
        """Checkpoints that were made the last one at some time, the newest first.

        Where no pointer can be read, all there are: each is complete or fails its checksum.
        """
        found = sorted((path.name for path in self._directories()), reverse=True)
        try:
            last = self.pointers().get("last")
        except DataError:
            return found
        # One above the pointer was written by a process that died before it moved the pointer.
        return found if last is None else [last, *(name for name in found if name < last)]

    def rewind(self, last: str | None, best: str | None) -> None:
        """Go back to an earlier state: point to it, then remove what came after it.

        Args:
            last: to resume from; None: from the start.
            best: the best one by then.
        """
        pointers = {"last": last, "best": best}
        write_json(
            self.folder / POINTERS,
            {role: name for role, name in pointers.items() if name is not None},
        )
        for path in self._directories():
            if last is None or path.name > last:
                _remove(path)

    def pointers(self) -> dict[str, str]:
        """The names of `last` and `best`; empty before the first checkpoint."""
        try:
            pointers = parse_json(read_plain(self.folder / POINTERS, largest=LARGEST_JSON))
            if not isinstance(pointers, dict):
                raise ValueError("it must hold an object")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder / POINTERS}: cannot be read ({error})") from error
        return {
            role: name
            for role, name in pointers.items()
            # A pointer leads to a checkpoint of this run, nowhere else.
            if role in ("last", "best") and isinstance(name, str) and _is_plain(name)
        }

    def load(self, role: str) -> Checkpoint:
        """The checkpoint that `last` or `best` points to.

        Raises:
            DataError: if there is none, or it is damaged.
        """
        name = None
        for _ in range(READ_ATTEMPTS):
            before, name = name, self.pointers().get(role)
            if name is None:
                raise DataError(f"{self.folder}: there is no {role} checkpoint")
            if name == before:
                break
            try:
                return read(self.folder / name)
            except DataError:
                # A process that trains may just have replaced it; then the pointer leads to another one now.
                continue
        return read(self.folder / str(name))

    def _directories(self) -> list[Path]:
        """Every checkpoint there is, whole or not; without those that are being written."""
        if not self.folder.is_dir():
            return []
        return [
            path
            for path in self.folder.iterdir()
            if path.is_dir() and not path.name.startswith(STAGING)
        ]

    def _prune(self, needed: set[str]) -> None:
        others = sorted(path for path in self._directories() if path.name not in needed)
        for path in others[: max(len(others) - self.keep, 0)]:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint at once: what a kill leaves of it has another name, and goes with the next `prepare`."""
    removed = path.with_name(f"{STAGING}{path.name}-removed")
    shutil.rmtree(removed, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.replace(path, removed)
    shutil.rmtree(removed, ignore_errors=True)


def read(path: Path) -> Checkpoint:
    """Read one checkpoint directory, verifying its checksums.

    Raises:
        DataError: if something is missing, changed or malformed.
        OutputError: if it cannot be read now, which says nothing of what it holds.
    """
    try:
        sums = parse_json(read_plain(path / MANIFEST, largest=LARGEST_JSON))["sha256"]
        contents = {file: read_plain(path / file) for file in (VARIABLES, STATE)}
        for file, content in contents.items():
            if hashlib.sha256(content).hexdigest() != sums[file]:
                raise DataError(f"{path / file}: damaged (its checksum differs)")
        state = parse_json(contents[STATE])
        if not isinstance(state, dict):
            raise ValueError(f"{STATE} must hold an object")
        return Checkpoint(read_arrays(contents[VARIABLES]), state)
    except MemoryError as error:
        raise _not_readable(path, "there is not enough memory") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno not in DAMAGES:
            raise _not_readable(path, error.strerror) from error
        raise DataError(f"{path}: not a complete checkpoint ({error})") from error


def _not_readable(path: Path, reason: str | None) -> OutputError:
    return OutputError(
        f"{path}: cannot be read ({reason}). Nothing has been changed: try again when it can be, or move it elsewhere "
        "to go on from the checkpoint before it"
    )


def _is_plain(name: str) -> bool:
    """Whether a name leads nowhere but into its own folder."""
    return name not in ("", ".", "..") and Path(name).name == name
