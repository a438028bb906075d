"""The default dataset: a weather record simulated by the package itself, so that a first run needs no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seqconv.config.registry import register_dataset
from seqconv.data.weather import COLUMNS, WeatherSection
from seqconv.tasks.forecasting import FORECASTING

if TYPE_CHECKING:
    from seqconv.data.records import Record


@dataclass(frozen=True, kw_only=True, slots=True)
class ClimateDemoConfig(WeatherSection):
    """Keys of the `dataset` section of `conf/dataset/climate_demo.yaml`."""

    name: Literal["climate_demo"]


@register_dataset(ClimateDemoConfig, FORECASTING)
def load(config: ClimateDemoConfig) -> Record:
    """Simulate the record."""
    from seqconv.data.records import array_fingerprint, clean_record
    from seqconv.data.simulated.climate import simulate_climate

    times, values = simulate_climate()
    return clean_record(
        times,
        values.astype("float64"),
        columns=COLUMNS,
        targets=config.targets,
        source="simulated",
        fingerprint=array_fingerprint(times, values),
    )
