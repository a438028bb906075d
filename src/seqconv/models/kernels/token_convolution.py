"""A convolution over the embeddings of tokens, by a table of products instead of a product for every position.

What a token adds to a filter at one of its `kernel_size` places is the product of the token's embedding with that part
of the kernel. A batch has far fewer different tokens than positions, so these products are computed once for each
token and place, and a convolution is a sum of `kernel_size` rows of that table.

Numbers are float32. Each function works on the parts `first` to `last - 1` of its work, so that threads can share it.
Filters and the size of an embedding are padded to a multiple of 16.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled
from seqconv.models.kernels.convolution import masked
from seqconv.models.kernels.products import WIDTH, product

# Tokens that a function works on at once: their rows stay in cache.
BLOCK = 64


@compiled
def multiply(first, last, table, used, kernel, products):  # type: ignore[no-untyped-def]
    """The products of the tokens in use, block by block.

    Args:
        first: block of tokens to begin with.
        last: block to end before.
        table: embeddings, `(vocabulary, size)`.
        used: numbers of the tokens in use, ascending.
        kernel: `(size, kernel_size * padded filters)`.
        products: `(tokens in use, kernel_size * padded filters)`, filled.
    """
    size, columns = kernel.shape
    rows = np.empty((BLOCK, size), np.float32)
    for block in range(first, last):
        start = block * BLOCK
        count = min(BLOCK, len(used) - start)
        for row in range(count):
            rows[row] = table[used[start + row]]
        product(
            rows, 0, size, 1, kernel, 0, columns,
            products, start * columns, columns, count, size, columns, False,
        )  # fmt: skip


@compiled
def forward(first, last, places, products, bias, outputs):  # type: ignore[no-untyped-def]
    """Sum the rows of each window, add the bias and cut below zero.

    Args:
        first: sample to begin with.
        last: sample to end before.
        places: number of each token among those in use, `(batch, time)`.
        products: of `multiply`.
        bias: `(filters,)`.
        outputs: `(batch, time - kernel_size + 1, filters)`, filled.
    """
    _, steps, filters = outputs.shape
    size = places.shape[1] - steps + 1
    columns = products.shape[1] // size
    sums = np.zeros(columns, np.float32)
    for sample in range(first, last):
        for step in range(steps):
            sums[:filters] = bias
            for place in range(size):
                row = products[places[sample, step + place]]
                for j in range(columns):
                    sums[j] += row[place * columns + j]
            for j in range(filters):
                # So that a value that is no number stays one.
                outputs[sample, step, j] = np.float32(0) if sums[j] < 0 else sums[j]


@compiled
def mask(first, last, chunk, upstream, outputs, gradient, biases):  # type: ignore[no-untyped-def]
    """The gradient where outputs are above zero, and the bias gradient of each chunk of samples.

    Args:
        first: chunk to begin with.
        last: chunk to end before.
        chunk: samples of each.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        outputs: of `forward`.
        gradient: `(batch, steps, padded filters)`, filled where there are filters.
        biases: `(chunks, filters)`, filled.
    """
    batch, steps, filters = outputs.shape
    for number in range(first, last):
        biases[number] = 0
        for sample in range(number * chunk, min((number + 1) * chunk, batch)):
            masked(sample, upstream, outputs, gradient[sample], 0)
            for step in range(steps):
                for j in range(filters):
                    biases[number, j] += gradient[sample, step, j]


@compiled
def sum_by_token(first, last, places, gradient, sums):  # type: ignore[no-untyped-def]
    """The gradient of the table of products; a part is 16 columns of it.

    Args:
        first: part to begin with.
        last: part to end before.
        places: number of each token among those in use, `(batch, time)`.
        gradient: `(batch, steps, padded filters)`.
        sums: `(tokens in use, kernel_size * padded filters)`, zeros to begin with.
    """
    batch, steps, columns = gradient.shape
    for part in range(first, last):
        place, start = part * WIDTH // columns, part * WIDTH % columns
        for sample in range(batch):
            for step in range(steps):
                row = sums[places[sample, step + place]]
                for j in range(WIDTH):
                    row[part * WIDTH + j] += gradient[sample, step, start + j]


@compiled
def gradients(first, last, blocks, table, used, kernel, sums, tables, kernels):  # type: ignore[no-untyped-def]
    """The gradients of embeddings and kernel; a part is so many blocks of tokens.

    Args:
        first: part to begin with.
        last: part to end before.
        blocks: of each part.
        table: embeddings, `(vocabulary, size)`.
        used: numbers of the tokens in use.
        kernel: turned, `(kernel_size * padded filters, padded size)`.
        sums: of `sum_by_token`.
        tables: gradient of the embeddings, `(vocabulary, size)`; rows of tokens in use are filled.
        kernels: gradient of the kernel over the tokens of each part, `(parts, size, kernel_size * padded filters)`,
            filled.
    """
    size = table.shape[1]
    columns, padded_size = kernel.shape
    rows = np.empty((BLOCK, size), np.float32)
    found = np.empty((BLOCK, padded_size), np.float32)
    for part in range(first, last):
        kernels[part] = 0
        for block in range(part * blocks, (part + 1) * blocks):
            start = block * BLOCK
            count = min(BLOCK, len(used) - start)
            if count <= 0:
                break
            for row in range(count):
                rows[row] = table[used[start + row]]
            product(
                rows, 0, 1, size, sums, start * columns, columns,
                kernels, part * size * columns, columns, size, count, columns, True,
            )  # fmt: skip
            product(
                sums, start * columns, columns, 1, kernel, 0, padded_size,
                found, 0, padded_size, count, columns, padded_size, False,
            )  # fmt: skip
            for row in range(count):
                tables[used[start + row]] = found[row, :size]
