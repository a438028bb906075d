"""A tide: two sines, hourly."""

from dataclasses import dataclass
from typing import Literal

from seqconv.config.fields import Count, DatasetSection
from seqconv.config.registry import register_dataset
from seqconv.tasks.forecasting import FORECASTING


@dataclass(frozen=True, kw_only=True, slots=True)
class TideConfig(DatasetSection):
    """Keys of `conf/dataset/tide.yaml`."""

    name: Literal["tide"]
    rows: Count
    """Hours."""


@register_dataset(TideConfig, FORECASTING)
def load(config):
    """Simulate the level."""
    import numpy as np

    from seqconv.data.records import Measurements, array_fingerprint

    hours = np.arange(config.rows)
    times = np.datetime64("2020-01-01T00", "s") + hours * np.timedelta64(3600, "s")
    level = np.sin(hours * 2 * np.pi / 12.42) + 0.3 * np.sin(hours * 2 * np.pi / 12)
    return Measurements(
        times=times,
        values=level[:, None],
        columns=("level (m)",),
        targets=("level (m)",),
        features=1,
        source="simulated",
        fingerprint=array_fingerprint(times, level),
    )
