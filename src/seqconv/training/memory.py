"""What a training step frees stays with the process until the training ends; docs/adr/0018 has what it saves."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

# Of mallopt(3).
TRIM_THRESHOLD, MAPPING_THRESHOLD = -1, -3
MIB = 2**20
# Arrays below the first are kept while a model is trained; a whole split's predictions are above it. Older versions of
# the C library take no more than the second, which is also where its own thresholds end up.
KEPT = (256 * MIB, 32 * MIB)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Let the C library keep memory that is freed in a block, and give back before and after it what is free.

    An array of some MB is given back to the system as soon as it is freed otherwise, and the next step takes it anew:
    every page of it costs a fault. Does nothing where the C library is not GNU's.
    """
    library = ctypes.CDLL(None)
    # What reading the data has left; compiling the first step takes other memory.
    give_back()
    with contextlib.suppress(AttributeError):
        any(library.mallopt(MAPPING_THRESHOLD, size) for size in KEPT)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        with contextlib.suppress(AttributeError):
            library.mallopt(MAPPING_THRESHOLD, KEPT[-1])
            library.mallopt(TRIM_THRESHOLD, 2 * KEPT[-1])
        give_back()


def give_back() -> None:
    """Give what is free back to the system, where the C library is GNU's."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
