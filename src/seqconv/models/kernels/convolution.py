"""A convolution over time with bias and ReLU, and its gradients, sample by sample.

A window of `kernel_size` steps is `kernel_size * features` neighbouring numbers, so the windows of a sample are the
rows of a matrix that overlaps itself, and a convolution is a product without a copy. Numbers are float32.

Each function works on the samples `first` to `last - 1`, so that threads can share a batch. Filters are padded to a
multiple of 16.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled, part
from seqconv.models.kernels.products import product


@compiled
def forward(first, last, inputs, kernel, bias, outputs):  # type: ignore[no-untyped-def]
    """Convolve, add the bias and cut below zero.

    Args:
        first: sample to begin with.
        last: sample to end before.
        inputs: `(batch, time, features)`.
        kernel: `(kernel_size * features, padded filters)`.
        bias: `(filters,)`.
        outputs: `(batch, time - kernel_size + 1, filters)`, filled.
    """
    _, time, features = inputs.shape
    _, steps, filters = outputs.shape
    terms, columns = kernel.shape
    sums = np.empty((steps, columns), np.float32)
    for sample in range(first, last):
        product(
            inputs, sample * time * features, features, 1, kernel, 0, columns,
            sums, 0, columns, steps, terms, columns, False,
        )  # fmt: skip
        for step in range(steps):
            for j in range(filters):
                value = sums[step, j] + bias[j]
                # So that a value that is no number stays one.
                outputs[sample, step, j] = np.float32(0) if value < 0 else value


@part
def masked(sample, upstream, outputs, gradient, start):  # type: ignore[no-untyped-def]
    """The gradient of a sample where its output is above zero, from row `start` of `gradient` on."""
    _, steps, filters = outputs.shape
    for step in range(steps):
        for j in range(filters):
            kept = outputs[sample, step, j] > 0
            gradient[start + step, j] = upstream[sample, step, j] if kept else np.float32(0)


@compiled
def weight_gradients(first, last, chunk, inputs, upstream, outputs, kernels, biases):  # type: ignore[no-untyped-def]
    """The gradients of kernel and bias, summed over the samples of each chunk.

    Args:
        first: chunk to begin with.
        last: chunk to end before.
        chunk: samples of each.
        inputs: `(batch, time, features)`.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        outputs: of `forward`, `(batch, steps, filters)`.
        kernels: `(chunks, kernel_size * features, padded filters)`, filled.
        biases: `(chunks, padded filters)`, filled.
    """
    batch, time, features = inputs.shape
    steps = outputs.shape[1]
    _, terms, columns = kernels.shape
    gradient = np.zeros((steps, columns), np.float32)
    for number in range(first, last):
        kernels[number] = 0
        biases[number] = 0
        for sample in range(number * chunk, min((number + 1) * chunk, batch)):
            masked(sample, upstream, outputs, gradient, 0)
            for step in range(steps):
                for j in range(columns):
                    biases[number, j] += gradient[step, j]
            product(
                inputs, sample * time * features, 1, features, gradient, 0, columns,
                kernels, number * terms * columns, columns, terms, steps, columns, True,
            )  # fmt: skip


@compiled
def input_gradient(first, last, upstream, outputs, kernel, gradients):  # type: ignore[no-untyped-def]
    """The gradient of the inputs.

    Args:
        first: sample to begin with.
        last: sample to end before.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        outputs: of `forward`, `(batch, steps, filters)`.
        kernel: the kernel backwards, `(kernel_size * filters, padded features)`.
        gradients: `(batch, steps + kernel_size - 1, features)`, filled.
    """
    _, steps, filters = outputs.shape
    _, time, features = gradients.shape
    terms, columns = kernel.shape
    # Zeros before and behind: the windows of the gradient reach over both ends.
    margin = time - steps
    gradient = np.zeros((steps + 2 * margin, filters), np.float32)
    sums = np.empty((time, columns), np.float32)
    for sample in range(first, last):
        masked(sample, upstream, outputs, gradient, margin)
        product(
            gradient, 0, filters, 1, kernel, 0, columns,
            sums, 0, columns, time, terms, columns, False,
        )  # fmt: skip
        gradients[sample] = sums[:, :features]
