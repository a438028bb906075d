"""The maximum of every so many time steps, and its gradient. Numbers are float32.

Each function works on the samples `first` to `last - 1`, so that threads can share a batch.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled


@compiled
def forward(first, last, size, inputs, outputs):  # type: ignore[no-untyped-def]
    """The largest of `size` neighbouring steps; a rest at the end does not count.

    Args:
        first: sample to begin with.
        last: sample to end before.
        size: steps pooled into one.
        inputs: `(batch, time, features)`.
        outputs: `(batch, time // size, features)`, filled.
    """
    _, steps, features = outputs.shape
    for sample in range(first, last):
        for step in range(steps):
            for j in range(features):
                outputs[sample, step, j] = inputs[sample, step * size, j]
            for place in range(step * size + 1, (step + 1) * size):
                for j in range(features):
                    value, found = inputs[sample, place, j], outputs[sample, step, j]
                    outputs[sample, step, j] = found if found >= value else value


@compiled
def gradient(first, last, size, inputs, outputs, upstream, gradients):  # type: ignore[no-untyped-def]
    """The gradient of the inputs: all of it goes to the first of several equal maxima.

    Args:
        first: sample to begin with.
        last: sample to end before.
        size: steps pooled into one.
        inputs: `(batch, time, features)`.
        outputs: of `forward`.
        upstream: gradient of the outputs.
        gradients: `(batch, time, features)`, filled.
    """
    _, steps, features = outputs.shape
    left = np.empty(features, np.float32)
    for sample in range(first, last):
        for step in range(steps):
            left[:] = upstream[sample, step]
            for place in range(step * size, (step + 1) * size):
                for j in range(features):
                    largest = inputs[sample, place, j] == outputs[sample, step, j]
                    gradients[sample, place, j] = left[j] if largest else np.float32(0)
                    left[j] = np.float32(0) if largest else left[j]
        gradients[sample, steps * size :] = 0
