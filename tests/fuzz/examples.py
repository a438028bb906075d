"""How many examples a fuzz test tries, and bytes that are nearly right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqconv.config.errors import SeqconvError

# A few in every run of the tests, the number in `make test-all`.
EXAMPLES = pytest.mark.parametrize("examples", [15, pytest.param(2000, marks=pytest.mark.slow)])


def try_all(examples: int, check: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Call `check` with so many examples, the same ones in every run; no limit of time."""
    few = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    few(given(*strategies)(check))()


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with one to four changes: a bit turned, a piece cut out, put in, doubled, moved or overwritten."""
    places = st.integers(0, len(content))

    def apply(changes: list[tuple[str, int, int, bytes]]) -> bytes:
        result = bytearray(content)
        for kind, first, second, piece in changes:
            low, high = sorted((min(first, len(result)), min(second, len(result))))
            if kind == "turn" and low < len(result):
                result[low] ^= 1 << (second % 8)
            elif kind == "cut":
                del result[low:high]
            elif kind == "end":
                del result[low:]
            elif kind == "put in":
                result[low:low] = piece
            elif kind == "over":
                result[low : low + len(piece)] = piece
            elif kind == "double":
                result[high:high] = result[low : min(high, low + 2000)]
            elif kind == "move":
                moved = result[low:high]
                del result[low:high]
                result[:0] = moved
        return bytes(result)

    kinds = st.sampled_from(["turn", "turn", "cut", "end", "put in", "over", "double", "move"])
    odd = st.sampled_from(
        [b"\0" * 8, b"\xff" * 8, b"\x7f\xff\xff\xff", b'"', b"\n", b",", b"[" * 2000]
    )
    changes = st.tuples(kinds, places, places, st.binary(max_size=12) | odd)
    return st.lists(changes, min_size=1, max_size=4).map(apply)


def outcome(read: Callable[[], Any]) -> tuple[Any, SeqconvError | None]:
    """What was read, or the error that a user would see; any other exception goes through."""
    try:
        return read(), None
    except SeqconvError as error:
        return None, error
