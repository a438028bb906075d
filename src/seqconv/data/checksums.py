"""Checksums of files, remembered as long as the files stay as they are: a large one is not read only to be recognized.

As git does for its index, a file is taken for unchanged while size, inode and the times of its last change are the
same. The time of the inode's change (ctime) is among them, which no program can set back. A file that changed a moment
ago is not remembered: it may change once more within the clock's grain.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from io import BufferedReader
from pathlib import Path

from seqconv.config.errors import DataError
from seqconv.data.cache import CHECKSUMS, cache_folder
from seqconv.data.files import parse_json, read_plain, write_whole

# Less is read as fast as looked up.
SMALL_BYTES = 1_000_000
SETTLED_SECONDS = 2


def file_checksum(stream: BufferedReader) -> str:
    """sha256 of an open file, which is not loaded into memory."""
    metadata = _metadata(stream)
    if metadata["size"] < SMALL_BYTES:
        return _digest(stream)
    path = _path(metadata)
    if path is not None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            kept = parse_json(read_plain(path, largest=1000))
            found = str(kept["sha256"])
            whole = len(bytes.fromhex(found)) == hashlib.sha256().digest_size
            if whole and kept == {**metadata, "sha256": found}:
                return found
    found = _digest(stream)
    newest = max(metadata["mtime_ns"], metadata["ctime_ns"])
    settled = time.time_ns() - newest > SETTLED_SECONDS * 10**9
    if path is not None and settled and _metadata(stream) == metadata:
        with contextlib.suppress(OSError):
            write_whole(path, json.dumps({**metadata, "sha256": found}).encode())
    return found


def _digest(stream: BufferedReader) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _metadata(stream: BufferedReader) -> dict[str, int]:
    found = os.fstat(stream.fileno())
    return {
        "device": found.st_dev,
        "inode": found.st_ino,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def _path(metadata: dict[str, int]) -> Path | None:
    try:
        return cache_folder() / CHECKSUMS / f"{metadata['device']}-{metadata['inode']}.json"
    except DataError:
        return None
