"""The default dataset: a weather record simulated by the package itself, so that a first run needs no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seqconv.config.errors import Problem
from seqconv.config.registry import register_dataset
from seqconv.data.datasets.table import TableSection, measurements
from seqconv.data.weather import COLUMNS
from seqconv.tasks.forecasting import FORECASTING

if TYPE_CHECKING:
    from seqconv.data.records import Measurements


@dataclass(frozen=True, kw_only=True, slots=True)
class ClimateDemoConfig(TableSection):
    """Keys of the `dataset` section of `conf/dataset/climate_demo.yaml`."""

    name: Literal["climate_demo"]

    def problems(self) -> Iterator[Problem]:
        """Columns must be the record's."""
        yield from self.check_names(COLUMNS)


@register_dataset(ClimateDemoConfig, FORECASTING)
def load(config: ClimateDemoConfig) -> Measurements:
    """Simulate the record."""
    from seqconv.data.measurements import Table
    from seqconv.data.readers import Reading
    from seqconv.data.records import array_fingerprint
    from seqconv.data.simulated.climate import simulate_climate

    times, values = simulate_climate()
    table = Table(
        times=times,
        values=values.astype("float32"),
        columns=COLUMNS,
        series=None,
        series_names=(),
        time_column=None,
        time_format=None,
        fingerprint=array_fingerprint(times, values),
        notes=(),
    )
    return measurements(table, config, Reading(), source="simulated")
