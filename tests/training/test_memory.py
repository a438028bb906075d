"""Memory that a step frees is there for the next one, and is given back afterwards."""

import platform
import subprocess
import sys

import pytest

# In a process of its own: in one that has run other tests, what they have left decides where an array lies.
PROGRAM = """
import resource

import numpy as np

from seqconv.training import memory


def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 * 2**20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


with memory.kept():
    faults()
    again = min(faults() for _ in range(4))
print(again, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not GNU's")
def test_an_array_takes_the_memory_of_the_one_before():
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    again, afterwards = map(int, found.stdout.split())
    # Page faults of writing 64 MB. Large pages, where the system uses them, are one fault for 512 small ones.
    assert again < 20
    assert afterwards > 20
