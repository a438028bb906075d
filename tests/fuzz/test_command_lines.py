"""Whatever stands on a command line: it can start, or it is refused with exit code 2; nothing else happens."""

from __future__ import annotations

from examples import EXAMPLES, try_all
from words import is_refused_or_may_start, lines


@EXAMPLES
def test_a_command_line(examples: int, answered):
    def check(words: list[str]) -> None:
        if any(word.startswith("-") for word in words):
            words = ["--", *words]
        is_refused_or_may_start(*answered(words))

    try_all(examples, check, lines())
