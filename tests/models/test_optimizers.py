"""Adam and AdamW in one pass over the weights are Keras' own."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")
import tensorflow as tf  # noqa: E402

from seqconv.models.layers import optimizers  # noqa: E402


def trained(optimizer, *, compiled):
    """Weights, and what the optimizer keeps, after some steps with gradients that are drawn."""
    random = np.random.default_rng(0)
    shapes = [(7, 5), (5,), (11, 3)]
    weights = [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in shapes]
    optimizer.build(weights)

    @tf.function(jit_compile=compiled)
    def step(gradients, rows):
        # The last weight is a table of which a step has some rows.
        table = tf.IndexedSlices(gradients[2][:2], rows, (11, 3))
        optimizer.apply([*gradients[:2], gradients[2] if compiled else table], weights)

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


def test_names_of_variables_are_those_of_keras():
    """Checkpoints of earlier versions hold them."""
    ours, theirs = optimizers.Adam(), keras.optimizers.Adam()
    for optimizer in (ours, theirs):
        optimizer.build([keras.Variable(np.zeros(2), name="weight")])
    names = [[v.path.rpartition("/")[2] for v in o.variables] for o in (ours, theirs)]
    assert names[0] == names[1]
