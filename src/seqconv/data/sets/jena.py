"""The weather record of the Max Planck Institute for Biogeochemistry in Jena, in its original format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqconv.data.cache import Remote, is_local, locate
from seqconv.data.tasks import SeriesTask
from seqconv.data.weather import COLUMNS, target_problems
from seqconv.errors import DataError, FileError, Problem
from seqconv.fields import STRICT
from seqconv.registry import DATASETS

if TYPE_CHECKING:
    from seqconv.data.reading import Table
    from seqconv.data.series import SeriesData

REMOTE = Remote(
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/jena_climate_2009_2016.csv.zip",
    filename="jena_climate_2009_2016.csv.zip",
    size=13_568_290,
)
REMOTE_ROWS = 420_551
TIME_COLUMN = "Date Time"
TIME_FORMAT = "%d.%m.%Y %H:%M:%S"
# In both wind columns, in 2015.
MISSING_MARK = -9999.0
REMEDY = (
    "`dataset.path` must name a whole .csv, .csv.gz or .zip file in the original format, or be null"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class JenaConfig:
    """Keys of the `dataset` section of `conf/dataset/jena.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["jena"]
    path: str | None
    """A local file in the original format; None: the cache, else a download."""
    target_column: str
    """The column to predict."""

    def problems(self) -> Iterator[Problem]:
        """The column must be one of the record's."""
        return target_problems(self.target_column)

    def may_be_read_beside(self) -> bool:
        """Whether the file is on this machine."""
        return is_local(REMOTE, self.path)


@DATASETS.register("jena", config=JenaConfig, task=SeriesTask)
def load(config: JenaConfig, task: SeriesTask) -> SeriesData:
    """Find, read, check and clean the record.

    Raises:
        DataError: if there is no such file, or it is not such a record.
        ConfigError: if the configuration does not fit the record.
    """
    from seqconv.data.records import clean_record
    from seqconv.data.series import SeriesData

    path, source = find(config.path)
    try:
        table = read(path)
    except FileError as error:
        raise FileError(f"{error}. {REMEDY}") from error
    record = clean_record(
        table.times,
        table.values,
        missing_mark=MISSING_MARK,
        columns=table.columns,
        target=table.columns.index(config.target_column),
        source=source,
        fingerprint=table.fingerprint,
    )
    return SeriesData(config.name, record, task)


def find(path: str | None) -> tuple[Path, str]:
    """The file to read, and where it came from: `file`, `cache` or `download`."""
    return locate(REMOTE, path, verify_download)


def read(path: Path, columns: Sequence[str] | None = COLUMNS) -> Table:
    """The table of a file in the original format; None: whatever columns it has."""
    from seqconv.data.reading import read_table

    return read_table(path, time_column=TIME_COLUMN, time_format=TIME_FORMAT, columns=columns)


def verify_download(path: Path) -> None:
    """Refuse a download that is not the whole record."""
    rows = len(read(path).times)
    if rows != REMOTE_ROWS:
        raise DataError(f"{REMOTE.url}: must have {REMOTE_ROWS:,} rows; received {rows:,}")
