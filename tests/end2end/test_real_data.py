"""The real records, where they are at hand; nothing of them is in the project."""

import numpy as np
import pytest
from small_records import CLEANING, make_settings

from seqconv.cli.overrides import read_command_line
from seqconv.data.cleaning import clean
from seqconv.data.datasets import imdb, jena, table
from seqconv.data.datasets.table import TableConfig
from seqconv.data.inspect import inspect_series
from seqconv.tasks.forecasting.prepare import prepare


def test_two_years_of_jena(shared_data):
    settings = make_settings(lookback=720, step=3, delay=144)
    path = shared_data / "jena" / "jena_climate_2009_2010.csv.gz"
    record = clean(
        jena.load(
            jena.JenaConfig(name="jena", path=str(path), targets=("T (degC)",), features=None)
        ),
        CLEANING,
    )
    task = prepare("jena", record, settings)

    assert (record.rows_read, len(record.times), record.period) == (106_727, 106_727 - 144, 600)
    # One gap of half an hour; the block that stands twice leaves none behind.
    assert len(record.segments) == 2
    assert "dropped 144 rows" in record.notes[0]
    assert task.describe()["lead"] == {"rows": 147, "hours": 24.5}
    # Row numbers count the source: half of 106,727 rows, before the rows that stand twice.
    assert task.samples("train").anchors[:].max() + 144 == 53_363 - 1
    assert round(task.baselines(slow=False)["persistence"].metrics["test"]["mae"], 2) == 2.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("horizon", "windows", "mse", "mae"),
    [
        (96, 10_444, 0.2591, 0.2542),
        (192, 10_348, 0.3092, 0.2917),
        (336, 10_204, 0.3764, 0.3377),
        (720, 9_820, 0.4652, 0.3935),
    ],
)
def test_the_protocol_of_the_weather_benchmark(shared_data, horizon, windows, mse, mae):
    """Persistence on all test windows, as published."""
    path = shared_data / "jena" / "jena_weather_2020.csv.gz"
    words = [f"experiment=weather_{horizon}", f"dataset.path={path}"]
    config = read_command_line(words).only_job
    assert isinstance(config.dataset, TableConfig)
    record = clean(table.load(config.dataset), config.settings.cleaning)
    task = prepare("weather", record, config.settings)
    assert len(task.samples("test")) == windows
    found = task.baselines(slow=False)["persistence"].metrics["test"]["scaled"]
    assert (round(found["mse"], 4), round(found["mae"], 4)) == (mse, mae)


def test_jena_is_inspected(shared_data):
    found = inspect_series(shared_data / "jena" / "jena_climate_2009_2010.csv.gz")

    assert found["rows_that_repeat_or_go_backward"] == 144
    assert len(found["gaps"]) == len(found["jumps_back"]) == 1


def test_the_imdb_reviews(shared_data, monkeypatch, tmp_path):
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path))
    parts, _ = imdb.read(shared_data / "imdb" / "imdb.npz")

    for tokens, labels in parts.values():
        assert np.bincount(labels).tolist() == [12_500, 12_500]
        assert len(tokens) == 25_000
    # Keras counts the start token, too: 238.71.
    assert round(float(parts["train"][0].lengths.mean()) + 1, 2) == 238.71
