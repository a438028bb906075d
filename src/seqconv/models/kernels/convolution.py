"""A convolution over time with bias, ReLU and maximum pooling, and its gradients, sample by sample.

A window of `kernel_size` steps is `kernel_size * features` neighbouring numbers, so the windows of a sample are the
rows of a matrix that overlaps itself, and a convolution is a product without a copy. What a sample has before its
pooling stays in the cache. Numbers are float32.

Each function works on the samples `first` to `last - 1`, so that threads can share a batch. Filters are padded to a
multiple of 16, the columns of a block of `product`.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled, part
from seqconv.models.kernels.products import product


@part
def pooled(sample, size, sums, bias, outputs, places):  # type: ignore[no-untyped-def]
    """What `forward` does with the sums of a sample, `(at least steps * size, at least filters)`."""
    _, steps, filters = outputs.shape
    for step in range(steps):
        for j in range(filters):
            outputs[sample, step, j] = sums[step * size, j] + bias[j]
            places[sample, step, j] = 0
        for place in range(1, size):
            for j in range(filters):
                value, largest = sums[step * size + place, j] + bias[j], outputs[sample, step, j]
                # What is no number stays, here and below.
                larger = value > largest or np.isnan(value)
                outputs[sample, step, j] = value if larger else largest
                places[sample, step, j] = place if larger else places[sample, step, j]
        for j in range(filters):
            largest = outputs[sample, step, j]
            outputs[sample, step, j] = np.float32(0) if largest < 0 else largest
            places[sample, step, j] = places[sample, step, j] if largest > 0 else -1


@compiled
def forward(first, last, size, inputs, kernel, bias, outputs, places):  # type: ignore[no-untyped-def]
    """Convolve, add the bias, cut below zero, and take the largest of every `size` steps; a rest does not count.

    Args:
        first: sample to begin with.
        last: sample to end before.
        size: steps pooled into one; 1 for none.
        inputs: `(batch, time, features)`.
        kernel: `(kernel_size * features, padded filters)`.
        bias: `(filters,)`.
        outputs: `(batch, (time - kernel_size + 1) // size, filters)`, filled.
        places: which of the `size` steps that was, the first of equal ones; -1 where the output is not above zero,
            and no gradient passes. int32, shaped as `outputs`, filled.
    """
    _, time, features = inputs.shape
    steps = outputs.shape[1]
    terms, columns = kernel.shape
    sums = np.empty((steps * size, columns), np.float32)
    for sample in range(first, last):
        product(
            inputs, sample * time * features, features, 1, kernel, 0, columns,
            sums, 0, columns, steps * size, terms, columns, False,
        )  # fmt: skip
        pooled(sample, size, sums, bias, outputs, places)


@part
def spread(sample, size, upstream, places, gradient, start):  # type: ignore[no-untyped-def]
    """The gradient of a sample before ReLU and pooling, from row `start` of `gradient` on."""
    _, steps, filters = upstream.shape
    for step in range(steps):
        for place in range(size):
            row = start + step * size + place
            for j in range(filters):
                here = places[sample, step, j] == place
                gradient[row, j] = upstream[sample, step, j] if here else np.float32(0)


@compiled
def weight_gradients(first, last, chunk, size, inputs, upstream, places, kernels, biases):  # type: ignore[no-untyped-def]
    """The gradients of kernel and bias, summed over the samples of each chunk.

    Args:
        first: chunk to begin with.
        last: chunk to end before.
        chunk: samples of each.
        size: steps pooled into one.
        inputs: `(batch, time, features)`.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        places: of `forward`.
        kernels: `(chunks, kernel_size * features, padded filters)`, filled.
        biases: `(chunks, padded filters)`, filled.
    """
    batch, time, features = inputs.shape
    steps = upstream.shape[1] * size
    _, terms, columns = kernels.shape
    gradient = np.zeros((steps, columns), np.float32)
    for number in range(first, last):
        kernels[number] = 0
        biases[number] = 0
        for sample in range(number * chunk, min((number + 1) * chunk, batch)):
            spread(sample, size, upstream, places, gradient, 0)
            for step in range(steps):
                for j in range(columns):
                    biases[number, j] += gradient[step, j]
            product(
                inputs, sample * time * features, 1, features, gradient, 0, columns,
                kernels, number * terms * columns, columns, terms, steps, columns, True,
            )  # fmt: skip


@compiled
def input_gradient(first, last, size, upstream, places, kernel, gradients):  # type: ignore[no-untyped-def]
    """The gradient of the inputs.

    Args:
        first: sample to begin with.
        last: sample to end before.
        size: steps pooled into one.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        places: of `forward`.
        kernel: the kernel backwards, `(kernel_size * filters, padded features)`.
        gradients: `(batch, time, features)`, filled.
    """
    filters = upstream.shape[2]
    _, time, features = gradients.shape
    terms, columns = kernel.shape
    # Zeros before and behind: the windows of the gradient reach over both ends.
    margin = terms // filters - 1
    gradient = np.zeros((time + margin, filters), np.float32)
    sums = np.empty((time, columns), np.float32)
    for sample in range(first, last):
        spread(sample, size, upstream, places, gradient, margin)
        product(
            gradient, 0, filters, 1, kernel, 0, columns,
            sums, 0, columns, time, terms, columns, False,
        )  # fmt: skip
        gradients[sample] = sums[:, :features]
