"""What trackers show of a run: its settings, its epochs, and the numbers it ended with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from seqconv.config.schema import Config
from seqconv.config.yaml_files import leaves
from seqconv.runs.progress import EpochRecord
from seqconv.runs.result import Result, summary
from seqconv.tasks.contract import Json

# Where a run is shown; nothing of what it is.
KEYS = ("trainer.mlflow", "trainer.tensorboard")


def settings_of(config: Config) -> dict[str, Json]:
    """The settings of a run by dotted key."""
    return {key: value for key, value in leaves(config.tree) if key not in KEYS}


def values_of(record: EpochRecord) -> dict[str, float]:
    """The numbers of an epoch, by the names they have in `metrics.jsonl`."""
    values = record.to_json()
    del values["epoch"]
    return {
        name: value
        for name, value in values.items()
        if value is not None and not isinstance(value, bool)
    }


def ends_of(records: Sequence[EpochRecord], began: float) -> list[float]:
    """When epochs ended if training had never paused, in seconds since the Unix epoch.

    A record holds no time of day; so a run has the same times whenever, and however often, they are computed.

    Args:
        records: the first epochs of a run.
        began: when its training began.
    """
    return list(itertools.accumulate((record.seconds for record in records), initial=began))[1:]


def final_metrics(result: Result, run_dir: Path) -> dict[str, float]:
    """The numbers of the line for scripts: objective, and metrics of the best epoch."""
    values = summary(result, run_dir)
    found = {name: value for name, value in values.items() if isinstance(value, int | float)}
    if result.objective is not None and result.objective.value is not None:
        found["objective"] = result.objective.value
    if result.epochs is not None and result.epochs.best:
        found["best_epoch"] = result.epochs.best
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}
