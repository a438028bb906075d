"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# What only kernels call: compiled into them and kept with them.
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code for a function that Python calls: without Python's lock, kept on disk beside the function's file.

    What is kept is compiled anew when that file changes, not when another one does that it takes functions from.
    """
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # Neither that folder nor the user's cache folder can be written: it is compiled in every process.
        return njit(**_OPTIONS)(function)
