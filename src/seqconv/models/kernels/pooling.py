"""The maximum over all time steps, and its gradient. Numbers are float32.

Kernels share their work out among threads by `turns` and `share` (`sharing.taken`).
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled
from seqconv.models.kernels.sharing import taken


@compiled
def forward(turns, count, share, inputs, outputs):  # type: ignore[no-untyped-def]
    """The largest of all steps.

    Args:
        turns: see `taken`.
        count: samples.
        share: samples that a thread takes at once.
        inputs: `(batch, time, features)`.
        outputs: `(batch, features)`, filled.
    """
    _, time, features = inputs.shape
    for sample in taken(turns, count, share):
        outputs[sample] = inputs[sample, 0]
        for step in range(1, time):
            for j in range(features):
                value, found = inputs[sample, step, j], outputs[sample, j]
                # What is no number stays.
                outputs[sample, j] = value if value > found or np.isnan(value) else found


@compiled
def gradient(turns, count, share, inputs, outputs, upstream, gradients):  # type: ignore[no-untyped-def]
    """The gradient of the inputs: all of it goes to the first of several equal maxima.

    Args:
        turns: see `taken`.
        count: samples.
        share: samples that a thread takes at once.
        inputs: `(batch, time, features)`.
        outputs: of `forward`.
        upstream: gradient of the outputs.
        gradients: `(batch, time, features)`, filled.
    """
    _, time, features = inputs.shape
    left = np.empty(features, np.float32)
    for sample in taken(turns, count, share):
        left[:] = upstream[sample]
        for step in range(time):
            for j in range(features):
                largest = inputs[sample, step, j] == outputs[sample, j]
                gradients[sample, step, j] = left[j] if largest else np.float32(0)
                left[j] = np.float32(0) if largest else left[j]
