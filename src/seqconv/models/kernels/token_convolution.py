"""A convolution over the embeddings of tokens, by a table of products instead of a product for every position.

What a token adds to a filter at one of its `kernel_size` places is the product of the token's embedding with that part
of the kernel. A batch has far fewer different tokens than positions, so these products are computed once for each
token and place, and a convolution is a sum of `kernel_size` rows of that table.

Numbers are float32. Kernels share their work out among threads by `turns` and `share` (`sharing.taken`). Filters and
the size of an embedding are padded to a multiple of 16, the columns of a block of `product`.
"""

from __future__ import annotations

import numpy as np

from seqconv.models.kernels.compiling import compiled
from seqconv.models.kernels.convolution import add_biases, pooled
from seqconv.models.kernels.products import product
from seqconv.models.kernels.sharing import taken
from seqconv.models.kernels.vectors import (
    LANES,
    constant,
    load,
    load_small,
    store,
    where_equal,
)

# Tokens that a function works on at once: their rows stay in cache.
BLOCK = 64


@compiled
def positions_by_token(numbers, starts, positions):  # type: ignore[no-untyped-def]
    """Sort the positions of a batch by their token; those of one token stay in order.

    Args:
        numbers: number of each token among those in use, `(batch * time,)`.
        starts: where each token's positions begin, `(tokens in use + 1,)`, zeros to begin with; filled.
        positions: `(batch * time,)`, filled.
    """
    for number in numbers:
        starts[number + 1] += 1
    for number in range(1, len(starts)):
        starts[number] += starts[number - 1]
    following = starts[:-1].copy()
    for position, number in enumerate(numbers):
        positions[following[number]] = position
        following[number] += 1


@compiled
def multiply(turns, count, share, table, used, kernel, products):  # type: ignore[no-untyped-def]
    """The products of the tokens in use, block by block.

    Args:
        turns: see `taken`.
        count: blocks of tokens.
        share: blocks that a thread takes at once.
        table: embeddings, `(vocabulary, size)`.
        used: numbers of the tokens in use, ascending.
        kernel: `(size, kernel_size * padded filters)`.
        products: `(tokens in use, kernel_size * padded filters)`, filled.
    """
    size, columns = kernel.shape
    rows = np.empty((BLOCK, size), np.float32)
    for block in taken(turns, count, share):
        start = block * BLOCK
        tokens = min(BLOCK, len(used) - start)
        for row in range(tokens):
            rows[row] = table[used[start + row]]
        product(
            rows, 0, size, 1, kernel, 0, columns,
            products, start * columns, columns, tokens, size, columns, False,
        )  # fmt: skip


@compiled
def forward(turns, count, share, size, tokens, products, bias, outputs, places):  # type: ignore[no-untyped-def]
    """Sum the rows of each window, then as `convolution.forward`.

    Args:
        turns: see `taken`.
        count: samples.
        share: samples that a thread takes at once.
        size: steps pooled into one; 1 for none.
        tokens: number of each token among those in use, `(batch, time)`.
        products: of `multiply`.
        bias: `(padded filters,)`.
        outputs: `(batch, (time - kernel_size + 1) // size, filters)`, filled.
        places: as there.
    """
    _, steps, filters = outputs.shape
    columns, width = len(bias), products.shape[1]
    terms = width // columns
    sums = np.empty(steps * size * columns, np.float32)
    flat_outputs, flat_places = outputs.reshape(-1), places.reshape(-1)
    products_at, sums_at = products.ctypes.data, sums.ctypes.data
    for sample in taken(turns, count, share):
        for step in range(steps * size):
            for j in range(0, columns, LANES):
                total = constant(0.0)
                for term in range(terms):
                    row = np.intp(tokens[sample, step + term]) * width
                    total = total + load(products_at, row + term * columns + j)
                store(total, sums_at, step * columns + j)
        to = sample * steps * filters
        pooled(size, steps, filters, sums, columns, bias, 0, flat_outputs, to, flat_places, to)


@compiled
def bias_gradients(turns, count, share, chunk, upstream, places, biases):  # type: ignore[no-untyped-def]
    """The gradient of the bias, summed over the samples of each chunk.

    Args:
        turns: see `taken`.
        count: chunks.
        share: chunks that a thread takes at once.
        chunk: samples of each.
        upstream: gradient of the outputs, `(batch, steps, filters)`.
        places: of `forward`.
        biases: `(chunks, padded filters)`, filled.
    """
    batch, steps, filters = upstream.shape
    flat_upstream, flat_places = upstream.reshape(-1), places.reshape(-1)
    for number in taken(turns, count, share):
        biases[number] = 0
        for sample in range(number * chunk, min((number + 1) * chunk, batch)):
            at = sample * steps * filters
            add_biases(steps, filters, flat_upstream, at, flat_places, at, biases[number], 0)


@compiled
def sum_by_token(  # type: ignore[no-untyped-def]
    turns, count, share, bounds, starts, positions, time, size, upstream, places, sums
):
    """The gradient of the table of products, token by token.

    Args:
        turns: see `taken`.
        count: spans of tokens.
        share: spans that a thread takes at once.
        bounds: where each span begins, and the last one ends.
        starts: of `positions_by_token`.
        positions: of `positions_by_token`.
        time: tokens of a sample.
        size: steps pooled into one.
        upstream: gradient of the outputs, `(batch, steps, padded filters)`.
        places: of `forward`, as many filters.
        sums: `(tokens in use, kernel_size * padded filters)`, filled.
    """
    _, steps, columns = upstream.shape
    width = sums.shape[1]
    terms = width // columns
    upstream_at, places_at, sums_at = upstream.ctypes.data, places.ctypes.data, sums.ctypes.data
    zero = constant(0.0)
    for span in taken(turns, count, share):
        for token in range(bounds[span], bounds[span + 1]):
            sums[token] = 0
            for index in range(starts[token], starts[token + 1]):
                sample, step = divmod(positions[index], time)
                # Of each window that has the token, at the place that it has there.
                for term in range(min(terms, step + 1)):
                    pooled_step, place = divmod(step - term, size)
                    if pooled_step >= steps:
                        continue
                    at, to = (
                        (sample * steps + pooled_step) * columns,
                        token * width + term * columns,
                    )
                    for j in range(0, columns, LANES):
                        passed = where_equal(
                            load_small(places_at, at + j),
                            constant(np.float32(place)),
                            load(upstream_at, at + j),
                            zero,
                        )
                        store(load(sums_at, to + j) + passed, sums_at, to + j)


@compiled
def gradients(turns, count, share, blocks, table, used, kernel, sums, tables, kernels):  # type: ignore[no-untyped-def]
    """The gradients of embeddings and kernel, over so many blocks of tokens at a time.

    Args:
        turns: see `taken`.
        count: groups of blocks.
        share: groups that a thread takes at once.
        blocks: of each group.
        table: embeddings, `(vocabulary, size)`.
        used: numbers of the tokens in use.
        kernel: turned, `(kernel_size * padded filters, padded size)`.
        sums: of `sum_by_token`.
        tables: gradient of the embeddings, `(vocabulary, size)`; rows of tokens in use are filled.
        kernels: gradient of the kernel over the tokens of each group, `(groups, size, kernel_size * padded filters)`,
            filled.
    """
    size = table.shape[1]
    columns, padded_size = kernel.shape
    rows = np.empty((BLOCK, size), np.float32)
    found = np.empty((BLOCK, padded_size), np.float32)
    for group in taken(turns, count, share):
        kernels[group] = 0
        for block in range(group * blocks, (group + 1) * blocks):
            start = block * BLOCK
            tokens = min(BLOCK, len(used) - start)
            if tokens <= 0:
                break
            for row in range(tokens):
                rows[row] = table[used[start + row]]
            product(
                rows, 0, 1, size, sums, start * columns, columns,
                kernels, group * size * columns, columns, size, tokens, columns, True,
            )  # fmt: skip
            product(
                sums, start * columns, columns, 1, kernel, 0, padded_size,
                found, 0, padded_size, tokens, columns, padded_size, False,
            )  # fmt: skip
            for row in range(tokens):
                tables[used[start + row]] = found[row, :size]
