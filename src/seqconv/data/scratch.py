"""Large arrays that need not stay in memory: they lie in a file without a name, which the system caches as it can."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.cache import cache_folder

# Smaller ones stay in memory: a file of its own saves nothing there.
LARGE_BYTES = 256 * 2**20


def empty_rows(shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """An array to be filled; a large one is memory-mapped to a file that goes with it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE_BYTES:
        return np.empty(shape, dtype)
    folder = None
    with contextlib.suppress(DataError, OSError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
    if folder is None or not os.access(folder, os.W_OK):
        folder = None
    with tempfile.TemporaryFile(prefix=".scratch-", dir=folder) as stream:
        stream.truncate(size)
        return np.memmap(stream, dtype, "r+", shape=shape)
