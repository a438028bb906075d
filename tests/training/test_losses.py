"""The losses that a model is trained on are those that baselines are measured by."""

import numpy as np
import pytest

from seqconv.tasks.contract import Loss
from seqconv.tasks.forecasting.losses import FUNCTIONS, summed_loss
from seqconv.training.steps import _sample_losses

TARGETS = np.random.default_rng(5).normal(size=(6, 3, 2)).astype(np.float32)
FORECASTS = np.random.default_rng(6).normal(size=(6, 3, 2)).astype(np.float32)


@pytest.mark.parametrize("weights", [(), (1.5, 0.9, 0.6)])
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_of_point_forecasts(name, weights):
    loss = Loss(name=name, lead_weights=weights)
    values = _sample_losses(loss)(TARGETS, FORECASTS).numpy()
    assert values.shape == (6,)
    assert values.sum() == pytest.approx(summed_loss(loss, FORECASTS - TARGETS) / 6, rel=1e-5)


@pytest.mark.parametrize("weights", [(), (1.5, 0.9, 0.6)])
def test_of_quantiles(weights):
    loss = Loss(name="pinball", lead_weights=weights, quantiles=(0.1, 0.5, 0.9))
    same = np.repeat(FORECASTS[..., None], 3, axis=-1)
    values = _sample_losses(loss)(TARGETS, same).numpy()
    assert values.shape == (6,)
    assert values.sum() == pytest.approx(summed_loss(loss, FORECASTS - TARGETS) / 6, rel=1e-5)


def test_weights_of_leads_weigh():
    errors = np.zeros((1, 3, 1))
    errors[0, 0] = 1.0
    loss = Loss(name="mean_absolute_error", lead_weights=(2.0, 0.6, 0.4))
    assert summed_loss(loss, errors) == 2.0
