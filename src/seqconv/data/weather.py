"""The columns of the Jena weather station, which the simulated record has too."""

from __future__ import annotations

from collections.abc import Iterator

from seqconv.errors import Problem, did_you_mean

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


def target_problems(name: str) -> Iterator[Problem]:
    """A problem if there is no such column; told before any file is read."""
    if name not in COLUMNS:
        hint = did_you_mean(name, COLUMNS)
        yield Problem(
            "target_column", f"no column `{name}`.{hint} The record has: {', '.join(COLUMNS)}"
        )
