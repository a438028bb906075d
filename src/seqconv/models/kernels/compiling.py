"""How kernels are compiled, and what becomes of machine code that is kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache

CAN_COMPILE = not config.DISABLE_JIT
"""False where `NUMBA_DISABLE_JIT` is set: kernels are no Python that would run by itself."""

# What only kernels call: compiled into them and kept with them.
part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code for a function that Python calls: without Python's lock, kept on disk beside the function's file.

    What is kept is compiled anew when any file of this folder has changed.
    """
    kernel = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    # Where neither that folder nor the user's cache folder can be written, it is compiled in every process.
    with contextlib.suppress(RuntimeError):
        kernel._cache = _KernelCache(function)
    return kernel


class _KernelCache(FunctionCache):
    """Numba's files of machine code. A run goes on without them: it compiles, so no fault in them ends one.

    Numba asks for whole files and room on the disk, and looks at a function's own file alone, though parts of other
    files are compiled into it.
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        self._cache_file._source_stamp = _stamp()

    def load_overload(self, *args: Any) -> Any:
        """The machine code of a signature; None: it is to be compiled."""
        try:
            return super().load_overload(*args)
        except Exception:  # what a damaged pickle raises
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep the machine code of a signature, if there is room."""
        with contextlib.suppress(OSError):
            super().save_overload(*args)


def _stamp() -> bytes:
    """A checksum of all files of this folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()
