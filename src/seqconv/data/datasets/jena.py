"""The weather record of the Max Planck Institute for Biogeochemistry in Jena, in its original format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqconv.config.errors import DataError, FileError
from seqconv.config.registry import Download, register_dataset
from seqconv.data.cache import Remote, is_local, locate
from seqconv.data.weather import COLUMNS, WeatherSection
from seqconv.tasks.forecasting import FORECASTING

if TYPE_CHECKING:
    from seqconv.data.records import Record
    from seqconv.data.tables import Table

REMOTE = Remote(
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/jena_climate_2009_2016.csv.zip",
    filename="jena_climate_2009_2016.csv.zip",
    size=13_568_290,
)
REMOTE_ROWS = 420_551
TIME_COLUMN = "Date Time"
TIME_FORMAT = "%d.%m.%Y %H:%M:%S"
# In both wind columns, in 2015.
SENTINEL = -9999.0
REMEDY = (
    "`dataset.path` must name a whole .csv, .csv.gz or .zip file in the original format, or be null"
)


def verify_download(path: Path) -> None:
    """Refuse a download that is not the whole record."""
    rows = len(read(path).times)
    if rows != REMOTE_ROWS:
        raise DataError(f"{REMOTE.url}: must have {REMOTE_ROWS:,} rows; received {rows:,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class JenaConfig(WeatherSection):
    """Keys of the `dataset` section of `conf/dataset/jena.yaml`."""

    name: Literal["jena"]
    path: str | None
    """A local file in the original format; None: the cache, else a download."""

    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return is_local(REMOTE, self.path)


@register_dataset(JenaConfig, FORECASTING, download=Download(REMOTE, verify_download))
def load(config: JenaConfig) -> Record:
    """Find, read, check and clean the record.

    Raises:
        DataError: if there is no such file, or it is not such a record.
    """
    from seqconv.data.records import clean_record

    path, source = find(config.path)
    try:
        table = read(path)
    except FileError as error:
        raise FileError(f"{error}. {REMEDY}") from error
    return clean_record(
        table.times,
        table.values,
        columns=table.columns,
        targets=config.targets,
        source=source,
        fingerprint=table.fingerprint,
        sentinel=SENTINEL,
        notes=table.notes,
    )


def find(path: str | None) -> tuple[Path, str]:
    """The file to read, and where it came from: `file`, `cache` or `download`."""
    return locate(REMOTE, path, verify_download)


def read(path: Path, columns: Sequence[str] | None = COLUMNS) -> Table:
    """The table of a file in the original format; None: whatever columns it has."""
    from seqconv.data.tables import read_table

    return read_table(path, time_column=TIME_COLUMN, time_format=TIME_FORMAT, columns=columns)
