"""Parameters of tests of which one is enough by default."""

from __future__ import annotations

from typing import Any

import pytest


def variants(first: Any, *others: Any) -> list[Any]:
    """The first by default; the others too in `make test-all`."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]
