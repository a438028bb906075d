"""The innermost block of a product: some rows of sums, over any number of terms, that stay in registers.

Written as vector instructions (LLVM's, of 8 or 16 numbers), since numba's own compiler loads and stores the sums at
every term. A sum has its terms in the same order whatever the block is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from llvmlite import ir

from seqconv.models.kernels.vectors import WIDE, filled, multiply_add

# Numbers in a register: AVX has 8, AVX-512 16; where registers are shorter, LLVM uses several.
_REGISTER = 16 if WIDE else 8

_VECTOR = ir.VectorType(ir.FloatType(), _REGISTER)

Value: TypeAlias = Any
"""Of LLVM: a pointer to float32, a number of numbers, or a truth value."""


@dataclass(frozen=True)
class Block:
    """`out[out_rows[r] + j] = sum over k of a[a_rows[r] + a_term(k)] * b[k * b_step + j]`, for `width` values of j.

    Attributes:
        a: pointer to float32.
        a_rows: for each row, an offset in `a`.
        a_term: the offset of a term in `a`.
        b: pointer to float32.
        b_step: from one term to the next.
        out: pointer to float32.
        out_rows: for each row, an offset in `out`.
        width: columns, a multiple of 16.
        terms: at least 1.
        add: whether the sums are added to what stands in `out`.
    """

    a: Value
    a_rows: Sequence[Value]
    a_term: Callable[[Value], Value]
    b: Value
    b_step: Value
    out: Value
    out_rows: Sequence[Value]
    width: int
    terms: Value
    add: Value


def generate(builder: Any, block: Block) -> None:
    """Write the instructions of a block; the builder ends up behind them."""
    terms = block.terms

    def number(value: int) -> Value:
        return ir.Constant(terms.type, value)

    def vectors(pointer: Value) -> list[Value]:
        starts = range(0, block.width, _REGISTER)
        places = [builder.gep(pointer, [number(start)]) for start in starts]
        return [builder.bitcast(place, _VECTOR.as_pointer()) for place in places]

    fused = multiply_add(builder, _REGISTER)
    places = [place for row in block.out_rows for place in vectors(builder.gep(block.out, [row]))]
    before = builder.block
    load, loop, done = (builder.append_basic_block(name) for name in ("load", "loop", "done"))
    builder.cbranch(block.add, load, loop)
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
        for place in vectors(builder.gep(block.b, [builder.mul(term, block.b_step)]))
    ]
    column = builder.gep(block.a, [block.a_term(term)])
    following: list[Value] = []
    for row in block.a_rows:
        left = filled(builder, builder.load(builder.gep(column, [row]), align=4), _REGISTER)
        for factor in right:
            following.append(builder.call(fused, [left, factor, sums[len(following)]]))
    next_term = builder.add(term, number(1))
    term.add_incoming(next_term, loop)
    for phi, value in zip(sums, following, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", next_term, terms), loop, done)

    builder.position_at_end(done)
    for place, value in zip(places, following, strict=True):
        builder.store(value, place, align=4)
