"""A convolution over the embeddings of tokens, by a table of products instead of a product for every position.

What a token adds to a filter at one of its `kernel_size` places is the product of the token's embedding with that part
of the kernel. A batch has far fewer different tokens than positions, so these products are computed once for each
token and place, and a convolution is a sum of `kernel_size` rows of that table.

Numbers are float32. Each function works on the parts `first` to `last - 1` of its work, so that threads can share it.
Filters and the size of an embedding are padded to a multiple of 16, the columns of a block of `product`.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled
from seqconv.models.kernels.convolution import pooled, spread
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
def forward(first, last, size, tokens, products, bias, outputs, places):  # type: ignore[no-untyped-def]
    """Sum the rows of each window, then as `convolution.forward`.

    Args:
        first: sample to begin with.
        last: sample to end before.
        size: steps pooled into one; 1 for none.
        tokens: number of each token among those in use, `(batch, time)`.
        products: of `multiply`.
        bias: `(padded filters,)`.
        outputs: `(batch, (time - kernel_size + 1) // size, filters)`, filled.
        places: as there.
    """
    columns = len(bias)
    terms = products.shape[1] // columns
    sums = np.empty((outputs.shape[1] * size, columns), np.float32)
    for sample in range(first, last):
        for step in range(len(sums)):
            sums[step] = 0
            for term in range(terms):
                row = products[tokens[sample, step + term]]
                for j in range(columns):
                    sums[step, j] += row[term * columns + j]
        pooled(sample, size, sums, bias, outputs, places)


@compiled
def unpooled(first, last, chunk, size, upstream, places, gradient, biases):  # type: ignore[no-untyped-def]
    """The gradient before ReLU and pooling, and the bias gradient of each chunk of samples.

    Args:
        first: chunk to begin with.
        last: chunk to end before.
        chunk: samples of each.
        size: steps pooled into one.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        places: of `forward`.
        gradient: `(batch, steps * size, padded filters)`, filled where there are filters.
        biases: `(chunks, padded filters)`, filled.
    """
    batch, steps, columns = gradient.shape
    for number in range(first, last):
        biases[number] = 0
        for sample in range(number * chunk, min((number + 1) * chunk, batch)):
            spread(sample, size, upstream, places, gradient[sample], 0)
            for step in range(steps):
                for j in range(columns):
                    biases[number, j] += gradient[sample, step, j]


@compiled
def sum_by_token(first, last, tokens, gradient, sums):  # type: ignore[no-untyped-def]
    """The gradient of the table of products; a part is 16 columns of it.

    Args:
        first: part to begin with.
        last: part to end before.
        tokens: number of each token among those in use, `(batch, time)`.
        gradient: of `unpooled`.
        sums: `(tokens in use, kernel_size * padded filters)`, zeros to begin with.
    """
    batch, steps, columns = gradient.shape
    for part in range(first, last):
        place, start = part * WIDTH // columns, part * WIDTH % columns
        for sample in range(batch):
            for step in range(steps):
                row = sums[tokens[sample, step + place]]
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
