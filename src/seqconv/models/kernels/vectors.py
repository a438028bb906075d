"""Vectors of 16 numbers as a type of numba: what LLVM's own vectorizer would keep in memory stays in registers.

In a kernel a `Lanes` is a value like any other, with `+`, `-`, `*` and `/`. Arrays are given by the address of their
first number and an index.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 16
"""Numbers in a vector. Vectors of LLVM: two registers with AVX2, one with AVX-512, four with NEON."""
WIDE = bool(
    get_host_cpu_features().get("avx512f", False)
)  # those that it lacks are there, too, as False
"""Whether the processor has AVX-512: 32 registers, and each has room for a vector."""

Array: TypeAlias = Any
"""The address of a flat float32 array: a number costs numba nothing, where an array is counted and has seven fields."""
Vector: TypeAlias = Any

_FLOAT, _INT, _BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
_VECTOR = ir.VectorType(_FLOAT, LANES)


class Lanes(types.Type):
    """16 float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


_lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def pointer(builder: Any, address: Any, index: Any, kind: Any = _FLOAT) -> Any:
    """LLVM's pointer to the number, or the vector, that begins at an index."""
    number = builder.gep(builder.inttoptr(address, _FLOAT.as_pointer()), [index])
    return number if kind is _FLOAT else builder.bitcast(number, kind.as_pointer())


def filled(builder: Any, value: Any, lanes: int = LANES) -> Any:
    """LLVM's vector of so many times a number."""
    nothing = ir.Constant(ir.VectorType(_FLOAT, lanes), ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(
        one, nothing, ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes)
    )


def multiply_add(builder: Any, lanes: int = LANES) -> Any:
    """LLVM's function for `a * b + c`: one instruction where the processor has it, a product and a sum elsewhere."""
    kind = ir.VectorType(_FLOAT, lanes)
    name = f"llvm.fmuladd.v{lanes}f32"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """The vector that begins at an index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, index = arguments
        return builder.load(pointer(builder, address, index, _VECTOR), align=4)

    return _lanes(types.intp, types.intp), generate


@intrinsic
def store(typing: Any, vector: Any, array: Any, index: Any) -> Any:
    """Write a vector from an index on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, address, index = arguments
        builder.store(vector, pointer(builder, address, index, _VECTOR), align=4)
        return context.get_dummy_value()

    return types.void(_lanes, types.intp, types.intp), generate


@intrinsic
def stream(typing: Any, vector: Any, array: Any, index: Any) -> Any:
    """Write a vector from an index on past the cache, since it is read when much else has been; see `streamed`.

    The address must be a multiple of 64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, address, index = arguments
        stored = builder.store(vector, pointer(builder, address, index, _VECTOR), align=64)
        once = builder.module.add_metadata([ir.Constant(_INT, 1)])
        stored.set_metadata("nontemporal", once)
        return context.get_dummy_value()

    return types.void(_lanes, types.intp, types.intp), generate


@intrinsic
def streamed(typing: Any) -> Any:
    """Wait until what was written by `stream` is there for all threads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def spread(typing: Any, array: Any, index: Any) -> Any:
    """One number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, index = arguments
        return filled(builder, builder.load(pointer(builder, address, index), align=4))

    return _lanes(types.intp, types.intp), generate


@intrinsic
def copy_number(typing: Any, source: Any, s: Any, target: Any, t: Any) -> Any:
    """Copy one number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, s, target, t = arguments
        value = builder.load(pointer(builder, source, s), align=4)
        builder.store(value, pointer(builder, target, t), align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def constant(typing: Any, number: Any) -> Any:
    """A number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = context.cast(builder, arguments[0], signature.args[0], types.float32)
        return filled(builder, value)

    return _lanes(number), generate


@intrinsic
def add_product(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, in one operation where the processor has it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.call(multiply_add(builder), arguments)

    return _lanes(_lanes, _lanes, _lanes), generate


@intrinsic
def limited(typing: Any, value: Any, bound: Any) -> Any:
    """Values between `-bound` and `bound`; what is no number stays none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, high = arguments
        low = builder.fsub(ir.Constant(_VECTOR, [-0.0] * LANES), high)
        value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
        return builder.select(builder.fcmp_ordered(">", value, high), high, value)

    return _lanes(_lanes, _lanes), generate


@intrinsic
def where(typing: Any, condition: Any, value: Any, other: Any) -> Any:
    """`value` where the condition is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        condition, value, other = arguments
        zeros = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_unordered("!=", condition, zeros), value, other)

    return _lanes(_lanes, _lanes, _lanes), generate


@intrinsic
def load_small(typing: Any, array: Any, index: Any) -> Any:
    """The vector of 16 int8 numbers that begin at an index of an int8 array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers = builder.load(_small(builder, *arguments), align=1)
        return builder.sitofp(numbers, _VECTOR)

    return _lanes(types.intp, types.intp), generate


@intrinsic
def store_small(typing: Any, vector: Any, array: Any, index: Any) -> Any:
    """Write a vector of whole numbers from -128 to 127 from an index of an int8 array on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, address, index = arguments
        numbers = builder.fptosi(vector, ir.VectorType(_BYTE, LANES))
        builder.store(numbers, _small(builder, address, index), align=1)
        return context.get_dummy_value()

    return types.void(_lanes, types.intp, types.intp), generate


def _small(builder: Any, address: Any, index: Any) -> Any:
    number = builder.gep(builder.inttoptr(address, _BYTE.as_pointer()), [index])
    return builder.bitcast(number, ir.VectorType(_BYTE, LANES).as_pointer())


@intrinsic
def where_larger(typing: Any, value: Any, bound: Any, yes: Any, no: Any) -> Any:
    """`yes` where the value is larger than the bound, or no number; else `no`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, bound, yes, no = arguments
        larger = builder.fcmp_ordered(">", value, bound)
        larger = builder.or_(larger, builder.fcmp_unordered("uno", value, value))
        return builder.select(larger, yes, no)

    return _lanes(_lanes, _lanes, _lanes, _lanes), generate


def _where_ordered(comparison: str) -> Any:
    """A function for `yes` where two values compare so; else, and where one is no number, `no`."""

    @intrinsic
    def chosen(typing: Any, value: Any, other: Any, yes: Any, no: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value, other, yes, no = arguments
            return builder.select(builder.fcmp_ordered(comparison, value, other), yes, no)

        return _lanes(_lanes, _lanes, _lanes, _lanes), generate

    return chosen


where_above, where_equal = _where_ordered(">"), _where_ordered("==")


@intrinsic
def transpose_part(
    typing: Any, source: Any, s: Any, s_stride: Any, target: Any, t: Any, t_stride: Any
) -> Any:
    """Turn 8 rows of 8 numbers. With AVX a shuffle is one instruction, and all rows have room in its registers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = LANES // 2
        half = ir.VectorType(_FLOAT, size)

        def pointers(array: Any, first: Any, stride: Any) -> list[Any]:
            steps = [builder.mul(stride, ir.Constant(stride.type, row)) for row in range(size)]
            places = [builder.add(first, step) for step in steps]
            return [pointer(builder, array, place, half) for place in places]

        rows = [builder.load(p, align=4) for p in pointers(*arguments[:3])]
        # Pairs of rows that are 1, 2 and 4 apart exchange blocks of so many numbers.
        for distance in (1, 2, 4):
            turned = list(rows)
            for i in range(size):
                if not i & distance:
                    for place, shift in ((i, 0), (i + distance, distance)):
                        lanes = [
                            (lane & ~distance) + shift + (size if lane & distance else 0)
                            for lane in range(size)
                        ]
                        mask = ir.Constant(ir.VectorType(_INT, size), lanes)
                        turned[place] = builder.shuffle_vector(rows[i], rows[i + distance], mask)
            rows = turned
        for row, place in zip(rows, pointers(*arguments[3:]), strict=True):
            builder.store(row, place, align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


def _define(operation: Callable[..., Any], instruction: str) -> None:
    @type_callable(operation)
    def kind(context: Any) -> Callable[[Any, Any], Any]:
        def of(left: Any, right: Any) -> Any:
            both = isinstance(left, Lanes) and isinstance(right, Lanes)
            return _lanes if both else None

        return of

    @lower_builtin(operation, Lanes, Lanes)
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")
