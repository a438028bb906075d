"""Adam, AdamW and RMSprop in one pass over the weights are Keras' own."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
import tensorflow as tf  # noqa: E402

from seqconv.models.layers import optimizers  # noqa: E402


def trained(optimizer, *, compiled, rows_alone=True):
    """Weights, and what the optimizer keeps, after some steps with gradients that are drawn.

    With `rows_alone`, the last weight is a table of which a step has some rows.
    """
    random = np.random.default_rng(0)
    shapes = [(7, 5), (5,), (11, 3)]
    weights = [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in shapes]
    optimizer.build(weights)

    @tf.function(jit_compile=compiled)
    def step(gradients, rows):
        whole = compiled or not rows_alone
        table = gradients[2] if whole else tf.IndexedSlices(gradients[2][:2], rows, (11, 3))
        optimizer.apply([*gradients[:2], table], weights)

    for rate in (0.1, 0.1, 0.05, 0.01):
        optimizer.learning_rate.assign(rate)
        gradients = [random.normal(size=shape).astype(np.float32) for shape in shapes]
        step(gradients, random.choice(11, 2, replace=False))
    return [np.asarray(value) for value in (*weights, *optimizer.variables)]


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "xla"]
)
@pytest.mark.parametrize(
    "settings",
    [{}, {"global_clipnorm": 0.5}, {"use_ema": True, "ema_momentum": 0.8}, {"epsilon": 1e-3}],
    ids=["plain", "clipped", "averaged", "epsilon"],
)
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_is_that_of_keras(name, settings, compiled):
    settings = {"learning_rate": 0.1, "weight_decay": 0.1, **settings}
    found = trained(getattr(optimizers, name)(**settings), compiled=compiled)
    wanted = trained(getattr(keras.optimizers, name)(**settings), compiled=compiled)
    assert len(found) == len(wanted)
    for value, reference in zip(found, wanted, strict=True):
        # TensorFlow computes 1 - beta_2 in float32: 0.001 but for 5e-5 of it.
        np.testing.assert_allclose(value, reference, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "xla"]
)
@pytest.mark.parametrize(
    "settings", [{}, {"use_ema": True, "ema_momentum": 0.8}, {"epsilon": 1e-3}]
)
def test_rmsprop_is_that_of_keras(settings, compiled):
    settings = {"learning_rate": 0.1, "weight_decay": 0.1, **settings}
    found = trained(optimizers.RMSprop([], **settings), compiled=compiled, rows_alone=False)
    wanted = trained(keras.optimizers.RMSprop(**settings), compiled=compiled, rows_alone=False)
    assert len(found) == len(wanted)
    for value, reference in zip(found, wanted, strict=True):
        np.testing.assert_allclose(value, reference, rtol=1e-5, atol=1e-6)


def test_names_of_variables_are_those_of_keras():
    """Checkpoints of earlier versions hold them."""
    pairs = [
        (optimizers.Adam(), keras.optimizers.Adam()),
        (optimizers.RMSprop([]), keras.optimizers.RMSprop()),
    ]
    for pair in pairs:
        for optimizer in pair:
            optimizer.build([keras.Variable(np.zeros(2), name="weight")])
        names = [[v.path.rpartition("/")[2] for v in o.variables] for o in pair]
        assert names[0] == names[1]


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"centered": True}])
def test_another_rmsprop_is_refused(settings):
    with pytest.raises(ValueError, match=r"Use keras\.optimizers\.RMSprop for another kind"):
        optimizers.RMSprop([], **settings)
