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

    With `groups` there are so many times the terms: each time `a_group` numbers on in `a`, and so many terms in `b`.

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
        a_group: from one group to the next; None where there is one.
        groups: at least 1; None: one.
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
    a_group: Value = None
    groups: Value = None


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
    names = ("load", "group", "loop", "next", "done")
    load, outer, loop, latch, done = (builder.append_basic_block(name) for name in names)
    builder.cbranch(block.add, load, outer)
    builder.position_at_end(load)
    old = [builder.load(place, align=4) for place in places]
    builder.branch(outer)

    zeros = ir.Constant(_VECTOR, [0.0] * _REGISTER)
    builder.position_at_end(outer)
    group = builder.phi(terms.type)
    begun = [builder.phi(_VECTOR) for _ in places]
    for source, values in ((before, [zeros] * len(places)), (load, old)):
        group.add_incoming(number(0), source)
        for phi, value in zip(begun, values, strict=True):
            phi.add_incoming(value, source)
    a, b = block.a, block.b
    if block.groups is not None:
        a = builder.gep(a, [builder.mul(group, block.a_group)])
        b = builder.gep(b, [builder.mul(group, builder.mul(terms, block.b_step))])
    builder.branch(loop)

    builder.position_at_end(loop)
    term = builder.phi(terms.type)
    term.add_incoming(number(0), outer)
    sums = [builder.phi(_VECTOR) for _ in places]
    for phi, value in zip(sums, begun, strict=True):
        phi.add_incoming(value, outer)
    right = [
        builder.load(place, align=4)
        for place in vectors(builder.gep(b, [builder.mul(term, block.b_step)]))
    ]
    column = builder.gep(a, [block.a_term(term)])
    following: list[Value] = []
    for row in block.a_rows:
        left = filled(builder, builder.load(builder.gep(column, [row]), align=4), _REGISTER)
        for factor in right:
            following.append(builder.call(fused, [left, factor, sums[len(following)]]))
    next_term = builder.add(term, number(1))
    term.add_incoming(next_term, loop)
    for phi, value in zip(sums, following, strict=True):
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", next_term, terms), loop, latch)

    builder.position_at_end(latch)
    next_group = builder.add(group, number(1))
    group.add_incoming(next_group, latch)
    for phi, value in zip(begun, following, strict=True):
        phi.add_incoming(value, latch)
    groups = number(1) if block.groups is None else block.groups
    builder.cbranch(builder.icmp_signed("<", next_group, groups), outer, done)

    builder.position_at_end(done)
    for place, value in zip(places, following, strict=True):
        builder.store(value, place, align=4)
