"""Convolutions with pooling between them: the part that conv1d and conv_gru share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seqconv.errors import Problem


def stack(
    sequence: Any, *, filters: tuple[int, ...], kernel_size: int, pool_size: int, pooling: str
) -> Any:
    """`len(filters)` ReLU convolutions, each but the last followed by a pooling.

    Args:
        sequence: `(batch, time, features)`.
        filters: output features of each convolution.
        kernel_size: time steps a filter sees; no padding, so each convolution shortens by `kernel_size - 1`.
        pool_size: time steps pooled into one.
        pooling: `max` or `average`.

    Returns:
        `(batch, shorter time, filters[-1])`.
    """
    import keras

    pool = {"max": keras.layers.MaxPooling1D, "average": keras.layers.AveragePooling1D}[pooling]
    for index, size in enumerate(filters):
        if index:
            sequence = pool(pool_size, name=f"pooling_{index}")(sequence)
        convolution = keras.layers.Conv1D(
            size, kernel_size, activation="relu", name=f"convolution_{index + 1}"
        )
        sequence = convolution(sequence)
    return sequence


def length_problems(
    time: int, *, filters: tuple[int, ...], kernel_size: int, pool_size: int
) -> Iterator[Problem]:
    """A problem if `time` steps are too few for the stack."""
    needed = kernel_size
    for _ in filters[1:]:
        needed = needed * pool_size + kernel_size - 1
    if time < needed:
        yield Problem(
            "filters",
            f"{len(filters)} convolutions of kernel_size={kernel_size} with pool_size={pool_size} need "
            f"{needed} time steps or more; a window has {time}. Use a longer `lookback`, a smaller "
            "`step`, or fewer convolutions",
        )
