"""Anyone's table of measurements: CSV or Parquet files with a row for each moment and a column for each quantity."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqconv.config.errors import ConfigError, Problem, did_you_mean
from seqconv.config.fields import DatasetSection, Duration, Names
from seqconv.config.registry import register_dataset
from seqconv.data.cache import is_there
from seqconv.tasks.forecasting import FORECASTING, ForecastingSettings, reread

if TYPE_CHECKING:
    from seqconv.data.measurements import Table
    from seqconv.data.readers import Reading
    from seqconv.data.records import Measurements
    from seqconv.tasks.contract import StoredPreparation

ALL = "all"
# A fraction in the letters of Python that does not follow a point; `%%` is a percent sign.
BARE_FRACTION = re.compile(r"(?<![.%])%f")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSection(DatasetSection):
    """What every table's section has."""

    targets: Names
    """The columns to predict; `all`: every feature."""
    features: Names | None
    """The columns that a model sees; None: all columns of numbers."""

    def check_names(
        self, columns: Sequence[str], left_out: Mapping[str, str] | None = None
    ) -> Iterator[Problem]:
        """A problem for each name that is no column.

        Args:
            columns: of numbers.
            left_out: columns that hold no numbers, and the first cell of each that is none.
        """
        names = () if self.targets == (ALL,) else self.targets
        left_out = left_out or {}
        for key, wanted in (("targets", names), ("features", self.features or ())):
            for name in wanted:
                if name in columns:
                    continue
                listed = ", ".join(columns[:30])
                if name in left_out:
                    rule = (
                        f"no column `{name}` of numbers: it is left out, since most of its cells are none, the first "
                        f"of them {left_out[name]}. Leave cells without a value empty, and write decimals with a point."
                    )
                else:
                    rule = f"no column `{name}`.{did_you_mean(name, columns)}"
                yield Problem(key, f"{rule} The record has: {listed}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableConfig(TableSection):
    """Keys of the `dataset` section of `conf/dataset/table.yaml`."""

    name: Literal["table"]
    path: str | None
    """A file, or several by a pattern with `*`."""
    time: str | None
    """The column of time stamps; `auto`: the only one there is; None: rows have none."""
    time_format: str | None
    """Format of the stamps; None: found."""
    series: str | None
    """The column that tells series apart, such as sensors; None: there is one series."""
    scaling: Literal["common", "per_series"]
    """Whether series have one mean and standard deviation for each column, or each its own."""
    frequency: Duration
    """From one row to the next, in seconds; None: found."""

    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return self.path is not None and ("*" in self.path or is_there(self.path))

    def problems(self) -> Iterator[Problem]:
        """There is no file without its name, and no series without a column."""
        if not self.path:
            yield Problem(
                "path", "must name a file: .csv, .csv.gz, .zip or .parquet, or several by *"
            )
        if self.time_format and BARE_FRACTION.search(self.time_format):
            yield Problem(
                "time_format",
                f"`%f` must follow a point, as in `%S.%f`; received {self.time_format!r}. For fractions after another "
                "character give how many digits they have, as in `%S,%3f`",
            )
        if self.scaling == "per_series" and self.series is None:
            yield Problem(
                "scaling", "per_series needs `dataset.series`, the column that tells series apart"
            )
        if self.frequency is not None and (self.frequency < 1 or self.frequency % 1):
            yield Problem(
                "frequency", f"must be a whole number of seconds; received {self.frequency:g} s"
            )

    @property
    def reading(self) -> Reading:
        """What to read of a file."""
        from seqconv.data.readers import Reading

        wanted = None
        if self.features is not None and self.targets != (ALL,):
            wanted = tuple(dict.fromkeys((*self.features, *self.targets)))
        return Reading(
            time=self.time, time_format=self.time_format, series=self.series, wanted=wanted
        )


def reread_file(
    config: TableConfig, settings: ForecastingSettings, preparation: StoredPreparation
) -> Measurements:
    """Find and read other files than those of a run, by what was found of their form in training."""
    return reread(Path(config.path or ""), settings, preparation)


@register_dataset(TableConfig, FORECASTING, reread=reread_file)
def load(config: TableConfig) -> Measurements:
    """Find and read the files.

    Raises:
        DataError: if there is none, or it cannot be read.
        ConfigError: if it has no such columns.
    """
    from seqconv.data.measurements import expand, read_table

    table = read_table(expand(config.path or ""), config.reading)
    return measurements(
        table,
        config,
        config.reading,
        source="file",
        frequency=config.frequency,
        scaled_apart=config.scaling == "per_series",
    )


def measurements(
    table: Table,
    section: TableSection,
    reading: Reading,
    *,
    source: str,
    frequency: float | None = None,
    scaled_apart: bool = False,
) -> Measurements:
    """The columns of a table that a section asks for.

    Args:
        table: as read.
        section: of the configuration.
        reading: how files of this form are read.
        source: `file`, `cache`, `download` or `simulated`.
        frequency: seconds from one row to the next, where the settings say so.
        scaled_apart: whether each series is scaled by itself.

    Raises:
        ConfigError: if one of them is not there.
    """
    from seqconv.data.records import chosen_columns

    problems = list(section.check_names(table.columns, table.left_out))
    if problems:
        raise ConfigError([Problem(f"dataset.{each.key}", each.message) for each in problems])
    features = section.features or table.columns
    targets = features if section.targets == (ALL,) else section.targets
    columns = (*features, *(name for name in targets if name not in features))
    return chosen_columns(
        table,
        tuple(columns),
        reading,
        targets=tuple(targets),
        features=len(features),
        source=source,
        frequency=None if frequency is None else int(frequency),
        scaled_apart=scaled_apart,
    )
