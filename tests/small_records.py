"""Small records, tasks and files that several tests of series data are built from."""

import gzip
import io
import zipfile
from dataclasses import replace

import numpy as np
from hypothesis import settings

from seqconv.config.cleaning import Cleaning
from seqconv.data.cleaning import clean
from seqconv.data.records import Measurements, Record
from seqconv.tasks.forecasting.settings import (
    ForecastingSettings,
    InputSettings,
    SeriesSplit,
)

START = np.datetime64("2020-01-01T00:00:00", "s")
PERIOD = 600  # seconds
COLUMNS = ("p (mbar)", "T (degC)", "wv (m/s)")
TARGET = 1

# The same examples in every run, and no limit of time: a test tells of the code, not of the machine.
QUICK = settings(max_examples=60, deadline=None, derandomize=True)


def stamps(offsets) -> np.ndarray:
    """Time stamps so many ten-minute rows after `START`; a number means that many rows."""
    if isinstance(offsets, int):
        offsets = range(offsets)
    return START + np.asarray(list(offsets), np.int64) * np.timedelta64(PERIOD, "s")


def noise(rows: int, columns: int = len(COLUMNS), seed: int = 0) -> np.ndarray:
    """Numbers of different size and spread in each column."""
    plain = np.random.default_rng(seed).normal(size=(rows, columns))
    return plain * np.arange(1, columns + 1) + 10.0 * np.arange(columns)


CLEANING = Cleaning(
    sentinels=(),
    duplicates="keep_first",
    missing="forward_fill",
    fill_rows=None,
    irregular="cut",
)
NO_INPUTS = InputSettings(calendar=(), target_calendar=(), wind_vectors=(), differences=())


def make_measurements(times, values, **facts) -> Measurements:
    """A table as read."""
    columns = facts.pop("columns", COLUMNS[: values.shape[1]])
    targets = facts.pop("targets", (TARGET,))
    usual = {"source": "simulated", "fingerprint": "sha256:0", "features": len(columns)}
    return Measurements(
        times=times,
        values=values,
        columns=columns,
        targets=tuple(columns[index] for index in targets),
        **(usual | facts),
    )


def make_record(times, values=None, *, cleaning=CLEANING, sentinel=None, **facts) -> Record:
    """A cleaned record; `times` are stamps, or rows as for `stamps`."""
    times = times if getattr(times, "dtype", None) == "datetime64[s]" else stamps(times)
    read = make_measurements(times, noise(len(times)) if values is None else values, **facts)
    if sentinel is not None:
        cleaning = replace(cleaning, sentinels=(sentinel,))
    return clean(read, cleaning)


def make_settings(lookback=6, step=2, delay=3, train_end=0.5, validation_end=0.75, **changes):
    """Settings of small windows."""
    usual = {
        "target": "value",
        "loss": "mean_absolute_error",
        "lead": None,
        "folds": None,
        "fold": None,
        "lead_decay": 0.0,
        "quantiles": None,
        "interval": None,
    }
    usual |= {"cleaning": CLEANING, "inputs": NO_INPUTS}
    back = changes.pop("inputs_may_reach_back", False)
    split = SeriesSplit(
        train_end=train_end, validation_end=validation_end, inputs_may_reach_back=back
    )
    delays = delay if isinstance(delay, tuple) else (delay,)
    return ForecastingSettings(
        lookback=lookback, step=step, delay=delays, split=split, **(usual | changes)
    )


def csv_text(times, values, columns=COLUMNS, time_column="Date Time") -> str:
    """The record as text in Jena's format; not-a-number is an empty cell."""
    lines = [",".join(f'"{name}"' for name in (time_column, *columns))]
    for time, row in zip(times.tolist(), values.tolist(), strict=True):
        cells = ["" if np.isnan(cell) else repr(cell) for cell in row]
        lines.append(",".join([time.strftime("%d.%m.%Y %H:%M:%S"), *cells]))
    return "\n".join(lines) + "\n"


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    """A gzip file."""
    return gzip.compress(content, mtime=0)
