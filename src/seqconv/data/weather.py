"""The columns of the Jena weather station, which the simulated record has too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqconv.config.errors import Problem, did_you_mean
from seqconv.config.fields import DatasetSection

COLUMNS = (
    "p (mbar)",
    "T (degC)",
    "Tpot (K)",
    "Tdew (degC)",
    "rh (%)",
    "VPmax (mbar)",
    "VPact (mbar)",
    "VPdef (mbar)",
    "sh (g/kg)",
    "H2OC (mmol/mol)",
    "rho (g/m**3)",
    "wv (m/s)",
    "max. wv (m/s)",
    "wd (deg)",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeatherSection(DatasetSection):
    """Keys of a dataset with these columns."""

    target_column: str
    """The column to predict."""

    @property
    def targets(self) -> tuple[int, ...]:
        """Its index."""
        return (COLUMNS.index(self.target_column),)

    def problems(self) -> Iterator[Problem]:
        """The column must be one of the record's; known before any file is read."""
        if self.target_column not in COLUMNS:
            hint = did_you_mean(self.target_column, COLUMNS)
            yield Problem(
                "target_column",
                f"no column `{self.target_column}`.{hint} The record has: {', '.join(COLUMNS)}",
            )
