"""Convolutions with pooling between them: the part that conv1d and conv_gru share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, Counts, ModelSection
from seqconv.models.stem import Stem, stem, text
from seqconv.tasks.contract import SequenceSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class StackSection(ModelSection):
    """Keys of models with a stack of ReLU convolutions, each but the last followed by a pooling.

    There is no padding, so each convolution shortens the sequence by `kernel_size - 1`.
    """

    filters: Counts
    """Output features, one convolution each."""
    kernel_size: Count
    """Time steps a filter sees."""
    pool_size: Count
    """Time steps pooled into one, between convolutions."""
    pooling: Literal["max", "average"]

    def begin(
        self, spec: SequenceSpec, *, fixed_length: bool = False, global_max: bool = False
    ) -> Stem:
        """The beginning of a model, and these layers.

        Args:
            spec: shapes.
            fixed_length: as for `stem`.
            global_max: whether the maximum over time follows.

        Returns:
            With `sequence` `(batch, shorter time, filters[-1])`, and `present` 1 where a filter sees any token.
            With `global_max`, `sequence` is `(batch, filters[-1])`.
        """
        inputs, sequence, present, layers = self._first(spec, fixed_length)
        if self.pooling == "max" and layers:
            sequence = _stack(layers, sequence, global_max)
        else:
            sequence = self._one_by_one(layers, sequence)
            if global_max:
                from seqconv.models.layers.pooling import GlobalMaxPooling1D

                sequence = GlobalMaxPooling1D(name="global_max")(sequence)
        present = _any_of(present, self.kernel_size, 1)
        for _ in self.filters[1:]:
            present = _any_of(present, self.pool_size, self.pool_size)
            present = _any_of(present, self.kernel_size, 1)
        return Stem(inputs, sequence, present)

    def _first(self, spec: SequenceSpec, fixed_length: bool) -> tuple[Any, Any, Any, list[Any]]:
        """The beginning of a model, of a text with its first convolution, and the convolutions that are to follow."""
        # One by one: a layer draws its seed when it is made.
        layers = self._convolutions(spec)
        if spec.vocabulary is None:
            return *stem(spec, fixed_length=fixed_length), list(layers)
        from seqconv.models.layers.token_convolution import TokenConvolution

        first = next(layers)
        inputs, embedding, present = text(spec, fixed_length=fixed_length)
        # Built here, their weights are named as they are where the layers stand by themselves.
        embedding.build(inputs.shape)
        first.build((*inputs.shape, spec.embedding))
        sequence = TokenConvolution(embedding, first, name="of_tokens")(inputs)
        return inputs, sequence, present, list(layers)

    def _convolutions(self, spec: SequenceSpec) -> Iterator[Any]:
        """The convolutions, each but the last with the maximum pooling behind it."""
        from seqconv.models.layers.convolution import Conv1D

        last = len(self.filters)
        for number, filters in enumerate(self.filters, start=1):
            yield Conv1D(
                filters,
                self.kernel_size,
                self.pool_size if self.pooling == "max" and number < last else 1,
                constant_inputs=spec.vocabulary is None and number == 1,
                name=f"convolution_{number}",
            )

    def _one_by_one(self, layers: list[Any], sequence: Any) -> Any:
        """After layers by themselves, each but the first of a model with a pooling by averages before it."""
        import keras

        first = len(self.filters) - len(layers)
        for number, layer in enumerate(layers, start=first):
            if number:
                pooling = keras.layers.AveragePooling1D(self.pool_size, name=f"pooling_{number}")
                sequence = pooling(sequence)
            sequence = layer(sequence)
        return sequence

    @property
    def receptive_field(self) -> int:
        """Time steps of the input that one step of the output sees."""
        field, stride = self.kernel_size, 1
        for _ in self.filters[1:]:
            field += (self.pool_size - 1) * stride
            stride *= self.pool_size
            field += (self.kernel_size - 1) * stride
        return field

    @property
    def stride(self) -> int:
        """Time steps of the input from one step of the output to the next."""
        return int(self.pool_size ** (len(self.filters) - 1))

    def length_problems(self, time: int, key: str) -> Iterator[Problem]:
        """A problem if `time` steps are too few; `key` is the setting that would give more."""
        if time < self.receptive_field:
            yield Problem(
                "filters",
                f"{len(self.filters)} convolutions of kernel_size={self.kernel_size} with "
                f"pool_size={self.pool_size} need {self.receptive_field} time steps or more; "
                f"a sample has {time}. Use a longer `{key}`, or fewer or smaller convolutions",
            )


def _stack(layers: list[Any], sequence: Any, global_max: bool) -> Any:
    """After convolutions, one behind the other, and the maximum over time if wanted."""
    from seqconv.models.layers.convolution import ConvolutionStack

    shape = sequence.shape
    for layer in layers:
        # Built here, their weights are named as they are where the layers stand by themselves.
        layer.build(shape)
        shape = layer.compute_output_shape(shape)
    return ConvolutionStack(layers, global_max=global_max, name="convolutions")(sequence)


def _any_of(present: Any, size: int, strides: int) -> Any:
    """`present` after a convolution or a pooling: 1 where any of its inputs is."""
    import keras

    return None if present is None else keras.ops.max_pool(present, size, strides)
