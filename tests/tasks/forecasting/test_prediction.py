"""Windows of new measurements: what they are made from, and when what they forecast is to be."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from small_records import CLEANING, COLUMNS, PERIOD, make_record, make_settings, noise, stamps

from seqconv.config.errors import DataError
from seqconv.tasks.contract import StoredPreparation
from seqconv.tasks.forecasting.prediction import read_inputs
from seqconv.tasks.forecasting.preparation import SeriesPreparation
from seqconv.tasks.forecasting.prepare import prepare


def trained(times, **changes):
    """Settings and preparation of a run."""
    settings = make_settings(**changes)
    record = make_record(times, cleaning=settings.cleaning)
    task = prepare("small", record, settings)
    return settings, StoredPreparation(
        task.preparation.to_json(), "sha256:0", "run/preparation.json"
    )


def frame(times, values=None, columns=COLUMNS):
    values = noise(len(times)) if values is None else values
    return pl.DataFrame(
        {"Date Time": times.astype("datetime64[ms]")} | dict(zip(columns, values.T, strict=True))
    )


def test_a_forecast_has_the_time_of_the_row_it_is_of():
    """With cleaning.irregular=keep rows are not a period apart: weekdays, or months."""
    cleaning = replace(CLEANING, irregular="keep")
    offsets = np.arange(100) + 2 * (np.arange(100) // 5)
    settings, preparation = trained(stamps(offsets), cleaning=cleaning)
    inputs = read_inputs(frame(stamps(offsets)), settings, preparation, newest=False)
    found = inputs.table(np.zeros((len(inputs), 1, 1)), slice(None))
    lead, times = 5, stamps(offsets)
    newest = np.searchsorted(times, found["forecast_origin"].astype("datetime64[s]"))
    there = newest + lead < len(times)
    assert 0 < np.count_nonzero(~there) == lead
    np.testing.assert_array_equal(found["forecast_time"][there], times[newest[there] + lead])
    guessed = times[newest[~there]] + np.timedelta64(lead * PERIOD, "s")
    np.testing.assert_array_equal(found["forecast_time"][~there], guessed)
    assert any(
        "forecast_time behind the last row is counted as if" in note for note in inputs.notes
    )
    regular = read_inputs(frame(stamps(30)), settings, preparation, newest=True)
    assert not any("forecast_time" in note for note in regular.notes)


def test_rows_that_jitter_are_those_of_the_run_where_they_are_to_be_resampled():
    """The median step of a short file is not just the period."""
    cleaning = replace(CLEANING, irregular="resample")
    shaken = stamps(100) + np.random.default_rng(0).integers(-40, 41, 100).astype("timedelta64[s]")
    settings, preparation = trained(shaken, cleaning=cleaning)
    period = SeriesPreparation.from_json(preparation).period
    for first in range(0, 60, 7):
        part = shaken[first : first + 30]
        inputs = read_inputs(frame(part), settings, preparation, newest=True)
        assert inputs.record.period == period
    halves = stamps(100) - np.arange(100) * np.timedelta64(PERIOD // 2, "s")
    with pytest.raises(DataError, match="its rows are 300 s apart; the run was trained on rows"):
        read_inputs(frame(halves), settings, preparation, newest=True)


def test_a_series_without_a_window_is_named_in_training():
    rows = np.concatenate([np.arange(90), np.arange(8)])
    series = np.repeat(np.array([0, 1], np.int32), [90, 8])
    record = make_record(stamps(rows), noise(98), series=series, series_names=("long", "short"))
    task = prepare("sensors", record, make_settings())
    notes = [note for note in task.record.notes if "window for" in note]
    assert notes == [
        f"no {split} window for 1 of 2 series: short" for split in ("train", "validation", "test")
    ]
