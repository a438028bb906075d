"""Both implementations of a GRU and an LSTM in whole models: same weights, same results."""

import dataclasses

import numpy as np
import pytest

from seqconv.cli.overrides import read_command_line
from seqconv.config.registry import MODELS
from seqconv.tasks.contract import SequenceSpec

SPEC = SequenceSpec(
    time=72, features=3, vocabulary=None, embedding=None, outputs=(1, 1), targets=(1, 1)
)


def built(model, implementation):
    words = [f"model={model}", f"model.implementation={implementation}", "lookback=432"]
    config = read_command_line(words).only_job.model
    return MODELS.get(model).build(config, SPEC)


def layer_of(model):
    return next(layer for layer in model.layers if layer.name.startswith(("gru", "lstm")))


@pytest.mark.parametrize("model", ["gru", "conv_gru", "lstm"])
def test_both_implementations_agree(model):
    fused, keras = built(model, "fused"), built(model, "keras")
    keras.set_weights(fused.get_weights())
    windows = np.random.default_rng(0).normal(size=(5, 72, 3)).astype(np.float32)

    assert type(layer_of(fused)).__module__ == "seqconv.models.layers.recurrent"
    assert type(layer_of(keras)).__module__.startswith("keras.")
    np.testing.assert_allclose(fused(windows), keras(windows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_only_the_first_layer_of_a_series_has_constant_inputs(kind):
    def constant(*words, spec=SPEC):
        config = read_command_line([f"model={kind}", *words]).only_job.model
        layers = MODELS.get(kind).build(config, spec).layers
        return [layer.constant_inputs for layer in layers if hasattr(layer, "constant_inputs")]

    text = dataclasses.replace(
        SPEC, time=20, features=None, vocabulary=50, embedding=4, outputs=(1,), targets=(1,)
    )
    assert constant("model.units=[4,4,4]") == [True, False, False]
    assert constant("dataset=reviews_demo", spec=text) == [False]


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_auto_takes_ours_without_a_gpu_and_keras_where_cudnn_serves(kind, monkeypatch):
    from seqconv.models import recurrence
    from seqconv.models.layers import native

    def chosen(recurrent_dropout, gpu, masked=False):
        monkeypatch.setattr(native, "has_gpu", lambda: gpu)
        make = getattr(recurrence, kind)
        layer = make(4, recurrent_dropout=recurrent_dropout, implementation="auto", masked=masked)
        return "keras" if type(layer).__module__.startswith("keras.") else "fused"

    assert [chosen(0.0, False), chosen(0.0, True), chosen(0.5, True)] == ["fused", "keras", "fused"]
    # Texts are padded in front, which cuDNN refuses.
    assert chosen(0.0, True, masked=True) == "fused"


@pytest.mark.parametrize("model", ["gru", "conv_gru", "lstm"])
@pytest.mark.parametrize("implementation", ["fused", "keras"])
def test_no_layer_that_is_given_a_mask_asks_for_cudnn(model, implementation):
    words = [f"model={model}", f"model.implementation={implementation}", "dataset=reviews_demo"]
    config = read_command_line(words).only_job.model
    text = dataclasses.replace(
        SPEC, time=60, features=None, vocabulary=50, embedding=4, outputs=(1,), targets=(1,)
    )
    assert layer_of(MODELS.get(model).build(config, text)).use_cudnn is False
