"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# What only kernels call: compiled into them and kept with them.
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code for a function that Python calls: without Python's lock, kept on disk beside the function's file.

    What is kept is compiled anew when any file of this folder has changed.
    """
    try:
        kernel = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # Neither that folder nor the user's cache folder can be written: it is compiled in every process.
        return njit(**_OPTIONS)(function)
    # Numba looks at the function's own file alone, but parts of other files are compiled into it.
    kernel._cache._cache_file._source_stamp = _stamp()
    return kernel


def _stamp() -> tuple[float, int]:
    """Of the files of this folder: time of the latest change, and size of all."""
    found = [path.stat() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return max(file.st_mtime for file in found), sum(file.st_size for file in found)
