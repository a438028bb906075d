"""How threads share out the parts of a kernel's work: each takes the next one when it has done its own."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from seqconv.models.kernels.compiling import part


@intrinsic
def _next(typing: Any, turns: Any) -> Any:
    """The int64 at an address, which is one more afterwards; no two threads get the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(64)
        place = builder.inttoptr(arguments[0], number.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(number, 1), "monotonic")

    return types.int64(types.intp), generate


@part
def taken(turns, count, share):  # type: ignore[no-untyped-def]
    """Numbers below `count`, `share` neighbouring ones at a time, that no other thread has taken.

    Args:
        turns: the address of an int64 that the threads share, zero to begin with. Not an array: numba's generators
            never give back the arrays they were given.
        count: how much there is to do.
        share: of a thread at once.
    """
    while True:
        first = _next(turns) * share
        if first >= count:
            return
        # numba compiles no `yield from`.
        for number in range(first, min(first + share, count)):  # noqa: UP028
            yield number
