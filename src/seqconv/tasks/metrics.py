"""Every metric: its name, its unit, which way is better, and one function for models and baselines alike.

A new metric is one entry here. `objective`, `require`, progress, resume and reports read these entries.
scikit-learn is imported where a function needs it: for a series nothing of it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

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


# Forecasting: one target column at one lead.


@dataclass(frozen=True)
class Forecast:
    """Forecasts of one target column at one lead.

    Attributes:
        errors: forecast less target, `(samples,)` float64 in the column's unit.
        targets: `(samples,)` float64 in the column's unit.
        naive_mae: mean absolute error of persistence at this lead over the training windows.

    While training, `targets` are measured from where the loss measures them from: metrics of samples use the errors.
    """

    errors: np.ndarray
    targets: np.ndarray
    naive_mae: float


def _absolute_errors(forecast: Forecast) -> np.ndarray:
    import numpy as np

    return np.abs(forecast.errors)


def _root_mean_squared_error(forecast: Forecast) -> float:
    import numpy as np

    return float(np.sqrt(np.mean(forecast.errors**2)))


def _r2(forecast: Forecast) -> float:
    """Share of the variance explained; not defined for targets that never change."""
    import numpy as np

    variance = np.sum((forecast.targets - forecast.targets.mean()) ** 2)
    return float(1 - np.sum(forecast.errors**2) / variance) if variance else float("nan")


def _mase(forecast: Forecast) -> float:
    """Mean absolute scaled error (Hyndman and Koehler, 2006, "Another look at measures of forecast accuracy")."""
    if not forecast.naive_mae:
        return float("nan")
    return float(_absolute_errors(forecast).mean() / forecast.naive_mae)


FORECAST_SAMPLE_METRICS: tuple[SampleMetric[Forecast], ...] = (
    SampleMetric(
        name="mae", title="mean absolute error", in_target_unit=True, function=_absolute_errors
    ),
)
FORECAST_METRICS: tuple[SampleMetric[Forecast] | SplitMetric[Forecast], ...] = (
    *FORECAST_SAMPLE_METRICS,
    SplitMetric(
        name="rmse",
        title="root mean squared error",
        in_target_unit=True,
        function=_root_mean_squared_error,
    ),
    SplitMetric(name="r2", title="R2", larger_is_better=True, function=_r2),
    SplitMetric(name="mase", title="mean absolute scaled error", function=_mase),
)


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
