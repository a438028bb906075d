"""Every metric: its direction, what it is by hand and by scikit-learn, and where it is not defined."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_absolute_error, r2_score

from seqconv.config.requirements import Objective, Requirement, read_objective, read_requirements
from seqconv.tasks.forecasting.settings import ForecastingSettings
from seqconv.tasks.metrics import (
    CLASSIFICATION_METRICS,
    FORECAST_METRICS,
    LOSS,
    Classified,
    ErrorSums,
    Forecast,
    ForecastMetric,
)

RNG = np.random.default_rng(0)
TARGETS = RNG.normal(10, 3, 200)
NOISE = RNG.normal(0, 1, 200)
LABELS = np.arange(60) % 3


def forecast(error, targets=TARGETS, naive_mae=2.0):
    sums = ErrorSums((1, 1))
    errors = error * np.resize(NOISE, len(targets))
    for part in (slice(0, 5), slice(5, None)):
        sums.add(errors[part, None, None], targets[part, None, None])
    return Forecast(sums, np.array([[naive_mae]]))


def classified(certainty, labels=LABELS):
    scores = np.eye(3)[labels] * certainty + np.random.default_rng(1).random((len(labels), 3))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Classified(scores, labels, lambda: probabilities)


BY_NAME = {metric.name: metric for metric in (*FORECAST_METRICS, *CLASSIFICATION_METRICS)}


def test_there_are_metrics():
    assert {"mae", "rmse", "r2", "mase", "accuracy", "auc", "macro_f1"} <= BY_NAME.keys()
    assert len(BY_NAME) == len(FORECAST_METRICS) + len(CLASSIFICATION_METRICS)


@pytest.mark.parametrize(
    ("metric", "worse", "better"),
    [
        *((metric, forecast(2.0), forecast(0.5)) for metric in FORECAST_METRICS),
        *((metric, classified(0.2), classified(0.8)) for metric in CLASSIFICATION_METRICS),
    ],
    ids=list(BY_NAME),
)
def test_a_better_prediction_has_a_better_metric(metric, worse, better):
    assert (metric(better) > metric(worse)) == metric.larger_is_better
    assert metric(better) != metric(worse)


def test_forecast_metrics_by_hand_and_by_scikit_learn():
    one = forecast(1.0)
    assert BY_NAME["mae"](one) == pytest.approx(mean_absolute_error(TARGETS, TARGETS + NOISE))
    assert BY_NAME["rmse"](one) == pytest.approx(np.sqrt(np.mean(NOISE**2)))
    assert BY_NAME["r2"](one) == pytest.approx(r2_score(TARGETS, TARGETS + NOISE))
    assert BY_NAME["mase"](one) == pytest.approx(np.abs(NOISE).mean() / 2.0)


def test_macro_f1_counts_classes_that_are_never_predicted():
    scores = np.tile([0.0, 1.0, 0.0], (60, 1))
    found = BY_NAME["macro_f1"](Classified(scores, LABELS, lambda: scores))
    wanted = f1_score(LABELS, np.ones(60), average="macro", labels=[0, 1, 2], zero_division=0)
    assert found == pytest.approx(wanted) == pytest.approx(0.5 / 3)


@pytest.mark.parametrize(
    ("name", "scored"),
    [
        ("r2", forecast(1.0, targets=np.full(9, 4.0))),
        ("mase", forecast(1.0, naive_mae=0.0)),
        ("auc", classified(0.5, labels=np.zeros(9, int))),
        (
            "auc",
            Classified(
                np.full((3, 2), np.nan), np.array([0, 1, 1]), lambda: np.full((3, 2), np.nan)
            ),
        ),
    ],
)
def test_where_a_metric_is_not_defined_it_is_no_number(name, scored):
    assert np.isnan(BY_NAME[name](scored)).all()


def test_a_new_metric_is_one_entry(monkeypatch):
    bias = ForecastMetric(
        name="bias", title="worst", function=lambda forecast: forecast.sums.absolute
    )
    monkeypatch.setattr(ForecastingSettings, "metrics", (LOSS, *FORECAST_METRICS, bias))
    metrics = ForecastingSettings.metrics
    assert read_objective("val_bias", metrics) == Objective(name="val_bias", larger_is_better=False)
    assert list(read_requirements("test.bias<1", metrics)) == [Requirement("test.bias", "<", 1.0)]
