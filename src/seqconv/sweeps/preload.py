"""What every job needs, imported once: the server that job processes are forked from imports this module.

Nothing may look for devices or start a thread here: neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib
import io
import os

from seqconv.console import native_notices_in_log
from seqconv.training import tensorflow_import

MODULES = (
    "matplotlib.figure",
    "polars",
    "scipy.special",
    "seqconv.data.datasets",
    "seqconv.models",
    "seqconv.models.layers.pooling",
    "seqconv.models.layers.recurrent",
    "seqconv.models.layers.token_convolution",
    "seqconv.sweeps.job",
    "seqconv.sweeps.members",
    "seqconv.training.folds",
    "seqconv.training.run",
)

# XLA writes a line for every compilation otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
with native_notices_in_log():
    tensorflow_import.import_modules()
for name in MODULES:
    importlib.import_module(name)

# The first picture of a process loads fonts.
_figure = importlib.import_module("seqconv.tasks.figures").new_figure(2, 1)
_figure.subplots().set_title("-1")
_figure.savefig(io.BytesIO(), format="png")

# What is here stays: the collectors of the jobs need not look through it, which also keeps its memory shared.
gc.collect()
gc.freeze()
