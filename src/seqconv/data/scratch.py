"""Arrays to be filled: large ones lie in a file without a name, which the system caches as it can; others aligned."""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.cache import cache_folder

ALIGNMENT = 64  # bytes; Eigen's, with AVX-512
# Smaller ones stay in memory: a file of its own saves nothing there.
LARGE_BYTES = 256 * 2**20


def empty_rows(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array to be filled; a large one is memory-mapped to a file that goes with it.

    Raises:
        DataError: if neither the cache nor the system's temporary folder has room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE_BYTES:
        return np.empty(shape, dtype)
    folder = None
    with contextlib.suppress(DataError, OSError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    if folder is None or not os.access(folder, os.W_OK):
        folder = None
    if folder is not None:
        with contextlib.suppress(OSError):
            return _mapped(folder, shape, dtype, size)
    try:
        return _mapped(None, shape, dtype, size)
    except OSError as error:
        tried = f"{folder} and {temporary_folder()}" if folder else temporary_folder()
        raise DataError(
            f"{tried}: no room for {size:,} bytes ({error.strerror}). Free some, or set SEQCONV_DATA_DIR to a folder "
            "that has it"
        ) from error


def release_pages(array: np.ndarray) -> None:
    """Take a memory-mapped array out of this process' memory, where the system does that; what is needed is read again.

    Args:
        array: of the cache or of `empty_rows`, whose mappings write to their files; one in memory stays as it is.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        # A process may be told to keep all it has.
        with contextlib.suppress(OSError):
            base.madvise(mmap.MADV_DONTNEED)


def temporary_folder() -> str:
    """The system's folder for temporary files, for messages."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return "the system's temporary folder"


def _mapped(
    folder: Path | None, shape: tuple[int, ...], dtype: np.dtype | type, size: int
) -> np.ndarray:
    with tempfile.TemporaryFile(prefix=".scratch-", dir=folder) as stream:
        _reserve(stream, size)
        return np.memmap(stream, dtype, "r+", shape=shape)


def _reserve(stream: IO[bytes], size: int) -> None:
    """Take room for so many bytes now: a disk that turns out full later would end the process by a signal."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
    # Not every platform can do so, nor every file system.
    stream.truncate(size)


def aligned_empty(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """An array at an address that TensorFlow can use as it is; see `seqconv.training.steps.Graph`."""
    size = np.dtype(dtype).itemsize * math.prod(shape)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % ALIGNMENT
    return raw[first : first + size].view(dtype).reshape(shape)
