"""Forecasting: windows of past rows predict later values of one or more columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqconv.tasks.contract import InputData, Inputs, Serving, StoredPreparation, Task, TaskKind
from seqconv.tasks.forecasting.settings import ForecastingSettings

if TYPE_CHECKING:
    from seqconv.data.records import Measurements


def _prepare(
    name: str,
    source: Measurements,
    settings: ForecastingSettings,
    stored: StoredPreparation | None,
) -> Task:
    # Not above: numpy is not loaded to report a misspelt key.
    from seqconv.data.cleaning import clean
    from seqconv.tasks.forecasting.prepare import columns_of_run, prepare

    if stored is not None:
        source = columns_of_run(source, stored)
    return prepare(name, clean(source, settings.cleaning), settings, stored)


def _read_inputs(
    data: InputData, settings: ForecastingSettings, stored: StoredPreparation, newest: bool
) -> Inputs:
    from seqconv.tasks.forecasting.prediction import read_inputs

    return read_inputs(data, settings, stored, newest=newest)


def _serving(settings: ForecastingSettings, stored: StoredPreparation) -> Serving:
    from seqconv.tasks.forecasting.prediction import serving

    return serving(settings, stored)


def reread(path: Path, settings: ForecastingSettings, stored: StoredPreparation) -> Measurements:
    """The measurements in another file, read as those of a run were.

    Raises:
        DataError: if the file cannot be read, or lacks a column.
    """
    from seqconv.tasks.forecasting.prediction import read_measurements
    from seqconv.tasks.forecasting.preparation import SeriesPreparation

    preparation = SeriesPreparation.from_json(stored)
    return read_measurements(path, settings, preparation, preparation.columns)


FORECASTING: TaskKind[ForecastingSettings, Measurements] = TaskKind(
    ForecastingSettings, _prepare, _read_inputs, _serving
)
