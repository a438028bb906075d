"""The loss of a forecast: as the model is given it, and of baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqconv.tasks.contract import Loss
from seqconv.tasks.forecasting.settings import ForecastingSettings

PINBALL = "pinball"


def forecast_loss(settings: ForecastingSettings, leads: int) -> Loss:
    """The loss that the settings want, of so many leads.

    Leads may be weighted by a power of their number, since the near ones can be known better (Wang et al.,
    2024, "CARD: channel aligned robust blend transformer").
    """
    weights: tuple[float, ...] = ()
    if settings.lead_decay:
        powers = np.arange(1, leads + 1) ** -settings.lead_decay
        weights = tuple((powers / powers.mean()).tolist())
    quantiles = settings.quantiles or ()
    name = PINBALL if quantiles else settings.loss
    return Loss(name=name, lead_weights=weights, quantiles=quantiles)


def summed_loss(loss: Loss, errors: np.ndarray) -> float:
    """The loss of point forecasts, summed up.

    Args:
        loss: which.
        errors: forecast less target, `(samples, leads, columns)` in standard deviations.
    """
    if loss.quantiles:
        values = np.mean([pinball(-errors, level) for level in loss.quantiles], axis=0)
    else:
        values = FUNCTIONS[loss.name](errors)
    if loss.lead_weights:
        values = values * np.array(loss.lead_weights)[:, None]
    return float(values.sum())


def pinball(errors: np.ndarray, level: float) -> np.ndarray:
    """The pinball loss (Koenker and Bassett, 1978, "Regression quantiles") of each target less its forecast."""
    return np.maximum(level * errors, (level - 1) * errors)


def _huber(scaled: np.ndarray) -> np.ndarray:
    from scipy.special import huber

    return np.asarray(huber(1.0, scaled))


# As Keras computes them for the model.
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean_absolute_error": np.abs,
    "mean_squared_error": np.square,
    "huber": _huber,
}
