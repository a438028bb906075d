"""Train convolutional and recurrent sequence models from one command line, and use what was trained.

import seqconv

run = seqconv.load_run("outputs/jena-gru/2026-...")
run.predict(frame), run.metrics, run.config
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqconv.training.averaged import AveragedRuns
    from seqconv.training.trained import TrainedRun

__version__ = "0.1.0"


def load_run(run_dir: Path | str) -> TrainedRun:
    """Open the directory of a run, see `seqconv.training.trained.load_run`."""
    # Not above: the version alone needs none of it.
    from seqconv.training.trained import load_run

    return load_run(run_dir)


def average_runs(run_dirs: Sequence[Path | str]) -> AveragedRuns:
    """Open several runs that predict together, see `seqconv.training.averaged.average_runs`."""
    from seqconv.training.averaged import average_runs

    return average_runs(run_dirs)
