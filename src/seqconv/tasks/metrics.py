"""Every metric: its name, its unit, which way is better, and one function for models and baselines alike.

A new metric is one entry here. `objective`, `require`, progress, resume and reports read these entries.
scikit-learn is imported where a function needs it: for a series nothing of it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np

Scored = TypeVar("Scored")


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What is known of a metric without data.

    Attributes:
        name: in `metrics.json`; with `val_` in front as an objective.
        title: in words.
        larger_is_better: errors and losses are made small, scores large.
        in_target_unit: whether it is in the unit of the target column.
    """

    name: str
    title: str
    larger_is_better: bool = False
    in_target_unit: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleMetric(Metric, Generic[Scored]):
    """A mean over samples, which training reports too.

    Attributes:
        function: the value of each sample, `(samples,)`.
    """

    function: Callable[[Scored], np.ndarray]

    def __call__(self, scored: Scored) -> float:
        """The metric of a split."""
        return float(self.function(scored).mean())


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitMetric(Metric, Generic[Scored]):
    """A number that only a whole split has.

    Attributes:
        function: the value; not-a-number where it is not defined.
    """

    function: Callable[[Scored], float]

    def __call__(self, scored: Scored) -> float:
        """The metric of a split."""
        return self.function(scored)


LOSS = Metric(name="loss", title="loss")


# Forecasting


class ErrorSums:
    """Sums over samples that every forecasting metric is made of, `(leads, columns)` each, in the targets' units.

    Args:
        shape: leads and columns.
    """

    def __init__(self, shape: tuple[int, int]):
        import numpy as np

        self.count = 0
        self.absolute, self.squared = np.zeros(shape), np.zeros(shape)
        self._first: np.ndarray | None = None
        self._targets, self._target_squares = np.zeros(shape), np.zeros(shape)

    def add(self, errors: np.ndarray, targets: np.ndarray) -> None:
        """Count samples: forecast less target, and target, `(n, leads, columns)` float64."""
        import numpy as np

        if self._first is None:
            self._first = targets[:1]
        # About the first target, so that squares of large numbers do not swallow their differences.
        centred = targets - self._first
        self.count += len(errors)
        self.absolute += np.abs(errors).sum(axis=0)
        self.squared += (errors**2).sum(axis=0)
        self._targets += centred.sum(axis=0)
        self._target_squares += (centred**2).sum(axis=0)

    @property
    def variation(self) -> np.ndarray:
        """Sum of squared differences of the targets from their mean."""
        return self._target_squares - self._targets**2 / self.count


class ErrorsByScaling:
    """Sums over all samples, and over those of each scaling.

    Args:
        shape: leads and columns.
        scalings: how many there are.

    Attributes:
        all: sums over all samples.
    """

    def __init__(self, shape: tuple[int, int], scalings: int):
        self.all = ErrorSums(shape)
        self._parts = [ErrorSums(shape) for _ in range(scalings)] if scalings > 1 else [self.all]

    def add(self, errors: np.ndarray, targets: np.ndarray, scalings: np.ndarray) -> None:
        """Count samples: forecast less target, and target, `(n, leads, columns)` float64, and their scalings `(n,)`."""
        import numpy as np

        self.all.add(errors, targets)
        if len(self._parts) > 1:
            for number in np.unique(scalings):
                chosen = scalings == number
                self._parts[number].add(errors[chosen], targets[chosen])

    def scaled(self, std: np.ndarray) -> tuple[float, float]:
        """Mean absolute and mean squared error in standard deviations.

        Args:
            std: of each scaling, `(scalings, columns)`.
        """
        pairs = list(zip(self._parts, std, strict=True))
        absolute = sum((sums.absolute / row).mean() for sums, row in pairs)
        squared = sum((sums.squared / row**2).mean() for sums, row in pairs)
        return float(absolute / self.all.count), float(squared / self.all.count)


@dataclass(frozen=True)
class Forecast:
    """How forecasts went.

    Attributes:
        sums: over the samples.
        naive_mae: mean absolute error of persistence over the training windows, `(leads, columns)`.
    """

    sums: ErrorSums
    naive_mae: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class ForecastMetric(Metric):
    """A metric of each target at each lead.

    Attributes:
        function: the values, `(leads, columns)`; not-a-number where it is not defined.
        of_errors: where it is a mean over samples: the value of each one from its error, which training reports too.
    """

    function: Callable[[Forecast], np.ndarray]
    of_errors: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, forecast: Forecast) -> np.ndarray:
        """The metric of a split."""
        return self.function(forecast)


def _absolute(errors: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.abs(errors)


def _mean_absolute_error(forecast: Forecast) -> np.ndarray:
    return forecast.sums.absolute / forecast.sums.count


def _root_mean_squared_error(forecast: Forecast) -> np.ndarray:
    import numpy as np

    return np.asarray(np.sqrt(forecast.sums.squared / forecast.sums.count))


def _r2(forecast: Forecast) -> np.ndarray:
    """Share of the variance explained; not defined for targets that never change."""
    import numpy as np

    with np.errstate(all="ignore"):
        found = 1 - forecast.sums.squared / forecast.sums.variation
    return np.where(forecast.sums.variation > 0, found, np.nan)


def _mase(forecast: Forecast) -> np.ndarray:
    """Mean absolute scaled error (Hyndman and Koehler, 2006, "Another look at measures of forecast accuracy")."""
    import numpy as np

    with np.errstate(all="ignore"):
        found = _mean_absolute_error(forecast) / forecast.naive_mae
    return np.where(forecast.naive_mae > 0, found, np.nan)


FORECAST_METRICS: tuple[ForecastMetric, ...] = (
    ForecastMetric(
        name="mae",
        title="mean absolute error",
        in_target_unit=True,
        function=_mean_absolute_error,
        of_errors=_absolute,
    ),
    ForecastMetric(
        name="rmse",
        title="root mean squared error",
        in_target_unit=True,
        function=_root_mean_squared_error,
    ),
    ForecastMetric(name="r2", title="R2", larger_is_better=True, function=_r2),
    ForecastMetric(name="mase", title="mean absolute scaled error", function=_mase),
)
# Over all targets and leads together, in units of the training rows' standard deviation, as benchmarks report them.
SCALED_METRICS = (
    Metric(name="scaled.mae", title="mean absolute error, scaled"),
    Metric(name="scaled.mse", title="mean squared error, scaled"),
)


def value_of(values: Mapping[str, Any], name: str) -> Any:
    """What stands under a name with dots, also where a part of it, such as a column's, holds some; None if nothing."""
    if name in values:
        return values[name]
    for part in sorted(values, key=len, reverse=True):
        inner = values[part]
        if name.startswith(f"{part}.") and isinstance(inner, Mapping):
            found = value_of(inner, name[len(part) + 1 :])
            if found is not None:
                return found
    return None


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Names with dots as parts in parts: what `value_of` reads."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parts, last = name.split(".")
        target = found
        for part in parts:
            target = target.setdefault(part, {})
        target[last] = value
    return found


# Classification


@dataclass(frozen=True)
class Classified:
    """Classified samples.

    Attributes:
        scores: `(samples, classes)`; the class of the largest one is predicted.
        labels: numbers of the true classes, `(samples,)` int64.
        probabilities: gives them, `(samples, classes)` float64, rows adding up to 1.
    """

    scores: np.ndarray
    labels: np.ndarray
    probabilities: Callable[[], np.ndarray]

    @property
    def predicted(self) -> np.ndarray:
        """Numbers of the predicted classes, `(samples,)`."""
        return self.scores.argmax(axis=1)


def _correct(classified: Classified) -> np.ndarray:
    import numpy as np

    return (classified.predicted == classified.labels).astype(np.float64)


def _auc(classified: Classified) -> float:
    """Area under the ROC curve, one class against the rest; not defined where a class is absent."""
    import numpy as np
    from sklearn.metrics import roc_auc_score

    probabilities = classified.probabilities()
    classes = probabilities.shape[1]
    if not np.isfinite(probabilities).all() or len(np.unique(classified.labels)) < classes:
        return float("nan")
    if classes == 2:
        return float(roc_auc_score(classified.labels, probabilities[:, 1]))
    return float(roc_auc_score(classified.labels, probabilities, multi_class="ovr"))


def _macro_f1(classified: Classified) -> float:
    """Mean over the classes of the harmonic mean of precision and recall."""
    import numpy as np
    from sklearn.metrics import f1_score

    classes = np.arange(classified.scores.shape[1])
    return float(
        f1_score(
            classified.labels,
            classified.predicted,
            labels=classes,
            average="macro",
            zero_division=0,
        )
    )


CLASSIFICATION_SAMPLE_METRICS: tuple[SampleMetric[Classified], ...] = (
    SampleMetric(name="accuracy", title="accuracy", larger_is_better=True, function=_correct),
)
CLASSIFICATION_METRICS: tuple[SampleMetric[Classified] | SplitMetric[Classified], ...] = (
    *CLASSIFICATION_SAMPLE_METRICS,
    SplitMetric(name="auc", title="area under the ROC curve", larger_is_better=True, function=_auc),
    SplitMetric(name="macro_f1", title="macro F1", larger_is_better=True, function=_macro_f1),
)
