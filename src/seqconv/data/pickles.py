"""Object arrays of lists of integers out of an npz file, as Keras distributes reviews: pickled.

A pickle can name any function to call. Here the three names that rebuild a numpy array are known, and stand-ins are
given for them: a real array takes bytes for addresses if the state of a hostile one says so.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.config.errors import DataError
from seqconv.data.archives import DAMAGED_ARCHIVE, largest_unpacked
from seqconv.data.arrays import plain_array, read_header


class _State:
    """Stands in for an array or its type, and keeps what the pickle says of it."""

    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        """Whatever the pickle gives."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_State]:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _State


def read_npz(content: bytes, names: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Arrays of an npz file; object arrays may hold nothing but lists of integers.

    Args:
        content: of the file.
        names: arrays that must be there; others are not read.
        path: for messages.

    Raises:
        DataError: if the file is no npz, lacks an array, or asks for anything but arrays.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = archive.namelist()
            missing = [name for name in names if f"{name}.npy" not in found]
            if missing:
                raise DataError(
                    f"{path}: no array `{'`, `'.join(missing)}` in it; found {found[:8]}"
                )
            if sum(member.file_size for member in archive.infolist()) > largest_unpacked(
                len(content)
            ):
                raise DataError(f"{path}: unpacks to more than a file of its size can hold")
            return {name: _read_array(archive.read(f"{name}.npy"), name, path) for name in names}
    except DAMAGED_ARCHIVE as error:
        raise DataError(f"{path}: not an npz file, truncated or damaged ({error})") from error


def _read_array(content: bytes, name: str, path: Path) -> np.ndarray:
    stream = io.BytesIO(content)
    try:
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            return plain_array(content)
        # The last part of an array's state is the list of its objects.
        items = _ArrayUnpickler(stream).load().state[-1]
    # A pickle is a program: whatever it ends with, it is the file that is wrong.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: `{name}` cannot be read safely ({reason})") from error
    if type(items) is not list or shape != (len(items),):
        raise DataError(f"{path}: `{name}` must be a list of reviews; received something else")
    for row, item in enumerate(items):
        if type(item) is not list or not all(type(token) is int for token in item):
            raise DataError(f"{path}: `{name}`, row {row}: must be a list of integers")
    array = np.empty(len(items), object)
    array[:] = items
    return array
