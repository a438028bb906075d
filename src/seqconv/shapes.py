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
        embedding: numbers that stand for a token; None for a series.
        outputs: numbers that come out, output shape `(batch, outputs)`.
        targets: numbers that the loss compares them with, `(batch, targets)`; one label for many classes.
    """

    time: int
    features: int | None
    vocabulary: int | None
    embedding: int | None
    outputs: int
    targets: int


@dataclass(frozen=True, kw_only=True)
class PaddingRule:
    """How far the padding in front of texts may be cut without changing a result.

    Attributes:
        extra: positions of padding that must stay in front of the longest text.
        multiple: what is cut away must be a multiple of this, so that poolings stay aligned.
    """

    extra: int
    multiple: int

    def cut(self, longest: int, length: int) -> int:
        """Positions to cut in front of a batch of `length` whose longest text has `longest` tokens.

        With extra=41 and multiple=5, texts of 500 positions of which 300 are used lose 155: 45 stay.
        """
        spare = length - longest - self.extra
        return max(0, spare // self.multiple * self.multiple)
