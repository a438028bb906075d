"""The default dataset: a weather record simulated by the package itself, so that a first run needs no file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seqconv.data.tasks import SeriesTask
from seqconv.data.weather import COLUMNS, target_problems
from seqconv.errors import Problem
from seqconv.fields import STRICT
from seqconv.registry import DATASETS

if TYPE_CHECKING:
    from seqconv.data.series import SeriesData


@dataclass(frozen=True, kw_only=True, slots=True)
class ClimateDemoConfig:
    """Keys of the `dataset` section of `conf/dataset/climate_demo.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["climate_demo"]
    target_column: str
    """The column to predict."""

    def problems(self) -> Iterator[Problem]:
        """The column must be one of the record's."""
        return target_problems(self.target_column)


@DATASETS.register("climate_demo", config=ClimateDemoConfig, task=SeriesTask)
def load(config: ClimateDemoConfig, task: SeriesTask) -> SeriesData:
    """Simulate the record.

    Raises:
        ConfigError: if the configuration does not fit the record.
    """
    from seqconv.data.climate import simulate_climate
    from seqconv.data.records import array_fingerprint, clean_record
    from seqconv.data.series import SeriesData

    times, values = simulate_climate()
    record = clean_record(
        times,
        values.astype("float64"),
        columns=COLUMNS,
        target=COLUMNS.index(config.target_column),
        source="simulated",
        fingerprint=array_fingerprint(times, values),
    )
    return SeriesData(config.name, record, task)
