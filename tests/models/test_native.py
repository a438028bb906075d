"""Kernels of our own in a graph: on however many threads, and only where they can run."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from numba.core.runtime import rtsys
from numba.core.runtime._nrt_python import memsys_enable_stats

from seqconv.models.layers import native
from seqconv.models.layers.convolution import Conv1D, ConvolutionStack
from seqconv.models.layers.embedding import Embedding
from seqconv.models.layers.native import on_threads, takes_kernels, tensorflow_alone
from seqconv.models.layers.pooling import GlobalMaxPooling1D
from seqconv.models.layers.recurrent import GRU, LSTM
from seqconv.models.layers.token_convolution import TokenConvolution


def of_tokens() -> keras.Layer:
    embedding, convolution = Embedding(300, 24), Conv1D(20, 3, 4)
    embedding.build((None, None))
    convolution.build((None, None, 24))
    return TokenConvolution(embedding, convolution)


RANDOM = np.random.default_rng(0)
WINDOWS = RANDOM.normal(size=(70, 30, 6)).astype(np.float32)
TOKENS = RANDOM.integers(300, size=(70, 30)).astype(np.int32)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: Conv1D(20, 3), WINDOWS),
        (lambda: Conv1D(20, 3, 4), WINDOWS),
        (lambda: ConvolutionStack([Conv1D(20, 3, 4), Conv1D(16, 2)]), WINDOWS),
        (lambda: ConvolutionStack([Conv1D(20, 3, 4), Conv1D(33, 2)], global_max=True), WINDOWS),
        (GlobalMaxPooling1D, WINDOWS),
        (of_tokens, TOKENS),
    ],
)
def test_the_number_of_threads_changes_no_bit(monkeypatch, make, inputs):
    layer, tensor = make(), tf.constant(inputs)
    found = []
    for threads in (1, 2, 3, 8):
        monkeypatch.setattr(native, "_threads", lambda count=threads: count)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            outputs = layer(tensor)
            loss = tf.reduce_sum(outputs**2)
        sources = layer.trainable_variables or [tensor]
        found.append([outputs, *tape.gradient(loss, sources)])
    for other in found[1:]:
        for one, another in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, another)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: ConvolutionStack([Conv1D(20, 3, 4), Conv1D(16, 2)]), WINDOWS),
        (GlobalMaxPooling1D, WINDOWS),
        (lambda: GRU(8), WINDOWS),
        (lambda: LSTM(8), WINDOWS),
        (of_tokens, TOKENS),
    ],
)
def test_kernels_give_back_all_that_they_were_given(make, inputs):
    """What numba counts as held grows by nothing from call to call: a training has a million of them."""
    memsys_enable_stats()
    layer, tensor = make(), tf.constant(inputs)
    held = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            loss = tf.reduce_sum(layer(tensor, training=True) ** 2)
        tape.gradient(loss, layer.trainable_variables or [tensor])
        counts = rtsys.get_allocation_stats()
        held.append(counts.mi_alloc - counts.mi_free)
    assert held[2] == held[1]


def test_every_number_is_taken_once(monkeypatch):
    monkeypatch.setattr(native, "_threads", lambda: 4)
    taken: list[int] = []
    on_threads(taken.extend, 1000)
    assert sorted(taken) == list(range(1000))
    on_threads(taken.extend, 0)
    assert len(taken) == 1000


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(native, "_threads", lambda: 2)

    def work(numbers):
        for number in numbers:
            if number == 7:
                raise ValueError("of number 7")

    with pytest.raises(ValueError, match="of number 7"):
        on_threads(work, 100)


def test_where_kernels_run(monkeypatch):
    assert takes_kernels("float32")
    assert not takes_kernels("float16")
    with tensorflow_alone():
        assert not takes_kernels("float32")
    with tensorflow_alone(wanted=False):
        assert takes_kernels("float32")
    monkeypatch.setattr(native, "has_gpu", lambda: True)
    assert not takes_kernels("float32")
    assert takes_kernels("float32", beside_gpu=True)
