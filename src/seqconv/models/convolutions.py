"""Convolutions with pooling between them: the part that conv1d and conv_gru share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from seqconv.config.errors import Problem
from seqconv.config.fields import Count, Counts, ModelSection


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

    def convolve(self, sequence: Any, present: Any = None) -> tuple[Any, Any]:
        """Apply the layers.

        Args:
            sequence: `(batch, time, features)`.
            present: `(batch, time, 1)`, 0 where there is padding; or None.

        Returns:
            `(batch, shorter time, filters[-1])`, and `present` for it: 1 where a filter sees any token.
        """
        import keras

        from seqconv.models.layers.convolution import Conv1D

        pools = {"max": keras.layers.MaxPooling1D, "average": keras.layers.AveragePooling1D}
        for index, size in enumerate(self.filters):
            if index:
                sequence = pools[self.pooling](self.pool_size, name=f"pooling_{index}")(sequence)
                present = _any_of(present, self.pool_size, self.pool_size)
            convolution = Conv1D(size, self.kernel_size, name=f"convolution_{index + 1}")
            sequence = convolution(sequence)
            present = _any_of(present, self.kernel_size, 1)
        return sequence, present

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


def _any_of(present: Any, size: int, strides: int) -> Any:
    """`present` after a convolution or a pooling: 1 where any of its inputs is."""
    import keras

    return None if present is None else keras.ops.max_pool(present, size, strides)
