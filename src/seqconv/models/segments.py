"""Segments of a window: what models share that read each column in parts of equal length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seqconv.config.errors import Problem
from seqconv.config.fields import Count
from seqconv.models.columns import ColumnSection, Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSection(ColumnSection):
    """Keys of models that read segments."""

    segment: Count
    """Time steps in a segment; a window is a whole number of them."""

    def length_problems(self, time: int, key: str) -> Iterator[Problem]:
        """A problem if the segments do not fill a window."""
        if time % self.segment:
            yield Problem(
                "segment",
                f"must divide the time steps of a window (`{key}`); received segment={self.segment} "
                f"for {time} time steps",
            )

    def segments(self, columns: Tensor, units: int) -> Tensor:
        """From `(batch, columns, time)` to `(batch, columns, segments, units)`: each segment as a vector."""
        import keras

        _, count, time = columns.shape
        parts = keras.layers.Reshape((count, time // self.segment, self.segment), name="segments")(
            columns
        )
        return keras.layers.Dense(units, activation="relu", name="segment_embedding")(parts)
