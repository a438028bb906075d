"""Prediction intervals and quantiles: what they hold, and how they are scored."""

import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from seqconv.tasks.forecasting.intervals import (
    IntervalScores,
    QuantileScores,
    beyond_forecasts,
    conformal_margins,
    interval_ends,
    learnt_margins,
    outer_forecasts,
    point_forecast,
)


def test_margins_hold_the_wanted_share_of_the_samples_and_a_new_one():
    generator = np.random.default_rng(1)
    targets = generator.normal(size=(199, 2, 3)) * [1.0, 5.0, 0.1]
    margins = conformal_margins(np.abs(targets), 0.9)
    assert margins.shape == (2, 3)
    # 0.9 of 200 are 180 samples.
    assert (np.sum(np.abs(targets) <= margins, axis=0) == 180).all()
    np.testing.assert_array_equal(margins, np.sort(np.abs(targets), axis=0)[179])


def test_new_samples_of_the_same_kind_are_held_as_often_as_wanted():
    generator = np.random.default_rng(2)
    held = []
    for _ in range(2000):
        errors = generator.standard_exponential(size=(20, 1, 1))
        margin = conformal_margins(errors[:19], 0.8)
        held.append(errors[19, 0, 0] <= margin[0, 0])
    # Exactly 0.8 in the mean; four standard errors are 0.036.
    assert np.mean(held) == pytest.approx(0.8, abs=0.036)


def test_margins_of_few_samples_are_their_largest_error():
    targets = np.array([1.0, -3.0, 2.0])[:, None, None]
    assert conformal_margins(np.abs(targets), 0.9) == [[3.0]]


def test_quantiles_that_are_too_wide_are_narrowed():
    targets = np.linspace(-1, 1, 101)[:, None, None]
    ends = np.full_like(targets, 5.0)
    margin = conformal_margins(beyond_forecasts(-ends, ends, targets), 0.5)
    assert margin[0, 0] < 0
    inside = np.abs(targets) <= 5.0 + margin
    assert inside.sum() == 51


class TestWidth:
    """Margins follow the windows where these say how large errors are."""

    LEVEL = 0.9

    @staticmethod
    def drawn(tells, seed, share=0.5, count=2000):
        """Errors and deviations of windows, of which a share are calm, mixed in time."""
        generator = np.random.default_rng(seed)
        calm = (generator.random(count) < share)[:, None, None]
        spread = np.where(calm, 0.2, 2.0)
        errors = generator.normal(size=(count, 3, 1)) * (spread if tells else 1.0)
        return np.abs(errors), spread

    def test_they_are_wider_for_windows_that_vary_more(self):
        margins = learnt_margins(*self.drawn(tells=True, seed=1), self.LEVEL)
        assert margins.floor == 0.1
        # More than learnt from is calm: what is held does not change.
        beyond, spread = self.drawn(tells=True, seed=2, share=0.9)
        held = beyond <= margins.values * np.hypot(spread, margins.floor)
        assert held.mean() == pytest.approx(self.LEVEL, abs=0.02)
        assert held[spread.ravel() > 1].mean() == pytest.approx(self.LEVEL, abs=0.05)
        alike = learnt_margins(self.drawn(tells=True, seed=1)[0], None, self.LEVEL)
        assert (beyond <= alike.values).mean() > 0.95

    def test_they_are_alike_where_windows_tell_nothing(self):
        beyond, spread = self.drawn(tells=False, seed=1)
        margins = learnt_margins(beyond, spread, self.LEVEL)
        assert margins.floor is None
        np.testing.assert_array_equal(margins.values, conformal_margins(beyond, self.LEVEL))

    def test_of_few_samples_they_are_alike(self):
        beyond, spread = self.drawn(tells=True, seed=1, count=99)
        assert learnt_margins(beyond, spread, self.LEVEL).floor is None


def test_ends_of_narrowed_intervals_do_not_cross():
    # Two windows; the margin is wider than half of the second one.
    predictions = np.array([[-5.0, 0.0, 5.0], [1.0, 1.5, 2.0]])[:, None, None]
    low, high = interval_ends(predictions, (0.1, 0.5, 0.9), np.array([[-2.0]]))
    assert low.ravel().tolist() == [-3.0, 1.5]
    assert high.ravel().tolist() == [3.0, 1.5]
    low, high = interval_ends(predictions[..., 1], (), np.array([[2.0]]))
    assert low.ravel().tolist() == [-2.0, -0.5]
    assert high.ravel().tolist() == [2.0, 3.5]


def test_point_and_outer_forecasts():
    predictions = np.arange(24.0).reshape(2, 2, 2, 3)
    levels = (0.1, 0.5, 0.9)
    np.testing.assert_array_equal(point_forecast(predictions, levels), predictions[..., 1])
    low, high = outer_forecasts(predictions, levels)
    np.testing.assert_array_equal(low, predictions[..., 0])
    np.testing.assert_array_equal(high, predictions[..., 2])
    plain = predictions[..., 0]
    assert point_forecast(plain, ()) is plain
    assert all(end is plain for end in outer_forecasts(plain, ()))


def test_scores_of_intervals():
    scores = IntervalScores(0.8)
    scores.add(np.array([0.0, 0.0]), np.array([2.0, 2.0]), np.array([1.0, 3.0]))
    scores.add(np.array([0.0, 0.0]), np.array([4.0, 4.0]), np.array([-0.5, 4.0]))
    # Winkler: the width, and what lies outside times 2 / 0.2.
    expected = {"level": 0.8, "coverage": 0.5, "width": 3.0, "winkler": 3.0 + 10 * 1.5 / 4}
    assert scores.to_json() == pytest.approx(expected)


def test_scores_of_quantiles_are_those_of_scikit_learn():
    generator = np.random.default_rng(3)
    levels = (0.1, 0.5, 0.9)
    targets = generator.normal(size=300)
    quantiles = np.sort(generator.normal(size=(300, 3)), axis=1)
    scores = QuantileScores(levels)
    for part in (slice(0, 100), slice(100, 300)):
        scores.add(quantiles[part], targets[part])
    found = scores.to_json()
    losses = [
        mean_pinball_loss(targets, quantiles[:, index], alpha=level)
        for index, level in enumerate(levels)
    ]
    assert list(found["pinball"].values()) == pytest.approx(losses)
    assert found["crps"] == pytest.approx(2 * np.mean(losses))
    assert found["below"] == pytest.approx(
        {f"{level:g}": np.mean(targets <= quantiles[:, i]) for i, level in enumerate(levels)}
    )
