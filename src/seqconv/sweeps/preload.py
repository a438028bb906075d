"""What every job needs, imported once: the server that job processes are forked from imports this module.

Nothing may look for devices or start a thread here: neither survives a fork.
"""

from __future__ import annotations

import importlib
import os

from seqconv.console import native_notices_in_log
from seqconv.training import tensorflow_import

MODULES = (
    "matplotlib.figure",
    "polars",
    "scipy.special",
    "seqconv.data.datasets",
    "seqconv.models",
    "seqconv.training.folds",
    "seqconv.training.run",
)

# XLA writes a line for every compilation otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
with native_notices_in_log():
    tensorflow_import.import_modules()
for name in MODULES:
    importlib.import_module(name)
