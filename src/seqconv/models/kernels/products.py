"""Products of small matrices in cache, at the speed of large ones.

What convolutions of a few dozen filters compute are products of which one side has 16 to 128 columns. Libraries for
large products lose most of their time there to copying into layouts of their own; loops that numba's compiler
vectorizes, to loads and stores of the sums. So the innermost block, `rows` x 16 sums over any number of terms, is
written as vector instructions (LLVM's, of 8 or 16 numbers): the sums stay in registers. After Goto and van de Geijn,
2008, "Anatomy of high-performance matrix multiplication".

All matrices are float32, given by an array and the offset of their first number, and may overlap: the windows of a
convolution are the rows of one matrix, each beginning where the step begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable

from seqconv.models.kernels.compiling import part
from seqconv.models.kernels.vectors import LANES, WIDE

# Numbers in a register: AVX has 8, AVX-512 16; where registers are shorter, LLVM uses several. A sum has its terms in
# the same order whatever the block is.
_REGISTER = 16 if WIDE else 8

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, _REGISTER)
_INT32 = ir.IntType(32)


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
            def address(place: int) -> Any:
                kind, array, start = signature.args[place], args[place], args[place + 1]
                return builder.gep(context.make_array(kind)(context, builder, array).data, [start])

            a, b, out = (address(place) for place in (0, 4, 7))
            a_row, a_step, b_step, out_row, terms, add = (args[n] for n in (2, 3, 6, 9, 10, 11))
            _generate(
                builder,
                (a, a_row, a_step, b, b_step, out, out_row, terms, add),
                rows,
                width // _REGISTER,
            )
            return context.get_dummy_value()

        return signature, generate

    return block


def _generate(builder: Any, args: Any, rows: int, count: int) -> None:
    a, a_row, a_step, b, b_step, out, out_row, terms, add = args

    def number(value: int) -> Any:
        return ir.Constant(terms.type, value)

    def vectors(pointer: Any) -> list[Any]:
        places = [builder.gep(pointer, [number(_REGISTER * index)]) for index in range(count)]
        return [builder.bitcast(place, _VECTOR.as_pointer()) for place in places]

    def spread(value: Any) -> Any:
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(undefined, value, ir.Constant(_INT32, 0))
        zeros = ir.Constant(ir.VectorType(_INT32, _REGISTER), [0] * _REGISTER)
        return builder.shuffle_vector(first, undefined, zeros)

    # One instruction where the processor has it, a product and a sum elsewhere.
    multiply_add = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(_VECTOR, [_VECTOR] * 3),
        f"llvm.fmuladd.v{_REGISTER}f32",
    )
    places = [
        place
        for row in range(rows)
        for place in vectors(builder.gep(out, [builder.mul(out_row, number(row))]))
    ]
    before = builder.block
    load, loop, done = (builder.append_basic_block(name) for name in ("load", "loop", "done"))
    builder.cbranch(add, load, loop)
    builder.position_at_end(load)
    old = [builder.load(place, align=4) for place in places]
    builder.branch(loop)

    builder.position_at_end(loop)
    term = builder.phi(terms.type)
    for source in (before, load):
        term.add_incoming(number(0), source)
    sums = []
    for value in old:
        phi = builder.phi(_VECTOR)
        phi.add_incoming(ir.Constant(_VECTOR, [0.0] * _REGISTER), before)
        phi.add_incoming(value, load)
        sums.append(phi)
    right = [
        builder.load(place, align=4)
        for place in vectors(builder.gep(b, [builder.mul(term, b_step)]))
    ]
    column = builder.gep(a, [builder.mul(term, a_step)])
    following = []
    for row in range(rows):
        left = builder.load(builder.gep(column, [builder.mul(a_row, number(row))]), align=4)
        for index, factor in enumerate(right):
            old_sum = sums[count * row + index]
            following.append(builder.call(multiply_add, [spread(left), factor, old_sum]))
    next_term = builder.add(term, number(1))
    term.add_incoming(next_term, loop)
    for phi, value in zip(sums, following, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", next_term, terms), loop, done)

    builder.position_at_end(done)
    for place, value in zip(places, following, strict=True):
        builder.store(value, place, align=4)


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
    """With zeros behind each row, up to the columns that `product` wants."""
    found = np.zeros((len(matrix), padded(matrix.shape[1])), np.float32)
    found[:, : matrix.shape[1]] = matrix
    return found
