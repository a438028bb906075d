"""Shapes that models are built for in tests."""

from seqconv.tasks.contract import SequenceSpec

# Three of five columns at seven leads, from 24 time steps.
SERIES = SequenceSpec(
    time=24,
    features=5,
    vocabulary=None,
    embedding=None,
    outputs=(7, 3),
    targets=(7, 3),
    target_features=(0, 2, 1),
    origin="mean",
)
