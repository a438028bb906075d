"""A model and what its inputs need, without optimizer or training step: it validates, tests, evaluates, predicts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from seqconv.config.errors import DataError
from seqconv.config.fields import PaddingRule
from seqconv.config.registry import MODELS, KerasModel
from seqconv.config.schema import Config
from seqconv.models.stem import ENDS
from seqconv.runs import layout
from seqconv.runs.checkpoints import Checkpoint
from seqconv.tasks.contract import Loss, Predicted, Samples, SequenceSpec
from seqconv.training import tensorflow_import
from seqconv.training.steps import compile_prediction

# Evaluation keeps no gradients, so its batches can be larger; this many windows of 240 x 14 take 3.4 MB.
EVALUATION_BATCH = 256
MODEL = "model/"
OPTIMIZER = "optimizer/"
# Moving averages, by the path of the weight.
AVERAGE = "average/"


def build_model(
    config: Config, spec: SequenceSpec, *, mixed_precision: bool | None = None
) -> KerasModel:
    """The Keras model, seeded. From here on TensorFlow is needed.

    Args:
        config: of the run.
        spec: shapes.
        mixed_precision: whether its layers compute in bfloat16; None: as `config.trainer` says.
    """
    tensorflow_import.finish()
    import keras

    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    build = partial(MODELS.get(config.model.name).build, config.model, spec)
    mixed = config.trainer.mixed_precision if mixed_precision is None else mixed_precision
    with _dtype_policy("mixed_bfloat16" if mixed else "float32"):
        return build() if config.ensemble is None else mean_model([build] * config.ensemble)


@contextlib.contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    """Let layers that are made in a block have a dtype policy; Keras has one for the whole process."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def mean_model(builders: Sequence[Callable[[], KerasModel]]) -> KerasModel:
    """A model whose outputs are the means of those of several models of one kind, its members."""
    import keras

    members = []
    for number, build in enumerate(builders, start=1):
        with keras.name_scope(layout.member_name(number)):
            member = build()
        member.name = layout.member_name(number)
        members.append(member)
    first = members[0].inputs[0]
    inputs = keras.Input(first.shape[1:], name=first.name, dtype=first.dtype)
    outputs = keras.layers.Average(name="mean", dtype=ENDS)([member(inputs) for member in members])
    return keras.Model(inputs, outputs, name="ensemble")


def restore_members(model: KerasModel, checkpoints: Sequence[Checkpoint]) -> None:
    """Give the members of a `mean_model` the weights of a checkpoint each.

    Raises:
        DataError: if one belongs to another model.
    """
    for number, checkpoint in enumerate(checkpoints, start=1):
        name = layout.member_name(number)
        # Without the states of seed generators: a forecast draws nothing.
        weights = {
            f"{MODEL}{weight.path.removeprefix(name + '/')}": weight
            for weight in model.get_layer(name).weights
        }
        stored = stored_weights(checkpoint)
        assign(weights, {path: stored[path] for path in stored.keys() & weights.keys()})


class Predictor:
    """Predicts the samples of a task.

    Args:
        model: a built `keras.Model`.
        spec: shapes of samples and targets.
        loss: is computed beside the predictions; None where targets are not known.
        padding: how far padding in front may be cut; None: not at all.
    """

    def __init__(
        self, model: KerasModel, spec: SequenceSpec, loss: Loss | None, padding: PaddingRule | None
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
            predicted, loss = self._predict(inputs, wanted)
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
        """As the function `restore`."""
        restore(self.model, checkpoint)


def restore(model: KerasModel, checkpoint: Checkpoint) -> None:
    """Give a model the weights of a checkpoint: their moving average where there is one.

    Raises:
        DataError: if it belongs to another model.
    """
    assign(model_variables(model), stored_weights(checkpoint))


def stored_weights(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """A model's variables in a checkpoint, by path; of weights their moving average where there is one."""
    stored = {name: value for name, value in checkpoint.variables.items() if name.startswith(MODEL)}
    averaged = {
        MODEL + name.removeprefix(AVERAGE): value
        for name, value in checkpoint.variables.items()
        if name.startswith(AVERAGE)
    }
    return stored | averaged


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
