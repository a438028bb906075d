"""A convolution over time with bias, ReLU and maximum pooling, and its gradients, sample by sample.

A window of `kernel_size` steps is `kernel_size * features` neighbouring numbers, so the windows of a sample are the
rows of a matrix that overlaps itself, and a convolution is a product without a copy. What a sample has before its
pooling stays in the cache. Numbers are float32.

Kernels share their work out among threads by `turns` and `part` (`sharing.taken`). Filters are padded to a multiple of
16, the columns of a block of `product`.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled, part
from seqconv.models.kernels.products import product
from seqconv.models.kernels.sharing import taken
from seqconv.models.kernels.vectors import (
    LANES,
    constant,
    load,
    load_small,
    store,
    store_small,
    where_above,
    where_equal,
    where_larger,
)

MOST_POOLED = 127
"""Steps that can be pooled into one: which of them was the largest is an int8."""


@part
def pooled(sample, size, sums, bias, outputs, places):  # type: ignore[no-untyped-def]
    """What `forward` does with the sums of a sample, `(at least steps * size, padded filters)`."""
    _, steps, filters = outputs.shape
    columns = sums.shape[1]
    whole = filters // LANES * LANES
    zero, nowhere = constant(0.0), constant(-1.0)
    sums_at, bias_at = sums.ctypes.data, bias.ctypes.data
    outputs_at, places_at = outputs.ctypes.data, places.ctypes.data
    for step in range(steps):
        first, to = step * size * columns, (sample * steps + step) * filters
        for j in range(0, whole, LANES):
            added = load(bias_at, j)
            largest, found = load(sums_at, first + j) + added, zero
            here = zero
            for place in range(1, size):
                here = here + constant(1.0)
                value = load(sums_at, first + place * columns + j) + added
                # What is no number stays, here and below.
                found = where_larger(value, largest, here, found)
                largest = where_larger(value, largest, value, largest)
            store(where_above(zero, largest, zero, largest), outputs_at, to + j)
            store_small(where_above(largest, zero, found, nowhere), places_at, to + j)
        for j in range(whole, filters):
            most, which = sums[step * size, j] + bias[j], 0
            for place in range(1, size):
                one = sums[step * size + place, j] + bias[j]
                if one > most or np.isnan(one):
                    most, which = one, place
            outputs[sample, step, j] = np.float32(0) if most < 0 else most
            places[sample, step, j] = which if most > 0 else -1


@compiled
def forward(turns, count, part, size, inputs, kernel, bias, outputs, places):  # type: ignore[no-untyped-def]
    """Convolve, add the bias, cut below zero, and take the largest of every `size` steps; a rest does not count.

    Args:
        turns: see `taken`.
        count: samples.
        part: samples that a thread takes at once.
        size: steps pooled into one; 1 for none.
        inputs: `(batch, time, features)`.
        kernel: `(kernel_size * features, padded filters)`.
        bias: `(padded filters,)`.
        outputs: `(batch, (time - kernel_size + 1) // size, filters)`, filled.
        places: which of the `size` steps that was, the first of equal ones; -1 where the output is not above zero,
            and no gradient passes. int8, shaped as `outputs`, filled.
    """
    _, time, features = inputs.shape
    steps = outputs.shape[1]
    terms, columns = kernel.shape
    sums = np.empty((steps * size, columns), np.float32)
    for sample in taken(turns, count, part):
        product(
            inputs, sample * time * features, features, 1, kernel, 0, columns,
            sums, 0, columns, steps * size, terms, columns, False,
        )  # fmt: skip
        pooled(sample, size, sums, bias, outputs, places)


@part
def add_biases(sample, upstream, places, biases):  # type: ignore[no-untyped-def]
    """Add the gradient of the bias of a sample to `biases`, `(at least filters,)`."""
    _, steps, filters = upstream.shape
    whole = filters // LANES * LANES
    upstream_at, places_at, biases_at = upstream.ctypes.data, places.ctypes.data, biases.ctypes.data
    zero, nowhere = constant(0.0), constant(-1.0)
    for j in range(0, whole, LANES):
        total = load(biases_at, j)
        for step in range(steps):
            at = (sample * steps + step) * filters + j
            passed = where_equal(load_small(places_at, at), nowhere, zero, load(upstream_at, at))
            total = total + passed
        store(total, biases_at, j)
    for j in range(whole, filters):
        for step in range(steps):
            if places[sample, step, j] >= 0:
                biases[j] += upstream[sample, step, j]


@part
def _spread(sample, size, upstream, places, gradient, start):  # type: ignore[no-untyped-def]
    """The gradient of a sample before ReLU and pooling, from row `start` of `gradient` on."""
    _, steps, filters = upstream.shape
    columns = gradient.shape[1]
    whole = filters // LANES * LANES
    upstream_at, places_at = upstream.ctypes.data, places.ctypes.data
    gradient_at = gradient.ctypes.data
    zero = constant(0.0)
    for step in range(steps):
        at, to = (sample * steps + step) * filters, (start + step * size) * columns
        for j in range(0, whole, LANES):
            value, found = load(upstream_at, at + j), load_small(places_at, at + j)
            here = zero
            for place in range(size):
                store(where_equal(found, here, value, zero), gradient_at, to + place * columns + j)
                here = here + constant(1.0)
        for j in range(whole, filters):
            for place in range(size):
                here = places[sample, step, j] == place
                one = upstream[sample, step, j] if here else np.float32(0)
                gradient[start + step * size + place, j] = one


@compiled
def gradients(  # type: ignore[no-untyped-def]
    turns, count, part, chunk, size, inputs, upstream, places, kernel, kernels, biases, found
):
    """The gradients of kernel and bias, summed over the samples of each chunk, and that of the inputs if it is wanted.

    Args:
        turns: see `taken`.
        count: chunks.
        part: chunks that a thread takes at once.
        chunk: samples of each.
        size: steps pooled into one.
        inputs: `(batch, time, features)`.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        places: of `forward`.
        kernel: the kernel backwards, `(kernel_size * padded filters, padded features)`.
        kernels: `(chunks, kernel_size * features, padded filters)`, filled.
        biases: `(chunks, padded filters)`, filled.
        found: gradient of the inputs, `(batch, time, features)`, filled; of no samples if it is not wanted.
    """
    batch, time, features = inputs.shape
    steps = upstream.shape[1] * size
    _, terms, columns = kernels.shape
    padded_features = kernel.shape[1]
    # Zeros before and behind: the windows of the gradient reach over both ends.
    margin = terms // features - 1
    gradient = np.zeros((time + margin, columns), np.float32)
    sums = np.empty((time, padded_features), np.float32)
    for number in taken(turns, count, part):
        kernels[number] = 0
        biases[number] = 0
        for sample in range(number * chunk, min((number + 1) * chunk, batch)):
            add_biases(sample, upstream, places, biases[number])
            _spread(sample, size, upstream, places, gradient, margin)
            product(
                inputs, sample * time * features, 1, features, gradient, margin * columns, columns,
                kernels, number * terms * columns, columns, terms, steps, columns, True,
            )  # fmt: skip
            if len(found) > 0:
                product(
                    gradient, 0, columns, 1, kernel, 0, padded_features,
                    sums, 0, padded_features, time, len(kernel), padded_features, False,
                )  # fmt: skip
                found[sample] = sums[:, :features]
