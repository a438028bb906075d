"""The default dataset: a weather record simulated by the package itself, so that a first run needs no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seqconv.data.tasks import SeriesTask
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


@DATASETS.register("climate_demo", config=ClimateDemoConfig, task=SeriesTask)
def load(config: ClimateDemoConfig, task: SeriesTask) -> SeriesData:
    """Simulate the record.

    Raises:
        ConfigError: if the configuration does not fit the record.
    """
    from seqconv.data.climate import COLUMNS, simulate_climate
    from seqconv.data.records import array_fingerprint, clean_record, find_column
    from seqconv.data.series import SeriesData

    target = find_column(COLUMNS, config.target_column, "dataset.target_column")
    times, values = simulate_climate()
    record = clean_record(
        times,
        values.astype("float64"),
        columns=COLUMNS,
        target=target,
        source="simulated",
        fingerprint=array_fingerprint(times, values),
    )
    return SeriesData(config.name, record, task)
