"""`trainer.mixed_precision`: what computes in bfloat16, what stays float32, and that little is lost by it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from small_specs import SERIES
from variants import variants

from seqconv.cli.overrides import read_command_line
from seqconv.config.registry import MODELS
from seqconv.training.predictor import build_model

WORDS = {
    "conv1d": ["model.kernel_size=3", "model.filters=[4,4]"],
    "conv_gru": ["model.kernel_size=3", "model.filters=[4,4]"],
    "mlp": ["model.normalization=window", "model.linear=true"],
    "patch_cnn": ["model.segment=4"],
    "segment_gru": ["model.segment=4"],
    "tcn": ["model.segment=4"],
}
OF_SERIES = ("conv1d", "conv_gru", "gru", "lstm", "mlp", "patch_cnn", "segment_gru", "tcn")


def configured(name, *words):
    return read_command_line(
        [f"model={name}", "lookback=144", *WORDS.get(name, []), *words]
    ).only_job


def test_the_models_tried_are_all_that_take_it():
    refused = {"joined", "nbow", "region_cnn"}
    assert {*OF_SERIES} == {*MODELS.names()} - refused


@pytest.mark.parametrize(
    "name", ["conv1d", *variants("mlp", *(n for n in OF_SERIES if n not in ("conv1d", "mlp")))]
)
def test_layers_compute_in_bfloat16_between_ends_of_float32(name):
    inputs = np.random.default_rng(0).normal(size=(4, 24, 5)).astype(np.float32)
    plain = build_model(configured(name), SERIES)
    model = build_model(configured(name, "trainer.mixed_precision=true"), SERIES)
    assert keras.config.dtype_policy().name == "float32"
    assert "bfloat16" in {layer.compute_dtype for layer in model.layers}
    assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {"float32"}
    outputs = model(inputs)
    assert outputs.dtype == "float32"
    expected = np.asarray(plain(inputs))
    # bfloat16 has 8 bits: errors of some thousandths of what is computed with.
    assert np.abs(outputs - expected).max() < 0.03 * np.abs(expected).max()
    assert np.abs(outputs - expected).max() > 0
