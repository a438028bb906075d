"""A graph that is called by one operation gives what it gives as a function."""

import numpy as np
import pytest
import tensorflow as tf

from seqconv.training.steps import Graph

SIGNATURE = [tf.TensorSpec((None, 3), "float32"), tf.TensorSpec((), "float32")]
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("by_xla", [False, True])
def test_results_and_variables_are_those_of_the_function(by_xla):
    total = tf.Variable(1.0)

    @tf.function(input_signature=SIGNATURE, jit_compile=by_xla)
    def add(rows, factor):
        total.assign_add(factor * tf.reduce_sum(rows))
        return total.read_value(), rows * factor

    graph = Graph(add)
    for rows, wanted in ((ROWS, 31.0), (ROWS[:1], 37.0)):
        found, product = graph(rows, np.float32(2))
        assert found.numpy() == wanted
        np.testing.assert_array_equal(product, 2 * rows)
    # What a checkpoint restores is seen.
    total.assign(-6.0)
    assert graph(ROWS[:1], np.float32(2))[0].numpy() == 0


def test_what_xla_is_to_compile_it_does_compile():
    """XLA cannot compile a call of Python: without an error it would not have been asked."""

    @tf.function(input_signature=SIGNATURE, jit_compile=True)
    def call(rows, factor):
        return tf.numpy_function(np.square, [rows], tf.float32), factor

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"compil|XLA"):
        Graph(call)(ROWS, np.float32(2))


def test_an_error_inside_is_raised():
    @tf.function(input_signature=SIGNATURE)
    def fail(rows, factor):
        return rows, tf.debugging.check_numerics(factor, "the factor")

    graph = Graph(fail)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the factor"):
        graph(ROWS, np.float32("nan"))
    assert graph(ROWS, np.float32(1))[1].numpy() == 1
