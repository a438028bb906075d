"""What a model must beat: forecasts that need no training, and a linear one."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqconv.data.series import SeriesData

EVALUATED = ("validation", "test")
SECONDS_PER_DAY = 86_400
# The window's ends and daily points are a few dozen numbers for tens of thousands of windows: any small
# penalty does; it only keeps columns that copy one another from cancelling out.
RIDGE_PENALTY = 1.0


def series_baselines(data: SeriesData) -> dict[str, dict[str, Any]]:
    """Errors of persistence, the seasonal naive forecast, and a ridge regression, per evaluated split.

    Returns:
        `{name: {"validation": {"mae": ..., "rmse": ..., "loss": ...}, "test": ...}}`. A baseline that the window
        does not allow (no whole number of days in it) is left out.
    """
    forecasts = {"persistence": {split: data.known(split, data.task.lead) for split in EVALUATED}}
    results: dict[str, dict[str, Any]] = {}
    days = daily_points(data)
    if days:
        forecasts["seasonal_naive"] = {split: data.known(split, days[0]) for split in EVALUATED}
        results["seasonal_naive"] = {"days": days[0] // rows_per_day(data)}
    forecasts["ridge"] = _ridge(data, days)
    for name, forecast in forecasts.items():
        measured = {split: data.measure(split, forecast[split]) for split in EVALUATED}
        results[name] = results.get(name, {}) | measured
    return {name: results[name] for name in forecasts}


def rows_per_day(data: SeriesData) -> int:
    """Rows in a day; 0 where a day is no whole number of rows."""
    rows, rest = divmod(SECONDS_PER_DAY, data.record.period)
    return 0 if rest else rows


def daily_points(data: SeriesData) -> list[int]:
    """Rows before the target, whole days each, that lie in the window; the newest first."""
    day = rows_per_day(data)
    if not day:
        return []
    newest = -(-data.task.lead // day) * day
    return list(range(newest, data.task.lookback + data.task.delay + 1, day))


def _ridge(data: SeriesData, days: list[int]) -> dict[str, np.ndarray]:
    """Ridge regression of the change from now on both ends of the window and its daily points."""
    from sklearn.linear_model import Ridge

    def features(split: str) -> np.ndarray:
        ends = data.ends(split)
        points = [data.known(split, rows) for rows in days]
        return np.column_stack([ends, *points]).astype(np.float64)

    def newest(split: str) -> np.ndarray:
        return data.known(split, data.task.lead)

    training = features("train")
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    deviation[deviation == 0] = 1.0
    model = Ridge(alpha=RIDGE_PENALTY)
    model.fit((training - mean) / deviation, data.truth("train") - newest("train"))
    return {
        split: newest(split) + model.predict((features(split) - mean) / deviation)
        for split in EVALUATED
    }
