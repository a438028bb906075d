"""Arrays that took long to make, kept in the cache: complete, verified, without pickle, or absent."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.arrays import read_arrays
from seqconv.data.cache import PREPARED, cache_folder
from seqconv.data.files import read_plain, write_whole


class Store:
    """One set of named arrays in the cache.

    It only saves time: whatever is wrong with it, the arrays are made again, and a cache that cannot be written is
    no error.

    Args:
        kind: what the arrays are, such as `ridge`.
        form: of the code that makes them; to be raised when it gives other numbers.
        settings: what else they depend on, as JSON; large things by a checksum.
    """

    def __init__(self, kind: str, form: int, settings: Mapping[str, Any]):
        key = json.dumps({"form": form, **settings}, sort_keys=True)
        name = f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
        try:
            self.path: Path | None = cache_folder() / PREPARED / name
        except DataError:
            self.path = None

    def load(self) -> dict[str, np.ndarray] | None:
        """The arrays, or None where there are none that can be trusted."""
        if self.path is None:
            return None
        try:
            content = read_plain(self.path, follow=True)
            checksum, body = content[:64], content[64:]
            if hashlib.sha256(body).hexdigest().encode() != checksum:
                return None
            return read_arrays(body)
        except (OSError, ValueError, MemoryError):
            return None

    def save(self, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays for the next time."""
        if self.path is None:
            return
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        body = buffer.getvalue()
        with contextlib.suppress(OSError):
            write_whole(self.path, hashlib.sha256(body).hexdigest().encode() + body)
