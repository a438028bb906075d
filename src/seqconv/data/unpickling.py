"""Object arrays of lists of integers out of an npz file, without running what a hostile one asks for.

Keras distributes reviews as pickled object arrays. A pickle can name any function to call; this reader knows
the names that rebuild a numpy array, gives stand-ins of its own for them, and refuses everything else.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.data.arrays import plain_array, read_header
from seqconv.data.reading import DAMAGED_ARCHIVE, largest_unpacked
from seqconv.errors import DataError

# A list of small numbers takes 8 bytes in memory for 2 in a pickle, an empty list 64 for 1.
MEMORY_RATIO = 64
SPARE_MEMORY = 128 * 2**20


class _ObjectArray:
    """Stands in for the numpy array that a pickle asks for; it takes a list of items and nothing else.

    A real `numpy.ndarray` believes what a pickle says of its memory: the state of a hostile one makes it read
    bytes as addresses, and the process ends.
    """

    def __init__(self) -> None:
        self.shape: Any = None
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        _, self.shape, dtype, _, items = state
        if not isinstance(dtype, _ObjectType) or type(items) is not list:
            raise pickle.UnpicklingError("it holds something else than a list of objects")
        self.items = items


class _ObjectType:
    """Stands in for numpy's type of objects; what a pickle says of its byte order does not matter."""

    def __setstate__(self, state: Any) -> None:
        """Nothing to keep."""


def _new_array(kind: Any, shape: Any, code: Any) -> _ObjectArray:
    return _ObjectArray()


def _new_type(name: Any, align: Any = False, copy: Any = True) -> _ObjectType:
    if name not in ("O", "O8"):
        raise pickle.UnpicklingError(f"it holds a type {str(name)[:20]!r} instead of lists")
    return _ObjectType()


ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "the class of arrays, which is only named",
    ("numpy", "dtype"): _new_type,
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names that rebuild an array of objects, and gives stand-ins for them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ALLOWED[module, name]


def read_npz(content: bytes, names: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Arrays of an npz file; object arrays may hold nothing but lists of integers.

    Args:
        content: of the file.
        names: arrays that must be there; others are not read.
        path: for messages.

    Raises:
        DataError: if the file is no npz, lacks an array, or asks for anything but arrays of numbers.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise DataError(
                    f"{path}: no array `{'`, `'.join(missing)}` in it; found {archive.namelist()[:8]}"
                )
            largest = largest_unpacked(len(content))
            return {name: _read_member(archive, name, path, largest) for name in names}
    except DAMAGED_ARCHIVE as error:
        raise DataError(f"{path}: not an npz file, truncated or damaged ({error})") from error


def _read_member(archive: zipfile.ZipFile, name: str, path: Path, largest: int) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > largest:
        raise DataError(f"{path}: `{name}` unpacks to more than {largest:,} bytes")
    stream = io.BytesIO(archive.read(member))
    try:
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            return plain_array(stream.getvalue())
        with _limited_memory(SPARE_MEMORY + MEMORY_RATIO * member.file_size):
            loaded = _ArrayUnpickler(stream).load()
    except DataError:
        raise
    # A pickle is a program: whatever it ends with, it is the file that is wrong.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: `{name}` cannot be read safely ({reason})") from error
    if not isinstance(loaded, _ObjectArray) or not shape == loaded.shape == (len(loaded.items),):
        raise DataError(f"{path}: `{name}` must be a list of reviews; received something else")
    return _checked(loaded.items, name, member.file_size, path)


@contextlib.contextmanager
def _limited_memory(more: int) -> Iterator[None]:
    """Let this process take so many bytes more and no more: five bytes of a pickle can ask for 34 GB.

    Where the system does not tell what is used (other than Linux), nothing is limited.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [pages * resource.getpagesize() + more, soft, hard]
    limit = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _checked(items: list[Any], name: str, size: int, path: Path) -> np.ndarray:
    """Refuse what is no list of integers, and more integers than the file can have room for."""
    total = 0
    for row, item in enumerate(items):
        if type(item) is not list or not all(type(token) is int for token in item):
            raise DataError(f"{path}: `{name}`, row {row}: must be a list of integers")
        total += len(item)
        # One list may stand in many rows of a pickle and take its room but once.
        if total > size:
            raise DataError(f"{path}: `{name}` holds more numbers than a file of its size can")
    array = np.empty(len(items), object)
    array[:] = items
    return array
