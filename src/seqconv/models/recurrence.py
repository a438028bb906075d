"""Which GRU or LSTM layer is taken: ours, or Keras'. Both have the same weights and results."""

from __future__ import annotations

from typing import Any, Literal

Implementation = Literal["auto", "fused", "keras"]


def gru(
    units: int,
    *,
    recurrent_dropout: float,
    implementation: Implementation,
    constant_inputs: bool = False,
    masked: bool = False,
    **options: Any,
) -> Any:
    """A GRU layer.

    Args:
        units: size of the state.
        recurrent_dropout: share of the state dropped in training.
        implementation: `fused` is ours, several times faster on a CPU; `keras` is `keras.layers.GRU`; `auto` takes
            Keras' where it can use cuDNN (a GPU, no recurrent dropout, no mask).
        constant_inputs: whether the inputs are data: ours saves their gradient.
        masked: whether the layer is called with a mask. Texts are padded in front, which cuDNN refuses.
        options: of `keras.layers.GRU`.
    """
    options |= {"units": units, "recurrent_dropout": recurrent_dropout}
    return _layer("GRU", implementation, constant_inputs, masked, options)


def lstm(
    units: int,
    *,
    recurrent_dropout: float,
    implementation: Implementation,
    constant_inputs: bool = False,
    masked: bool = False,
    **options: Any,
) -> Any:
    """An LSTM layer; arguments as for `gru`, options those of `keras.layers.LSTM`."""
    options |= {"units": units, "recurrent_dropout": recurrent_dropout}
    return _layer("LSTM", implementation, constant_inputs, masked, options)


def _layer(
    name: str,
    implementation: Implementation,
    constant_inputs: bool,
    masked: bool,
    options: dict[str, Any],
) -> Any:
    import keras

    from seqconv.models.layers import native, recurrent

    if masked:
        options["use_cudnn"] = False
    if implementation == "auto":
        cudnn = options["recurrent_dropout"] == 0 and not masked and native.has_gpu()
        implementation = "keras" if cudnn else "fused"
    if implementation == "keras":
        return getattr(keras.layers, name)(**options)
    return getattr(recurrent, name)(constant_inputs=constant_inputs, **options)
