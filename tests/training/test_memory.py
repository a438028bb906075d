"""Memory that a step frees is there for the next one, and is given back afterwards."""

import platform
import resource

import numpy as np
import pytest

from seqconv.training import memory


def faults():
    """Page faults of writing an array of 64 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 * 2**20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not GNU's")
def test_an_array_takes_the_memory_of_the_one_before():
    with memory.kept():
        faults()
        # More than once: another thread of this process may take a piece of what was freed.
        again = min(faults() for _ in range(4))
    # Large pages, where the system uses them, are one fault for 512 small ones.
    assert again < 20
    assert faults() > 20
