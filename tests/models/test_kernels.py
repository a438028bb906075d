"""How kernels are compiled: for processors with and without AVX-512, and anew when any of their files has changed."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from seqconv.models.kernels import compiling, convolution, vectors
from seqconv.models.layers.convolution import Conv1D, ConvolutionStack
from seqconv.models.layers.embedding import Embedding
from seqconv.models.layers.recurrent import GRU, LSTM
from seqconv.models.layers.token_convolution import TokenConvolution

OTHER_PROCESSOR = """
import sys
import llvmlite.binding as binding
features, binding.get_host_cpu_features = binding.get_host_cpu_features, dict
import seqconv.models.kernels.vectors as vectors
binding.get_host_cpu_features = features  # numba asks, too, and may compile for what there is
assert not vectors.WIDE
sys.path.insert(0, sys.argv[1])
import test_kernels
test_kernels.write(sys.argv[2])
"""


def write(path: str) -> None:
    """Write outputs and gradients of all kernels."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    windows = random.normal(size=(40, 30, 7)).astype(np.float32)
    tokens = random.integers(300, size=(40, 30)).astype(np.int32)
    embedding, convolution = Embedding(300, 24), Conv1D(20, 3, 4)
    embedding.build((None, None))
    convolution.build((None, None, 24))
    layers = {
        "stack": (ConvolutionStack([Conv1D(33, 3, 2), Conv1D(64, 2), Conv1D(20, 2)]), windows),
        "gru": (GRU(13, return_sequences=True), windows),
        "lstm": (LSTM(13, return_sequences=True), windows),
        "tokens": (TokenConvolution(embedding, convolution), tokens),
    }
    found = {}
    for name, (layer, inputs) in layers.items():
        with tf.GradientTape() as tape:
            outputs = layer(tf.constant(inputs), training=True)
            loss = tf.reduce_sum(outputs**2)
        arrays = [outputs, *tape.gradient(loss, layer.trainable_variables)]
        found |= {f"{name}-{number}": np.asarray(array) for number, array in enumerate(arrays)}
    np.savez(path, **found)


@pytest.mark.slow
def test_narrow_registers_give_the_same_bits(tmp_path):
    if not vectors.WIDE:
        pytest.skip("this processor has no AVX-512: all other tests are of narrow registers")
    folder = os.path.dirname(__file__)
    subprocess.run(
        [sys.executable, "-c", OTHER_PROCESSOR, folder, str(tmp_path / "narrow.npz")],
        check=True,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
        timeout=600,
    )
    write(str(tmp_path / "wide.npz"))
    narrow, wide = np.load(tmp_path / "narrow.npz"), np.load(tmp_path / "wide.npz")
    assert set(narrow) == set(wide)
    for name in wide:
        np.testing.assert_array_equal(narrow[name], wide[name], err_msg=name)


def test_kept_kernels_are_stamped_with_all_files(tmp_path, monkeypatch):
    """Numba compiles anew where the stamp of what is kept is another one."""
    assert convolution.forward._cache._cache_file._source_stamp == compiling._stamp()
    (tmp_path / "one.py").write_text("1")
    (tmp_path / "other.py").write_text("2")
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "one.py"))
    before = compiling._stamp()
    (tmp_path / "other.py").write_text("22")
    assert compiling._stamp() != before
