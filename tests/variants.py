"""Parameters of tests of which one is enough by default."""

from __future__ import annotations

from typing import Any

import pytest


def variants(*values: Any, usual: int = 1) -> list[Any]:
    """The first ones by default; the others too in `make test-all`."""
    others = (pytest.param(value, marks=pytest.mark.slow) for value in values[usual:])
    return [*values[:usual], *others]
