"""Products of small matrices in cache, at the speed of large ones.

What convolutions of a few dozen filters compute are products of which one side has 16 to 128 columns. Libraries for
large products lose most of their time there to copying into layouts of their own. So `rows` x 16 or 32 sums at once
stay in registers (`blocks`). After Goto and van de Geijn, 2008, "Anatomy of high-performance matrix multiplication".

All matrices are float32, given by an array and the offset of their first number, and may overlap: the windows of a
convolution are the rows of one matrix, each beginning where the step begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

from seqconv.models.kernels.blocks import Block
from seqconv.models.kernels.blocks import generate as generate_block
from seqconv.models.kernels.compiling import part
from seqconv.models.kernels.vectors import LANES, WIDE


def _block(rows: int, width: int) -> Any:
    """A function for `out[r, :width] = sum over k of a[r * a_row + k * a_step] * b[k * b_step + (0..width-1)]`.

    For `rows` rows. Arrays are contiguous, and begin at `a_start`, `b_start` and `out_start`. With `add`, the sums are
    added to what stands in `out`.
    """

    @intrinsic
    def block(
        typingctx: Any,
        a: Any,
        a_start: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b_start: Any,
        b_step: Any,
        out: Any,
        out_start: Any,
        out_row: Any,
        terms: Any,
        add: Any,
    ) -> Any:
        size = types.intp
        signature = types.void(
            a, size, size, size, b, size, size, out, size, size, size, types.boolean
        )

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def pointer(place: int) -> Any:
                kind, array, start = signature.args[place], args[place], args[place + 1]
                return builder.gep(context.make_array(kind)(context, builder, array).data, [start])

            def times_rows(stride: Any) -> list[Any]:
                return [builder.mul(stride, ir.Constant(stride.type, row)) for row in range(rows)]

            a, b, out = (pointer(place) for place in (0, 4, 7))
            a_row, a_step, b_step, out_row, terms, add = (args[n] for n in (2, 3, 6, 9, 10, 11))
            sums = Block(
                a=a,
                a_rows=times_rows(a_row),
                a_term=lambda term: builder.mul(term, a_step),
                b=b,
                b_step=b_step,
                out=out,
                out_rows=times_rows(out_row),
                width=width,
                terms=terms,
                add=add,
            )
            generate_block(builder, sums)
            return context.get_dummy_value()

        return signature, generate

    return block


def _panel(width: int, most: int) -> Any:
    """A function for the product of any number of rows with `width` columns, `most` rows at a time."""
    block_of_most, block_of_4, block_of_2, block_of_1 = (
        _block(rows, width) for rows in (most, 4, 2, 1)
    )

    @part
    def panel(  # type: ignore[no-untyped-def]
        a, a_start, a_row, a_step, b, b_start, b_row, out, out_start, out_row, rows, terms, add
    ):
        row = 0
        while row + most <= rows:
            block_of_most(
                a, a_start + row * a_row, a_row, a_step, b, b_start, b_row,
                out, out_start + row * out_row, out_row, terms, add,
            )  # fmt: skip
            row += most
        while row + 4 <= rows:
            block_of_4(
                a, a_start + row * a_row, a_row, a_step, b, b_start, b_row,
                out, out_start + row * out_row, out_row, terms, add,
            )  # fmt: skip
            row += 4
        if row + 2 <= rows:
            block_of_2(
                a, a_start + row * a_row, a_row, a_step, b, b_start, b_row,
                out, out_start + row * out_row, out_row, terms, add,
            )  # fmt: skip
            row += 2
        if row < rows:
            block_of_1(
                a, a_start + row * a_row, a_row, a_step, b, b_start, b_row,
                out, out_start + row * out_row, out_row, terms, add,
            )  # fmt: skip

    return panel


# Sums under way hide how long one takes: so many fill the registers.
_panel_of_16 = _panel(LANES, 16 if WIDE else 4)
_panel_of_32 = _panel(2 * LANES, 12)


@part
def product(  # type: ignore[no-untyped-def]
    a, a_start, a_row, a_step, b, b_start, b_row, out, out_start, out_row, rows, terms, columns, add
):
    """A matrix product, `out = a @ b`, or with `add` `out += a @ b`.

    Args:
        a: contiguous array that holds `(rows, terms)`, its numbers `a_row` and `a_step` apart.
        a_start: offset of the first one.
        a_row: from one row to the next.
        a_step: from one term to the next.
        b: contiguous array that holds `(terms, columns)`.
        b_start: offset of its first number.
        b_row: from one row to the next.
        out: contiguous array that holds `(rows, columns)`.
        out_start: offset of its first number.
        out_row: from one row to the next.
        rows: any number.
        terms: at least 1.
        columns: a multiple of 16.
        add: whether to add to what stands there.
    """
    j = 0
    if WIDE:
        while j + 2 * LANES <= columns:
            _panel_of_32(
                a, a_start, a_row, a_step, b, b_start + j, b_row,
                out, out_start + j, out_row, rows, terms, add,
            )  # fmt: skip
            j += 2 * LANES
    while j < columns:
        _panel_of_16(
            a, a_start, a_row, a_step, b, b_start + j, b_row,
            out, out_start + j, out_row, rows, terms, add,
        )  # fmt: skip
        j += LANES


@register_jitable
def padded(columns: int) -> int:
    """The next multiple of 16."""
    return -(-columns // LANES) * LANES


def padded_columns(matrix: np.ndarray) -> np.ndarray:
    """With zeros behind each row, up to the columns that `product` wants; no copy, if it has as many."""
    if matrix.shape[1] % LANES == 0:
        return np.ascontiguousarray(matrix)
    found = np.zeros((len(matrix), padded(matrix.shape[1])), np.float32)
    found[:, : matrix.shape[1]] = matrix
    return found
