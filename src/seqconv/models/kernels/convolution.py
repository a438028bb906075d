"""Convolutions over time with bias, ReLU and maximum pooling, one behind the other, and their gradients.

Each sample goes through all of them at once, so what stands between stays in the cache. A window of `kernel_size` steps
is `kernel_size * features` neighbouring numbers: the windows of a sample are the rows of a matrix that overlaps itself,
and a convolution is a product without a copy. Numbers are float32.

Arrays are flat, and filters are padded to a multiple of 16, the columns of a block of `product`. Kernels share their
work out among threads by `turns` and `share` (`sharing.taken`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seqconv.models.kernels.compiling import compiled, part
from seqconv.models.kernels.products import padded, product
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

MOST_POOLED = 128
"""Steps that can be pooled into one: which of them was the largest, from 0, is an int8."""


class Shape(NamedTuple):
    """A convolution, as one row of `shapes`.

    Attributes:
        time: steps of its inputs.
        features: of its inputs.
        kernel_size: steps of a window.
        filters: see there.
        columns: filters, padded.
        size: steps pooled into one; 1 for none.
        steps: of its outputs.
    """

    time: int
    features: int
    kernel_size: int
    filters: int
    columns: int
    size: int
    steps: int


def shape_of(time: int, kernel_shape: tuple[int, int, int], size: int) -> Shape:
    """The convolution of a kernel `(kernel_size, features, filters)`."""
    kernel_size, features, filters = kernel_shape
    steps = (time - kernel_size + 1) // size
    return Shape(time, features, kernel_size, filters, padded(filters), size, steps)


@part
def pooled(size, steps, filters, sums, columns, bias, b, outputs, to, places, places_to):  # type: ignore[no-untyped-def]
    """What `forward` does with the sums of a convolution of one sample.

    Args:
        size: steps pooled into one.
        steps: of the outputs.
        filters: see there.
        sums: `(at least steps * size, columns)`.
        columns: see above.
        bias: `bias[b:]` has one for each filter.
        b: see above.
        outputs: gets `(steps, filters)` from `to` on.
        to: see above.
        places: gets as many from `places_to` on.
        places_to: see above.
    """
    whole = filters // LANES * LANES
    zero, nowhere = constant(0.0), constant(-1.0)
    sums_at, bias_at = sums.ctypes.data, bias.ctypes.data
    outputs_at, places_at = outputs.ctypes.data, places.ctypes.data
    for step in range(steps):
        first, shift = step * size * columns, step * filters
        for j in range(0, whole, LANES):
            added = load(bias_at, b + j)
            largest, found = load(sums_at, first + j) + added, zero
            here = zero
            for place in range(1, size):
                here = here + constant(1.0)
                value = load(sums_at, first + place * columns + j) + added
                # What is no number stays, here and below.
                found = where_larger(value, largest, here, found)
                largest = where_larger(value, largest, value, largest)
            store(where_above(zero, largest, zero, largest), outputs_at, to + shift + j)
            store_small(
                where_above(largest, zero, found, nowhere), places_at, places_to + shift + j
            )
        for j in range(whole, filters):
            most, which = sums[first + j] + bias[b + j], 0
            for place in range(1, size):
                one = sums[first + place * columns + j] + bias[b + j]
                if one > most or np.isnan(one):
                    most, which = one, place
            outputs[to + shift + j] = np.float32(0) if most < 0 else most
            places[places_to + shift + j] = which if most > 0 else -1


@compiled
def forward(turns, count, share, shapes, inputs, kernels, biases, between, outputs, places):  # type: ignore[no-untyped-def]
    """Convolve, add the bias, cut below zero, and take the largest of every `size` steps; a rest does not count.

    Args:
        turns: see `taken`.
        count: samples.
        share: samples that a thread takes at once.
        shapes: `(convolutions, len(Shape))`.
        inputs: `(samples, time, features)` of the first convolution.
        kernels: of one convolution after the other, `(kernel_size * features, columns)`.
        biases: of one convolution after the other, `(columns,)`.
        between: for each sample the outputs `(steps, filters)` of one convolution after the other, without the last
            one; filled.
        outputs: `(samples, steps, filters)` of the last convolution, filled.
        places: for each sample, of the outputs of one convolution after the other, which of the `size` steps was the
            largest, the first of equal ones; -1 where the output is not above zero, and no gradient passes. int8,
            filled.
    """
    samples_between, samples_places = len(between) // count, len(places) // count
    most = 0
    for number in range(len(shapes)):
        _, _, _, _, columns, size, steps = shapes[number]
        most = max(most, steps * size * columns)
    sums = np.empty(most, np.float32)
    for sample in taken(turns, count, share):
        source, at = inputs, sample * shapes[0, 0] * shapes[0, 1]
        kernel_at, bias_at = 0, 0
        to, places_to = sample * samples_between, sample * samples_places
        for number in range(len(shapes)):
            _, features, kernel_size, filters, columns, size, steps = shapes[number]
            terms = kernel_size * features
            product(
                source, at, features, 1, kernels, kernel_at, columns,
                sums, 0, columns, steps * size, terms, columns, False,
            )  # fmt: skip
            target = between
            if number == len(shapes) - 1:
                target, to = outputs, sample * steps * filters
            pooled(
                size, steps, filters, sums, columns, biases, bias_at, target, to, places, places_to
            )
            source, at = target, to
            kernel_at += terms * columns
            bias_at += columns
            to += steps * filters
            places_to += steps * filters


@part
def add_biases(steps, filters, upstream, at, places, places_at, biases, b):  # type: ignore[no-untyped-def]
    """Add the gradient of the bias of a sample to `biases[b:]`.

    Args:
        steps: of the outputs.
        filters: see there.
        upstream: `upstream[at:]` has the gradient of the outputs, `(steps, filters)`.
        at: see above.
        places: `places[places_at:]` has those of the outputs.
        places_at: see above.
        biases: see above.
        b: see above.
    """
    whole = filters // LANES * LANES
    upstream_data, places_data, biases_data = (
        upstream.ctypes.data,
        places.ctypes.data,
        biases.ctypes.data,
    )
    zero, nowhere = constant(0.0), constant(-1.0)
    for j in range(0, whole, LANES):
        total = load(biases_data, b + j)
        for step in range(steps):
            index = step * filters + j
            found = load_small(places_data, places_at + index)
            total = total + where_equal(found, nowhere, zero, load(upstream_data, at + index))
        store(total, biases_data, b + j)
    for j in range(whole, filters):
        for index in range(j, steps * filters, filters):
            if places[places_at + index] >= 0:
                biases[b + j] += upstream[at + index]


@part
def _spread(size, steps, filters, upstream, at, places, places_at, gradient, to, columns):  # type: ignore[no-untyped-def]
    """Write the gradient before ReLU and pooling, `(steps * size, columns)`, from `to` on; else as `add_biases`."""
    whole = filters // LANES * LANES
    upstream_data, places_data = upstream.ctypes.data, places.ctypes.data
    gradient_data = gradient.ctypes.data
    zero = constant(0.0)
    for step in range(steps):
        first, row = step * filters, to + step * size * columns
        for j in range(0, whole, LANES):
            value = load(upstream_data, at + first + j)
            found = load_small(places_data, places_at + first + j)
            here = zero
            for place in range(size):
                passed = where_equal(found, here, value, zero)
                store(passed, gradient_data, row + place * columns + j)
                here = here + constant(1.0)
        for j in range(whole, filters):
            for place in range(size):
                here = places[places_at + first + j] == place
                one = upstream[at + first + j] if here else np.float32(0)
                gradient[row + place * columns + j] = one


@compiled
def gradients(  # type: ignore[no-untyped-def]
    turns,
    count,
    share,
    chunk,
    shapes,
    inputs,
    between,
    upstream,
    places,
    backwards,
    kernels,
    biases,
    found,
):
    """The gradients of kernels and biases, summed over the samples of each chunk, and that of the inputs if wanted.

    Args:
        turns: see `taken`.
        count: chunks.
        share: chunks that a thread takes at once.
        chunk: samples of each.
        shapes: as for `forward`.
        inputs: as for `forward`.
        between: of `forward`.
        upstream: gradient of its `outputs`.
        places: of `forward`.
        backwards: the kernels with their last step first, of one convolution after the other,
            `(kernel_size * columns, padded features)`.
        kernels: `(chunks, numbers of all kernels)`, see `forward`; filled.
        biases: `(chunks, numbers of all biases)`, filled.
        found: gradient of the inputs, filled; empty if it is not wanted.
    """
    layers = len(shapes)
    samples = len(inputs) // (shapes[0, 0] * shapes[0, 1])
    samples_between, samples_places = len(between) // samples, len(places) // samples
    # Where each convolution has its kernel, its bias, its kernel backwards, its inputs, its places, and the gradient
    # before its pooling, with zeros before and behind it, since the windows of the gradient reach over both ends.
    starts, widest = np.zeros((layers + 1, 6), np.int64), 0
    for number in range(layers):
        time, features, kernel_size, filters, columns, _, steps = shapes[number]
        wide = padded(features)
        sizes = (
            kernel_size * features * columns,
            columns,
            kernel_size * columns * wide,
            time * features if number > 0 else 0,
            steps * filters,
            (time + kernel_size - 1) * columns,
        )
        widest = max(widest, time * wide)
        for kind in range(6):
            starts[number + 1, kind] = starts[number, kind] + sizes[kind]
    gradient = np.zeros(starts[layers, 5], np.float32)
    # Of the last one, whose outputs have a gradient.
    _, _, _, last_filters, _, _, last_steps = shapes[layers - 1]
    sums, down = np.empty(widest, np.float32), np.empty(widest, np.float32)
    for chunk_number in taken(turns, count, share):
        kernels[chunk_number] = 0
        biases[chunk_number] = 0
        of_kernels, of_biases = kernels[chunk_number], biases[chunk_number]
        for sample in range(chunk_number * chunk, min((chunk_number + 1) * chunk, samples)):
            above, at = upstream, sample * last_steps * last_filters
            for number in range(layers - 1, -1, -1):
                time, features, kernel_size, filters, columns, size, steps = shapes[number]
                kernel_at, bias_at, backwards_at, between_at, places_at, gradient_at = starts[
                    number
                ]
                places_at += sample * samples_places
                row = gradient_at + (kernel_size - 1) * columns
                add_biases(steps, filters, above, at, places, places_at, of_biases, bias_at)
                _spread(size, steps, filters, above, at, places, places_at, gradient, row, columns)
                source, source_at = between, sample * samples_between + between_at
                if number == 0:
                    source, source_at = inputs, sample * time * features
                if steps > 0:
                    product(
                        source, source_at, 1, features, gradient, row, columns,
                        of_kernels, kernel_at, columns,
                        kernel_size * features, steps * size, columns, True,
                    )  # fmt: skip
                if number == 0 and len(found) == 0:
                    break
                wide = padded(features)
                product(
                    gradient, gradient_at, columns, 1, backwards, backwards_at, wide,
                    sums, 0, wide, time, kernel_size * columns, wide, False,
                )  # fmt: skip
                target, to = down, 0
                if number == 0:
                    target, to = found, sample * time * features
                for step in range(time):
                    for j in range(features):
                        target[to + step * features + j] = sums[step * wide + j]
                above, at = down, 0
