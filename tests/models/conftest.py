"""Models are computed in the process that also runs whole trainings."""

import pytest

from seqconv.training import tensorflow_import


@pytest.fixture(autouse=True, scope="session")
def threads():
    tensorflow_import.use_threads(2)
