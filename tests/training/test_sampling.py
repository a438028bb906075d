"""Batches are a pure function of (seed, epoch, step)."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_records import QUICK

from seqconv.training.sampling import TrainingOrder

MODES = pytest.mark.parametrize("steps_per_epoch", [None, 4], ids=["shuffled", "random"])


@MODES
def test_order_of_asking_does_not_matter(steps_per_epoch):
    def make():
        return TrainingOrder(100, 25, steps_per_epoch, seed=7)

    places = list(itertools.product((1, 2, 3), range(4)))
    forward = make()
    expected = {place: forward.indices(*place) for place in places}
    order = make()
    for place in [*reversed(places), *places[::3], *places]:
        np.testing.assert_array_equal(order.indices(*place), expected[place])
        np.testing.assert_array_equal(make().indices(*place), expected[place])


@MODES
def test_every_seed_epoch_and_step_draws_other_samples(steps_per_epoch):
    drawn = {
        (seed, epoch, step): tuple(
            TrainingOrder(1000, 50, steps_per_epoch, seed).indices(epoch, step).tolist()
        )
        for seed, epoch, step in itertools.product((0, 1, 2), (1, 2, 3), (0, 1, 2))
    }
    assert len(set(drawn.values())) == len(drawn) == 27


@given(samples=st.integers(1, 300), batch_size=st.integers(1, 70), epoch=st.integers(1, 50))
@QUICK
def test_shuffled_epoch_has_every_sample_once(samples, batch_size, epoch):
    order = TrainingOrder(samples, batch_size, None, seed=3)
    batches = [order.indices(epoch, step) for step in range(order.steps)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(samples))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) == (samples - 1) % batch_size + 1


def test_shuffled_epoch_is_shuffled():
    order = TrainingOrder(200, 200, None, seed=0)
    assert order.indices(1, 0).tolist() != list(range(200))


@given(samples=st.integers(1, 300), batch_size=st.integers(1, 70), steps=st.integers(1, 5))
@QUICK
def test_random_batches_are_full_and_in_range(samples, batch_size, steps):
    order = TrainingOrder(samples, batch_size, steps, seed=3)
    assert order.steps == steps
    for step in range(steps):
        indices = order.indices(1, step)
        assert indices.shape == (batch_size,)
        assert np.issubdtype(indices.dtype, np.integer)
        assert 0 <= indices.min() <= indices.max() < samples


def test_random_samples_reach_the_first_and_the_last():
    drawn = TrainingOrder(5, 200, 1, seed=0).indices(1, 0)
    assert set(drawn.tolist()) == {0, 1, 2, 3, 4}


def test_a_long_random_epoch_repeats_nothing_of_the_one_before():
    # Step 5 of epoch 1 must not be step 0 of epoch 2: the places are not added up.
    order = TrainingOrder(10_000, 64, 5, seed=0)
    batches = {tuple(order.indices(e, s).tolist()) for e in range(1, 9) for s in range(5)}
    assert len(batches) == 40
