"""Arrays out of npz files that are not trusted: without pickle, and never larger than the file they stand in."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from seqconv.data.archives import DAMAGED_ARCHIVE

# Of a header that only Python 2 could have written; it is no news to a user. For good, and not around the reading: what
# is ignored is a setting of the process, and another thread may be importing TensorFlow.
warnings.filterwarnings("ignore", message="Reading `.npy` or `.npz` file required additional")

HEADERS: dict[tuple[int, int], Callable[[Any], tuple[tuple[int, ...], bool, np.dtype]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and type that the header of an npy file states.

    Raises:
        ValueError: if there is no such header.
    """
    try:
        return HEADERS[np.lib.format.read_magic(stream)](stream)
    # It is read as Python's literals are: whatever that ends with, it is the file that is wrong.
    except Exception as error:
        raise ValueError(f"its header cannot be read ({error})") from error


def plain_array(content: bytes) -> np.ndarray:
    """The array of an npy file.

    numpy itself makes room for what the header says before it looks at what follows.

    Raises:
        ValueError: if it holds objects, or other than as many bytes as its header says.
    """
    stream = io.BytesIO(content)
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds objects")
    first, count = stream.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError(f"there is no array of shape {shape} and type {dtype}")
    if count * dtype.itemsize != len(content) - first:
        raise ValueError(
            f"an array of shape {shape} and type {dtype} has {count * dtype.itemsize:,} bytes; "
            f"received {len(content) - first:,}"
        )
    flat = np.frombuffer(content, dtype, offset=first) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """All arrays of an npz file as `numpy.savez` writes it.

    Raises:
        ValueError: if it is damaged, compressed, states more than it holds, or holds anything but arrays.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            # Ours are stored as they are; a compressed one, or one that many names share, could fill the memory.
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("it is compressed")
            if sum(member.file_size for member in members) > len(content):
                raise ValueError("it states more than it holds")
            for member in members:
                name = member.filename.removesuffix(".npy")
                if name == member.filename or name in arrays:
                    raise ValueError(f"`{member.filename[:40]}` is no array, or stands there twice")
                arrays[name] = plain_array(archive.read(member))
    except DAMAGED_ARCHIVE as error:
        raise ValueError(str(error)) from error
    return arrays
