"""What is compiled: the training step and the prediction, with their loss and optimizer."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import numpy as np

from seqconv.config.registry import KerasModel
from seqconv.config.schema import TrainerConfig
from seqconv.data.scratch import ALIGNMENT
from seqconv.tasks.contract import Loss, SequenceSpec

KerasOptimizer: TypeAlias = Any
Tensor: TypeAlias = Any
Function: TypeAlias = Any
"""Keras and TensorFlow come without types."""


def build_optimizer(trainer: TrainerConfig, model: KerasModel) -> KerasOptimizer:
    """The Keras optimizer of the configuration, its variables made."""
    import keras

    from seqconv.models.layers.optimizers import Adam, AdamW, RMSprop, row_tables

    optimizers = {
        "rmsprop": partial(RMSprop, list(row_tables(model))),
        "adam": Adam,
        "adamw": AdamW,
        "nadam": keras.optimizers.Nadam,
        "sgd": keras.optimizers.SGD,
    }
    # AdamW insists on a number; for the others None leaves the decay's operations out.
    no_decay = 0.0 if trainer.optimizer == "adamw" else None
    epsilon = {} if trainer.epsilon is None else {"epsilon": trainer.epsilon}
    optimizer = optimizers[trainer.optimizer](
        learning_rate=trainer.learning_rate,
        weight_decay=trainer.weight_decay or no_decay,
        global_clipnorm=trainer.clip_norm,
        use_ema=trainer.ema is not None,
        ema_momentum=trainer.ema or 0.0,
        **epsilon,
    )
    optimizer.build(model.trainable_variables)
    return optimizer


# Samples whose losses are computed at once, where predictions are given.
LOSS_BLOCK = 512

# Name in the configuration: Keras' class and its arguments. Models end in a linear layer.
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "mean_absolute_error": ("MeanAbsoluteError", {}),
    "mean_squared_error": ("MeanSquaredError", {}),
    "huber": ("Huber", {}),
    "binary_crossentropy": ("BinaryCrossentropy", {"from_logits": True}),
    "sparse_categorical_crossentropy": ("SparseCategoricalCrossentropy", {"from_logits": True}),
}


class Graph:
    """A `tf.function` of one signature, traced when it is first called.

    Afterwards the traced graph is called by one operation. `tf.function` finds out each time which graph is meant, and
    a graph that is called as a Python function looks at each of its arguments and variables: 1.2 ms a call, a sixth of
    a small model's step.

    Args:
        function: from tensors to a tuple of tensors, with an input signature.
    """

    def __init__(self, function: Function):
        self._function = function
        self._call: Function = None

    def __call__(self, *arrays: Any) -> Any:
        """What the function gives for arrays of its signature, which must not be changed afterwards."""
        if self._call is None:
            self._call = self._trace()
        return self._call([_as_tensor(array) for array in arrays])

    def _trace(self) -> Function:
        import tensorflow as tf

        from seqconv.models.layers.native import has_gpu

        traced = self._function.get_concrete_function()
        # The operation leaves out what asks XLA to compile; on a GPU it has not been tried.
        if traced.function_def.attr["_XlaMustCompile"].b or has_gpu():
            return lambda tensors: traced(*tensors)
        variables = traced.captured_inputs
        types = [tensor.dtype.as_datatype_enum for tensor in traced.outputs]
        return lambda tensors: tf.raw_ops.StatefulPartitionedCall(
            args=[*tensors, *variables], Tout=types, f=traced
        )


def compile_training(
    trainer: TrainerConfig,
    model: KerasModel,
    spec: SequenceSpec,
    loss: Loss,
    optimizer: KerasOptimizer,
) -> Graph:
    """The training step as a graph, one for all batch sizes.

    Returns:
        `train(inputs, targets, rate) -> (mean loss, predictions)`.
    """
    import tensorflow as tf

    from seqconv.models.layers.native import tensorflow_alone

    loss_function = _sample_losses(loss)

    @tf.function(
        input_signature=[*_signature(model, spec), tf.TensorSpec((), "float32")],
        jit_compile=trainer.jit_compile,
        # Nothing here is Python's own `if` or `for` over tensors: converting it takes 0.15 s and files in /tmp.
        autograph=False,
    )
    def train(inputs: Tensor, targets: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        optimizer.learning_rate.assign(rate)
        with tensorflow_alone(trainer.jit_compile), tf.GradientTape() as tape:
            predictions = model(inputs, training=True)
            mean = tf.reduce_mean(loss_function(targets, predictions))
        gradients = tape.gradient(mean, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return mean, predictions

    return Graph(train)


def compile_prediction(model: KerasModel, spec: SequenceSpec, loss: Loss | None) -> Graph:
    """The prediction as a graph, one for all batch sizes.

    Args:
        model: built.
        spec: shapes of samples and targets.
        loss: is computed beside the predictions; None: zeros, since targets are not known.

    Returns:
        `predict(inputs, targets) -> (predictions, losses)`, losses `(batch,)`.
    """
    import tensorflow as tf

    loss_function = _no_losses if loss is None else _sample_losses(loss)

    @tf.function(input_signature=_signature(model, spec), autograph=False)
    def predict(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        predictions = model(inputs, training=False)
        return predictions, loss_function(targets, predictions)

    return Graph(predict)


def _signature(model: KerasModel, spec: SequenceSpec) -> list[Any]:
    """Types and shapes of inputs and targets."""
    import tensorflow as tf

    return [
        tf.TensorSpec((None, *model.input.shape[1:]), model.input.dtype),
        tf.TensorSpec((None, *spec.targets), "float32"),
    ]


def _sample_losses(loss: Loss) -> Function:
    """The loss of targets and predictions, `(batch,)`: means over all axes but the first."""
    import keras
    import tensorflow as tf

    if loss.quantiles:
        function = _pinball(loss.quantiles)
    else:
        class_name, options = LOSSES[loss.name]
        function = getattr(keras.losses, class_name)(reduction="none", **options)
    weights = np.array(loss.lead_weights, np.float32)

    def losses(targets: Tensor, predictions: Tensor) -> Tensor:
        # Keras takes the mean over the last axis, the columns; what is left are the leads.
        values = function(targets, predictions)
        if loss.lead_weights:
            values = values * weights
        return values if values.shape.rank == 1 else tf.reduce_mean(values, axis=1)

    return losses


def losses_of(loss: Loss, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The losses of samples whose predictions are known, `(samples,)` float32; TensorFlow is needed.

    Args:
        loss: of the task.
        predictions: `(samples, *outputs)` float32.
        targets: `(samples, *targets)` float32.
    """
    function = _sample_losses(loss)
    blocks = range(0, len(predictions), LOSS_BLOCK)
    found = [
        function(targets[first : first + LOSS_BLOCK], predictions[first : first + LOSS_BLOCK])
        for first in blocks
    ]
    return np.concatenate([np.asarray(losses) for losses in found])


def _no_losses(targets: Tensor, predictions: Tensor) -> Tensor:
    import tensorflow as tf

    return tf.zeros(tf.shape(targets)[:1])


def _pinball(quantiles: tuple[float, ...]) -> Function:
    """The pinball loss (Koenker and Bassett, 1978, "Regression quantiles"), `(batch, leads)`; means over the rest."""
    import tensorflow as tf

    levels = np.array(quantiles, np.float32)

    def losses(targets: Tensor, predictions: Tensor) -> Tensor:
        errors = targets[..., None] - predictions
        return tf.reduce_mean(tf.maximum(levels * errors, (levels - 1) * errors), axis=[2, 3])

    return losses


def _as_tensor(array: Any) -> Tensor:
    """A tensor over an array's own memory where TensorFlow can use that, which saves 0.4 ms a step; else a copy.

    The array must not be changed afterwards.
    """
    import tensorflow as tf

    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    return tf.constant(array)
