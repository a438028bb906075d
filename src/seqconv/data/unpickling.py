"""Object arrays of lists of integers out of an npz file, without running what a hostile one asks for.

Keras distributes reviews as pickled object arrays. A pickle can name any function to call; this reader knows
the three names that rebuild a numpy array, and refuses everything else. (Keras 3.13 reads them so too.)
"""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seqconv.data.reading import LARGEST_UNPACKED
from seqconv.errors import DataError

ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Admits numpy's array reconstruction and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        # numpy.core was renamed; the old name warns.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


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
            return {name: _read_member(archive, name, path) for name in names}
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: not an npz file, truncated or damaged ({error})") from error


def _read_member(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > LARGEST_UNPACKED:
        raise DataError(f"{path}: `{name}` unpacks to more than {LARGEST_UNPACKED >> 30} GiB")
    stream = io.BytesIO(archive.read(member))
    try:
        version = np.lib.format.read_magic(stream)
        read_header: Callable[..., Any] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
        array = _ArrayUnpickler(stream).load()
    except DataError:
        raise
    # A pickle is a program: whatever it ends with, it is the file that is wrong.
    except Exception as error:
        raise DataError(f"{path}: `{name}` cannot be read safely ({error})") from error
    if not isinstance(array, np.ndarray) or array.shape != shape or array.ndim != 1:
        raise DataError(
            f"{path}: `{name}` must be a list of reviews; received {type(array).__name__}"
        )
    return _checked(array, name, member.file_size, path)


def _checked(array: np.ndarray, name: str, size: int, path: Path) -> np.ndarray:
    """Refuse what is no list of integers, and more integers than the file can have room for."""
    total = 0
    for row, item in enumerate(array):
        if type(item) is not list or not all(type(token) is int for token in item):
            raise DataError(f"{path}: `{name}`, row {row}: must be a list of integers")
        total += len(item)
        # One list may stand in many rows of a pickle and take its room but once.
        if total > size:
            raise DataError(f"{path}: `{name}` holds more numbers than a file of its size can")
    return array
