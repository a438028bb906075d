"""How kernels are compiled: for processors with and without AVX-512, and anew when any of their files has changed."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from numba import config
from numba.core.caching import IndexDataCacheFile

from seqconv.models.kernels import compiling, convolution, vectors
from seqconv.models.layers import native
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
        "maximum": (ConvolutionStack([Conv1D(33, 3, 2), Conv1D(36, 2)], global_max=True), windows),
        "gru": (GRU(13, return_sequences=True), windows),
        "lstm": (LSTM(13, return_sequences=True), windows),
        "wide_gru": (GRU(45, recurrent_dropout=0.3), windows),
        "wide_lstm": (LSTM(45), windows),
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
    (tmp_path / "other.py").write_text("3")
    assert compiling._stamp() != before


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A kernel that no process has, kept in a folder of its own."""
    (tmp_path / "kernel.py").write_text(
        "from seqconv.models.kernels.compiling import compiled\n\n\n"
        "@compiled\ndef double(number):\n    return 2 * number\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))

    def load():
        sys.modules.pop("kernel", None)
        return importlib.import_module("kernel").double

    yield load
    sys.modules.pop("kernel", None)


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04 no pickle"])
def test_a_kernel_that_was_kept_in_part_is_compiled(kept, tmp_path, suffix, content):
    """A power cut may leave empty files."""
    assert kept()(4) == 8
    again = kept()
    assert again(4) == 8
    assert sum(again.stats.cache_hits.values()) == 1
    for path in (tmp_path / "kept").rglob(f"*.{suffix}"):
        path.write_bytes(content)
    third = kept()
    assert third(4) == 8
    assert sum(third.stats.cache_hits.values()) == 0
    fourth = kept()
    assert fourth(4) == 8
    assert sum(fourth.stats.cache_hits.values()) == 1


def test_a_full_disk_keeps_no_kernel_and_lets_it_run(kept, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(IndexDataCacheFile, "_save_data", full)
    assert kept()(4) == 8
    assert kept()(4) == 8


def test_without_a_compiler_layers_are_those_of_tensorflow(monkeypatch):
    windows = tf.constant(np.ones((2, 30, 3), np.float32))
    layer = Conv1D(8, 3, 2)
    ours = layer(windows)
    monkeypatch.setattr(native, "CAN_COMPILE", False)
    assert not native.takes_kernels("float32")
    np.testing.assert_allclose(layer(windows), ours, atol=1e-6)


@pytest.mark.slow
def test_numba_that_is_told_not_to_compile():
    program = (
        "import numpy as np\n"
        "from seqconv.models.layers.recurrent import GRU\n"
        "from seqconv.models.layers.convolution import Conv1D\n"
        "windows = np.ones((2, 9, 3), np.float32)\n"
        "print(GRU(4)(windows).shape, Conv1D(8, 3, 2)(windows).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout == "(2, 4) (2, 3, 8)\n", done.stderr
