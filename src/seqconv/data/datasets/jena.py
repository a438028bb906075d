"""The weather record of the Max Planck Institute for Biogeochemistry in Jena, in its original format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqconv.config.errors import DataError, FileError, Problem
from seqconv.config.registry import Download, register_dataset
from seqconv.data.cache import Remote, is_local, locate
from seqconv.data.datasets.table import TableSection, measurements
from seqconv.data.weather import COLUMNS
from seqconv.tasks.forecasting import FORECASTING

if TYPE_CHECKING:
    from seqconv.data.measurements import Table
    from seqconv.data.readers import Reading
    from seqconv.data.records import Measurements

REMOTE = Remote(
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/jena_climate_2009_2016.csv.zip",
    filename="jena_climate_2009_2016.csv.zip",
    size=13_568_290,
)
REMOTE_ROWS = 420_551
TIME_COLUMN = "Date Time"
TIME_FORMAT = "%d.%m.%Y %H:%M:%S"
REMEDY = (
    "`dataset.path` must name a whole .csv, .csv.gz or .zip file in the original format, or be null"
)


def verify_download(path: Path) -> None:
    """Refuse a download that is not the whole record."""
    rows = len(read(path).values)
    if rows != REMOTE_ROWS:
        raise DataError(f"{REMOTE.url}: must have {REMOTE_ROWS:,} rows; received {rows:,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class JenaConfig(TableSection):
    """Keys of the `dataset` section of `conf/dataset/jena.yaml`."""

    name: Literal["jena"]
    path: str | None
    """A local file in the original format; None: the cache, else a download."""

    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return is_local(REMOTE, self.path)

    def problems(self) -> Iterator[Problem]:
        """Columns must be the record's; known before any file is read."""
        yield from self.check_names(COLUMNS)


@register_dataset(JenaConfig, FORECASTING, download=Download(REMOTE, verify_download))
def load(config: JenaConfig) -> Measurements:
    """Find and read the record.

    Raises:
        DataError: if there is no such file, or it is not such a record.
    """
    path, source = find(config.path)
    try:
        table = read(path)
    except FileError as error:
        raise FileError(f"{error}. {REMEDY}") from error
    return measurements(table, config, reading(), source=source)


def find(path: str | None) -> tuple[Path, str]:
    """The file to read, and where it came from: `file`, `cache` or `download`."""
    return locate(REMOTE, path, verify_download)


def read(path: Path) -> Table:
    """The table of a file in the original format."""
    from seqconv.data.measurements import read_table

    return read_table([path], reading())


def reading() -> Reading:
    """How such a file is read."""
    from seqconv.data.readers import Reading

    return Reading(time=TIME_COLUMN, time_format=TIME_FORMAT, columns=COLUMNS)
