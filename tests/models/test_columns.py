"""Models that read column by column: shapes, gradients, normalization of windows, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_specs import SERIES as SPEC
from variants import variants

from seqconv.cli.overrides import read_command_line
from seqconv.config.errors import ConfigError
from seqconv.config.registry import MODELS
from seqconv.models.columns import ColumnSection
from seqconv.models.layers.choice import ChosenInTraining
from seqconv.models.segments import SegmentSection

BY_COLUMN = [n for n in MODELS.names() if issubclass(MODELS.get(n).section, ColumnSection)]
BY_SEGMENT = [n for n in BY_COLUMN if issubclass(MODELS.get(n).section, SegmentSection)]
UNSEEN = replace(SPEC, target_features=())
QUANTILES = replace(SPEC, outputs=(7, 3, 2))


def built(name, spec=SPEC, **changes):
    words = [f"model={name}", "lookback=144", *(f"model.{k}={v}" for k, v in changes.items())]
    config = read_command_line(words).only_job.model
    assert not list(config.shape_problems(spec))
    return MODELS.get(name).build(config, spec)


def windows(count=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 24, 5)).astype(np.float32)


def test_there_are_such_models():
    assert BY_COLUMN
    assert BY_SEGMENT


@pytest.mark.parametrize("name", BY_COLUMN)
@pytest.mark.parametrize("normalization", ["none", "window"])
@pytest.mark.parametrize("spec", variants(SPEC, QUANTILES), ids=["points", "quantiles"])
def test_shapes_and_gradients(name, normalization, spec):
    model = built(name, spec, normalization=normalization)
    with tf.GradientTape() as tape:
        outputs = model(windows(), training=True)
        loss = tf.reduce_sum(outputs**2)
    gradients = tape.gradient(loss, model.trainable_variables)

    assert outputs.shape == (4, *spec.outputs)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        # What a mixing adds begins with zeros, so that nothing goes back through it at first.
        assert np.any(gradient) or "mixing_in" in variable.path, variable.path


@pytest.mark.parametrize("name", BY_COLUMN)
def test_targets_that_the_model_does_not_see(name):
    assert built(name, UNSEEN)(windows()).shape == (4, 7, 3)


@pytest.mark.parametrize("name", BY_COLUMN)
def test_a_window_that_is_moved_and_stretched_is_forecast_so(name):
    model = built(name, normalization="window", mixing=0)
    given = windows()
    wanted = model(given) * 5 + 3
    np.testing.assert_allclose(model(given * 5 + 3), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BY_COLUMN)
def test_of_a_change_nothing_is_added(name):
    value = built(name, normalization="window")
    change = built(name, replace(SPEC, origin="newest"), normalization="window")
    change.set_weights(value.get_weights())
    given = windows()
    newest = given[:, -1:][..., list(SPEC.target_features)]
    np.testing.assert_allclose(change(given) + newest, value(given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BY_COLUMN)
@pytest.mark.parametrize("level", [0.0, 1 / 3, -1e6])
def test_constant_windows_give_numbers_and_gradients(name, level):
    model = built(name, normalization="window")
    with tf.GradientTape() as tape:
        outputs = model(np.full((2, 24, 5), level, np.float32), training=True)
        loss = tf.reduce_mean(tf.abs(outputs - 1))
    gradients = tape.gradient(loss, model.trainable_variables)

    np.testing.assert_allclose(outputs, level, rtol=1e-4, atol=0.2)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", BY_COLUMN)
def test_the_time_of_day_is_read_as_it_is(name):
    given = windows()
    later = given + np.eye(5, dtype=np.float32)[4]
    for made, same in ((0, True), (1, False)):
        model = built(name, replace(SPEC, made=made), normalization="window", mixing=8)
        random = np.random.default_rng(0)
        model.set_weights(
            [random.normal(size=w.shape).astype(np.float32) for w in model.get_weights()]
        )
        one, two = model(given), model(later)
        assert (np.abs(one - two).max() < 1e-3 * np.abs(one).max()) == same


@pytest.mark.parametrize("name", BY_COLUMN)
def test_without_mixing_a_column_is_forecast_from_itself_alone(name):
    given, other = windows(), windows(seed=1)
    other[..., 2] = given[..., 2]
    for mixing, same in ((0, True), (8, False)):
        model = built(name, mixing=mixing)
        random = np.random.default_rng(0)
        model.set_weights(
            [random.normal(size=w.shape).astype(np.float32) for w in model.get_weights()]
        )
        # Column 2 is the second target.
        one, two = (model(x)[..., 1] for x in (given, other))
        assert np.allclose(one, two, atol=1e-4) == same


@pytest.mark.parametrize("name", BY_COLUMN)
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, origin="window"), "`target=normalized`"),
        (UNSEEN, "columns that the model sees"),
        (replace(SPEC, origin=None), "columns that the model sees"),
    ],
    ids=["normalized", "unseen", "texts"],
)
def test_normalization_without_a_way_back_is_refused(name, spec, message):
    config = read_command_line([f"model={name}", "model.normalization=window"]).only_job.model
    (problem,) = config.shape_problems(spec)
    assert problem.key == "normalization"
    assert message in problem.message


@pytest.mark.parametrize("name", BY_COLUMN)
def test_the_average_with_a_linear_forecast(name):
    linear, plain = built(name, linear=True), built(name, linear=False)
    added = [v for v in linear.trainable_variables if v.path.startswith("linear/")]
    assert [v.shape for v in added] == [(3, 24, 7), (3, 7)]
    assert linear.count_params() - plain.count_params() == 3 * 25 * 7
    given = windows()
    before = linear(given)
    added[0].assign(keras.ops.ones((3, 24, 7)))
    # Half of the sum of a target's own column, at every lead.
    sums = given[..., list(SPEC.target_features)].sum(axis=1, keepdims=True) / 2
    np.testing.assert_allclose(linear(given) - before, np.repeat(sums, 7, axis=1), atol=1e-4)


def test_in_training_one_of_both_forecasts_is_chosen_for_each_sample():
    layer = ChosenInTraining(seed=0)
    ones = tf.ones((1000, 2, 3))
    chosen = layer([ones, 3 * ones], training=True).numpy()
    assert set(np.unique(chosen)) == {1, 3}
    # Whole samples, about half of them.
    assert (chosen == chosen[:, :1, :1]).all()
    assert 0.4 < (chosen == 1).mean() < 0.6
    assert not np.array_equal(chosen, layer([ones, 3 * ones], training=True))
    np.testing.assert_array_equal(layer([ones, 3 * ones]), 2 * ones)


@pytest.mark.parametrize("name", BY_COLUMN)
def test_a_linear_forecast_of_columns_that_are_not_seen_is_refused(name):
    config = read_command_line([f"model={name}", "model.linear=true"]).only_job.model
    (problem,) = config.shape_problems(UNSEEN)
    assert problem.key == "linear"


@pytest.mark.parametrize("name", BY_SEGMENT)
def test_segments_must_fill_a_window(name):
    with pytest.raises(ConfigError, match=r"model\.segment: must divide .*lookback.*segment=7"):
        read_command_line([f"model={name}", "model.segment=7"])


def test_dilations_must_reach_the_whole_window():
    # Two blocks of three segments a filter: 1 + 2 * 2 * (1 + 2) segments of four steps.
    words = ["model=tcn", "model.blocks=2", "model.mixing=0", "step=1"]
    read_command_line([*words, "lookback=52"])
    with pytest.raises(ConfigError, match=r"model\.blocks: .* newest 52 time steps .* of the 56 "):
        read_command_line([*words, "lookback=56"])


@pytest.mark.parametrize(("time", "blocks", "unseen"), [(13, 2, 0), (15, 2, 2)])
def test_the_newest_output_of_a_tcn_sees_its_receptive_field_and_no_more(time, blocks, unseen):
    spec = replace(SPEC, time=time, target_features=(0, 1, 2))
    words = ["model=tcn", f"model.blocks={blocks}", "model.segment=1", "lookback=13", "step=1"]
    config = read_command_line(words).only_job.model
    model = MODELS.get("tcn").build(config, spec)
    random = np.random.default_rng(0)
    # Positive weights, so that no ReLU hides a step.
    model.set_weights([random.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    given = tf.constant(random.uniform(1, 2, (1, time, 5)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(given)
        total = tf.reduce_sum(model(given))
    seen = np.abs(tape.gradient(total, given)[0]).sum(axis=1) > 0
    assert seen.tolist() == [False] * unseen + [True] * (time - unseen)


@pytest.mark.parametrize("name", BY_COLUMN)
def test_a_model_is_kept_and_comes_back(name, tmp_path):
    model = built(name, normalization="window")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(windows()), model(windows()), rtol=1e-6)
