"""How threads share out the parts of a kernel's work: each takes the next one when it has done its own."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from seqconv.models.kernels.compiling import part


@intrinsic
def _next(typing: Any, turns: Any) -> Any:
    """The number in `turns`, an array of one int64, which is one more afterwards; no two threads get the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        place = context.make_array(kind)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(turns), generate


@part
def taken(turns, count, share):  # type: ignore[no-untyped-def]
    """Numbers below `count`, `share` neighbouring ones at a time, that no other thread has taken.

    Args:
        turns: an array of one int64, shared by the threads and zero to begin with.
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
