"""Files that are not trusted, read as what they are: plain bytes, plain JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# A history of a hundred thousand epochs has 30 MB.
LARGEST_JSON = 100_000_000
# Ours are nested six deep.
DEEPEST_JSON = 32


def read_plain(path: Path, *, largest: int | None = None, follow: bool = False) -> bytes:
    """The bytes of a plain file.

    Args:
        path: of the file.
        largest: number of bytes; None: no limit.
        follow: whether a link may lead to the file.

    Raises:
        OSError: if it is something else, too large, or cannot be read.
    """
    with open_plain(path, follow=follow) as stream:
        content = stream.read(-1 if largest is None else largest + 1)
    if largest is not None and len(content) > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes", str(path))
    return content


def open_plain(path: Path, *, follow: bool = False) -> io.BufferedReader:
    """A plain file, open for reading. A pipe would be waited for, a device may never end, a link may lead anywhere.

    Raises:
        OSError: if it is something else, or cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    try:
        stream = open(path, "rb", opener=lambda name, _: os.open(name, flags))  # noqa: SIM115
    except ValueError as error:
        raise OSError(errno.EINVAL, f"that is no name of a file: {error}", str(path)) from error
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return stream


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in a folder that other processes use, whole or not at all; the folder is made.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, staging = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(staging, path)
    except OSError:
        os.unlink(staging)
        raise


def parse_json(text: bytes) -> Any:
    """The value of a JSON text that is not trusted.

    Raises:
        ValueError: if it is no JSON, or nested so deeply that it could not be walked through or written again.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    level = [value]
    for _ in range(DEEPEST_JSON):
        level = [child for item in level for child in _children(item)]
        if not level:
            return value
    raise ValueError("it is nested too deeply")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
