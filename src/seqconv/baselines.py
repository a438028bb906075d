"""What a model must beat: forecasts that need no training, and a linear one."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from seqconv.data.series import SeriesData
from seqconv.data.store import Store
from seqconv.data.texts import TextData
from seqconv.nbsvm import nbsvm_probabilities

EVALUATED = ("validation", "test")
SECONDS_PER_DAY = 86_400
# The window's ends and daily points are a few dozen numbers for tens of thousands of windows: any small
# penalty does; it only keeps columns that copy one another from cancelling out.
RIDGE_PENALTY = 1.0


# The longest n-grams of NB-SVM; on IMDB 0.888 with 1, 0.911 with 2, 0.915 with 3.
NBSVM_NGRAMS = 3


def baselines_of(data: SeriesData | TextData, *, slow: bool) -> dict[str, dict[str, Any]]:
    """The baselines that suit a kind of data.

    Args:
        data: to be beaten on.
        slow: whether those that take long are wanted, too.
    """
    if isinstance(data, TextData):
        return text_baselines(data, slow=slow)
    return series_baselines(data)


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


def text_baselines(data: TextData, *, slow: bool) -> dict[str, dict[str, Any]]:
    """Figures of the majority class and, if `slow`, of NB-SVM on word n-grams, per evaluated split.

    Returns:
        `{name: {"validation": {"accuracy": ..., "loss": ...}, "test": ...}}`.
    """
    shares = np.bincount(data.splits["train"].labels, minlength=len(data.classes))
    shares = shares / shares.sum()
    probabilities = {"majority": {s: np.tile(shares, (data.count(s), 1)) for s in EVALUATED}}
    if slow:
        probabilities["nbsvm"] = _nbsvm(data)
    return {
        name: {split: data.measure(split, found[split]) for split in EVALUATED}
        for name, found in probabilities.items()
    }


def _nbsvm(data: TextData) -> dict[str, np.ndarray]:
    """Probabilities by NB-SVM, from the cache where they were computed for this data and split before."""
    digest = hashlib.sha256(f"{NBSVM_NGRAMS}".encode())
    for split in data.splits.values():
        for array in (split.words.flat, split.words.offsets, split.labels):
            digest.update(np.ascontiguousarray(array).tobytes())
    store = Store(f"nbsvm-{digest.hexdigest()[:32]}")
    known = store.load()
    if known is None:
        corpora = {
            name: (split.words.flat, split.words.offsets) for name, split in data.splits.items()
        }
        found = nbsvm_probabilities(
            corpora["train"],
            data.splits["train"].labels,
            [corpora[split] for split in EVALUATED],
            classes=len(data.classes),
            ngrams=NBSVM_NGRAMS,
        )
        known = dict(zip(EVALUATED, found, strict=True))
        store.save(known)
    return known
