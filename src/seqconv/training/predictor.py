"""A model and what its inputs need, without optimizer or training step: it validates, tests, evaluates, predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from seqconv.config.errors import DataError
from seqconv.config.fields import PaddingRule
from seqconv.config.registry import MODELS
from seqconv.config.schema import Config
from seqconv.runs.checkpoints import Checkpoint
from seqconv.tasks.contract import Predicted, Samples, SequenceSpec
from seqconv.training import tensorflow_import
from seqconv.training.steps import as_tensor, compile_prediction

KerasModel = Any
"""A `keras.Model`; Keras comes without types."""

# Evaluation keeps no gradients, so its batches can be larger; this many windows of 240 x 14 take 7 MB.
EVALUATION_BATCH = 512
MODEL = "model/"
OPTIMIZER = "optimizer/"


def build_model(config: Config, spec: SequenceSpec) -> KerasModel:
    """The Keras model, seeded. From here on TensorFlow is needed."""
    tensorflow_import.finish()
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    return MODELS.get(config.model.name).build(config.model, spec)


class Predictor:
    """Predicts the samples of a task.

    Args:
        model: a built `keras.Model`.
        spec: shapes of samples and targets.
        loss: name of the loss, which is computed beside the predictions.
        padding: how far padding in front may be cut; None: not at all.
    """

    def __init__(
        self, model: KerasModel, spec: SequenceSpec, loss: str, padding: PaddingRule | None
    ):
        self.model = model
        self.spec = spec
        # Only texts have padding.
        self.padding = padding if spec.vocabulary is not None else None
        self._predict = compile_prediction(model, spec, loss)

    def predict(self, samples: Samples, check: Callable[[], None] = lambda: None) -> Predicted:
        """What the model says of all samples, in their order.

        Args:
            samples: of one split.
            check: called between batches; may raise to stop.
        """
        count = len(samples)
        order = np.arange(count)
        if self.padding is not None and samples.lengths is not None:
            # Texts of similar length share a batch, so that little padding is computed.
            order = np.argsort(samples.lengths, kind="stable")
        predictions = np.empty((count, *self.spec.outputs), np.float32)
        targets = np.empty((count, *self.spec.targets), np.float32)
        losses = np.empty(count, np.float32)
        for positions, used in _slices(count, EVALUATION_BATCH):
            inputs, wanted = self.batch(samples, order[positions])
            predicted, loss = self._predict(as_tensor(inputs), wanted)
            rows = order[positions[:used]]
            predictions[rows] = predicted.numpy()[:used]
            losses[rows] = loss.numpy()[:used]
            targets[rows] = wanted[:used]
            check()
        return Predicted(predictions, targets, losses)

    def batch(self, samples: Samples, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of some samples, without the padding that changes nothing."""
        inputs, targets = samples.batch(indices)
        if self.padding is not None and samples.lengths is not None:
            longest = int(samples.lengths[indices].max())
            inputs = inputs[:, self.padding.cut(longest, inputs.shape[1]) :]
        return inputs, targets

    def restore(self, checkpoint: Checkpoint) -> None:
        """Give the model the weights of a checkpoint.

        Raises:
            DataError: if it belongs to another model.
        """
        stored = {
            name: value for name, value in checkpoint.variables.items() if name.startswith(MODEL)
        }
        assign(model_variables(self.model), stored)


def model_variables(model: KerasModel) -> dict[str, Any]:
    """A model's variables: weights, and the states of its seed generators."""
    return by_path(MODEL, model.variables)


def by_path(prefix: str, variables: list[Any]) -> dict[str, Any]:
    """Keras variables by their path.

    Raises:
        ValueError: if two have the same one; layers of one model need different names.
    """
    named = {f"{prefix}{variable.path}": variable for variable in variables}
    if len(named) < len(variables):
        paths = sorted(variable.path for variable in variables)
        raise ValueError(f"two variables have one path among {', '.join(paths)}")
    return named


def assign(variables: dict[str, Any], stored: dict[str, np.ndarray]) -> None:
    """Give Keras variables the values of a checkpoint, all of them or none.

    Raises:
        DataError: if they are not those of this model.
    """
    if differing := variables.keys() ^ stored.keys():
        raise DataError(
            "the checkpoint belongs to another model, or was written by another version of seqconv: only one of them "
            f"has {', '.join(sorted(differing)[:3])}"
        )
    for name, variable in variables.items():
        found = stored[name]
        if found.shape != tuple(variable.shape) or found.dtype != np.dtype(variable.dtype):
            raise DataError(
                f"the checkpoint belongs to another model: {name} must be {tuple(variable.shape)} "
                f"{variable.dtype}; received {found.shape} {found.dtype}"
            )
    for name, variable in variables.items():
        variable.assign(stored[name])


def _slices(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Every sample once, in batches of one size; the last one is filled up, and `used` says how far it counts.

    A batch of another size would be compiled anew, which takes longer than the samples that fill it up.
    """
    for first in range(0, count, size):
        used = min(size, count - first)
        yield np.minimum(np.arange(first, first + size), count - 1), used
