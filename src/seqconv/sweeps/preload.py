"""What every job needs, imported once: the server that job processes are forked from imports this module.

Nothing may look for devices or start a thread here: neither survives a fork.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import pkgutil

from seqconv.console import native_notices_in_log
from seqconv.training import tensorflow_import

# Of all datasets, models and tasks: which of them the jobs use is not known here.
PACKAGES = ("seqconv.data", "seqconv.models", "seqconv.tasks")
MODULES = (
    "filelock",
    "matplotlib.figure",
    "polars",
    "scipy.special",
    "seqconv.sweeps.job",
    "seqconv.sweeps.members",
    "seqconv.training.folds",
    "seqconv.training.run",
    "threadpoolctl",
)

# Nothing is collected while this is imported, which would take a second and leave holes for the jobs to write into.
gc.disable()

# XLA writes a line for every compilation otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
with native_notices_in_log():
    tensorflow_import.import_modules()
for name in PACKAGES:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        importlib.import_module(module.name)
for name in MODULES:
    importlib.import_module(name)

# Before the first kernel is loaded numba takes in all that it knows, for a third of a second.
importlib.import_module("numba.core.registry").cpu_target.target_context.refresh()

# The first picture of a process loads fonts.
_figure = importlib.import_module("seqconv.tasks.figures").new_figure(2, 1)
_figure.subplots().set_title("-1")
_figure.savefig(io.BytesIO(), format="png")

# What is here stays: the collectors of the jobs need not look through it, which also keeps its memory shared.
gc.freeze()
gc.enable()
