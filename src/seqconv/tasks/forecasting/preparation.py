"""What forecasting learns from the training rows: how columns are scaled, and the error of the naive forecast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from seqconv.config.fields import STRICT, Count
from seqconv.tasks.contract import Json, StoredPreparation

# Rows that are looked at together. A record of up to so many training rows is scaled with numpy's own mean and standard
# deviation, which pairs of blocks differ from in the last digit.
BLOCK_ROWS = 2**18


@dataclass(frozen=True, kw_only=True)
class SeriesPreparation:
    """Means and standard deviations of the training rows.

    Attributes:
        columns: names of the input columns, in the order of the features.
        targets: names of the columns to predict.
        mean: `(columns,)` float64, in each column's unit.
        std: `(columns,)` float64, in each column's unit; 1 for a column that never changes.
        period: seconds from one row to the next.
        naive_mae: `(leads, targets)` float64, mean absolute error of persistence over the training windows.
    """

    columns: tuple[str, ...]
    targets: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    period: int
    naive_mae: np.ndarray

    @classmethod
    def learn(
        cls,
        blocks: Iterable[np.ndarray],
        *,
        columns: tuple[str, ...],
        targets: tuple[str, ...],
        period: int,
        leads: int,
    ) -> SeriesPreparation:
        """Learn the scaling from the training rows.

        Args:
            blocks: `(rows, columns)` each, one after the other.
            columns: their names.
            targets: those to predict.
            period: seconds from one row to the next.
            leads: their number. `naive_mae` is not-a-number until `with_naive_mae`.
        """
        moments = Moments()
        for block in blocks:
            moments.add(block)
        return cls(
            columns=columns,
            targets=targets,
            mean=moments.mean,
            std=moments.std,
            period=period,
            naive_mae=np.full((leads, len(targets)), np.nan),
        )

    def with_naive_mae(self, naive_mae: np.ndarray) -> SeriesPreparation:
        """The same with the error of persistence, `(leads, targets)`."""
        return replace(self, naive_mae=naive_mae)

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Rows `(rows, columns)` in their own units as float32 in standard deviations from the mean."""
        with np.errstate(all="ignore"):  # what cannot be computed with is refused by the caller
            return ((values - self.mean) / self.std).astype(np.float32)

    def restore(self, scaled: np.ndarray) -> np.ndarray:
        """Scaled rows `(rows, columns)` in their own units, float64."""
        return scaled.astype(np.float64) * self.std + self.mean

    @property
    def target_mean(self) -> np.ndarray:
        """`(targets,)`, in each target's unit."""
        return self.mean[self._target_indices]

    @property
    def target_std(self) -> np.ndarray:
        """`(targets,)`, in each target's unit."""
        return self.std[self._target_indices]

    @property
    def _target_indices(self) -> list[int]:
        return [self.columns.index(name) for name in self.targets]

    def to_json(self) -> dict[str, Json]:
        """The content of `preparation.json`."""
        return {
            "task": "forecasting",
            "columns": list(self.columns),
            "targets": list(self.targets),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "period_seconds": self.period,
            "naive_mae": self.naive_mae.tolist(),
        }

    @classmethod
    def from_json(cls, stored: StoredPreparation) -> SeriesPreparation:
        """Read a preparation back.

        Raises:
            DataError: if it is not one of forecasting.
        """
        read = stored.read(_StoredSeries)
        columns, targets = len(read.columns), len(read.targets)
        if {len(read.mean), len(read.std)} != {columns} or not set(read.targets) <= set(
            read.columns
        ):
            raise stored.refused("its columns, means and targets do not belong together")
        if not all(std > 0 for std in read.std):
            raise stored.refused("its standard deviations must be larger than zero")
        if any(len(row) != targets for row in read.naive_mae):
            raise stored.refused("its naive errors and targets do not belong together")
        return cls(
            columns=tuple(read.columns),
            targets=tuple(read.targets),
            mean=np.array(read.mean),
            std=np.array(read.std),
            period=read.period_seconds,
            naive_mae=np.array(read.naive_mae),
        )


@dataclass(frozen=True, kw_only=True)
class _StoredSeries:
    """The keys of `preparation.json`."""

    __pydantic_config__ = STRICT

    task: Literal["forecasting"]
    columns: list[str]
    targets: list[str]
    mean: list[float]
    std: list[float]
    period_seconds: Count
    naive_mae: list[list[float]]


class Moments:
    """Mean and standard deviation of columns, block by block.

    Blocks are joined as by Chan, Golub and LeVeque (1983, "Algorithms for computing the sample variance").
    scikit-learn's `StandardScaler.partial_fit` does the same, but importing it would delay the first step by a second.
    """

    def __init__(self) -> None:
        self._rows = 0
        self.mean = np.zeros(0)
        self._variance = np.zeros(0)
        self._smallest = np.zeros(0)
        self._largest = np.zeros(0)

    def add(self, block: np.ndarray) -> None:
        """Count a block `(rows, columns)`; at least one row."""
        with np.errstate(all="ignore"):  # not-a-number and infinity are refused by the caller
            mean, variance = block.mean(axis=0), block.var(axis=0)
            smallest, largest = block.min(axis=0), block.max(axis=0)
            if not self._rows:
                self._rows = len(block)
                self.mean, self._variance = mean, variance
                self._smallest, self._largest = smallest, largest
                return
            rows = self._rows + len(block)
            share = len(block) / rows
            difference = mean - self.mean
            self._variance = (
                self._variance * (1 - share)
                + variance * share
                + difference**2 * share * (1 - share)
            )
            self.mean = self.mean + difference * share
            self._smallest = np.minimum(self._smallest, smallest)
            self._largest = np.maximum(self._largest, largest)
            self._rows = rows

    @property
    def std(self) -> np.ndarray:
        """Population standard deviations, 1 for columns that never change: dividing by one keeps them at zero.

        The standard deviation of such a column is rounding noise, not always zero.
        """
        with np.errstate(all="ignore"):
            return np.where(self._largest - self._smallest > 0, np.sqrt(self._variance), 1.0)
