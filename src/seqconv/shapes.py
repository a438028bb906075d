"""Where data and models meet: nothing but shapes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SequenceSpec:
    """What goes into a model and how many numbers come out.

    Attributes:
        time: time steps of one sample, `lookback / step` of a series or the length of a text.
        features: columns of a series, input shape `(batch, time, features)`; None for tokens.
        vocabulary: number of distinct tokens, input shape `(batch, time)`; None for a series.
        outputs: numbers that come out, output shape `(batch, outputs)`.
        targets: numbers that the loss compares them with, `(batch, targets)`; one label for many classes.
    """

    time: int
    features: int | None
    vocabulary: int | None
    outputs: int
    targets: int
