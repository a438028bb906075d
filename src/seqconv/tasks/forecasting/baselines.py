"""What a forecasting model must beat: forecasts that need no training, and a linear one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from seqconv.tasks.contract import Split
from seqconv.tasks.forecasting.samples import WindowSamples

SECONDS_PER_DAY = 86_400
# The window's first and last row and its daily points are a few dozen numbers for tens of thousands of windows: any
# small penalty does; it only keeps columns that copy one another from cancelling out.
RIDGE_PENALTY = 1.0

Forecasts = dict[Split, np.ndarray]
"""Of each evaluated split, `(samples, leads, columns)` in the targets' own units."""


def persistence(samples: Mapping[Split, WindowSamples], evaluated: Sequence[Split]) -> Forecasts:
    """It will be as it is now."""
    return {split: samples[split].persistence() for split in evaluated}


def seasonal_naive(
    samples: Mapping[Split, WindowSamples], evaluated: Sequence[Split], day: int
) -> tuple[Forecasts, int] | None:
    """It will be as at the same hour of the newest day that is known.

    Args:
        samples: of all splits.
        evaluated: the splits to forecast.
        day: rows in a day; 0 where a day is no whole number of rows.

    Returns:
        The forecasts, and the largest number of days that they look back; None where a lead's window does not hold a
        whole number of days before the target.
    """
    settings = samples[evaluated[0]].settings
    points = [daily_points(lead, settings.lookback, settings.step, day) for lead in settings.leads]
    if not all(points):
        return None
    forecasts = {
        split: np.stack(
            [samples[split].lagged(n, rows[0]) for n, rows in enumerate(points)], axis=1
        )
        for split in evaluated
    }
    return forecasts, max(rows[0] for rows in points) // day


def ridge(
    samples: Mapping[Split, WindowSamples], evaluated: Sequence[Split], day: int
) -> Forecasts:
    """Ridge regression of the change from now on both ends of the window and its daily points.

    One regression for each lead and column.
    """
    settings, columns = samples["train"].settings, len(samples["train"].targets)
    shapes = {split: (len(samples[split]), len(settings.leads), columns) for split in evaluated}
    forecasts = {split: np.empty(shape) for split, shape in shapes.items()}
    for lead, rows in enumerate(settings.leads):
        days = daily_points(rows, settings.lookback, settings.step, day)
        for column in range(columns):
            found = _ridge_of(samples, evaluated, lead, column, days)
            for split in evaluated:
                forecasts[split][:, lead, column] = found[split]
    return forecasts


def _ridge_of(
    samples: Mapping[Split, WindowSamples],
    evaluated: Sequence[Split],
    lead: int,
    column: int,
    days: Sequence[int],
) -> dict[Split, np.ndarray]:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(split: Split) -> np.ndarray:
        points = [samples[split].lagged(lead, rows)[:, column] for rows in days]
        return np.column_stack([samples[split].first_and_last_rows(), *points])

    def newest(split: Split) -> np.ndarray:
        return samples[split].persistence()[:, lead, column]

    model = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE_PENALTY))
    model.fit(features("train"), samples["train"].truth()[:, lead, column] - newest("train"))
    return {split: newest(split) + model.predict(features(split)) for split in evaluated}


def rows_per_day(period: int) -> int:
    """Rows in a day; 0 where a day is no whole number of rows."""
    rows, rest = divmod(SECONDS_PER_DAY, period)
    return 0 if rest else rows


def daily_points(lead: int, lookback: int, step: int, day: int) -> list[int]:
    """Rows before the target, whole days each, that lie in the window; the newest first."""
    if not day:
        return []
    newest = -(-lead // day) * day
    return list(range(newest, lookback + lead - step + 1, day))
