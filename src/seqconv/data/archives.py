"""The bytes of a data file, packed or not."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path

from seqconv.config.errors import FileError
from seqconv.data.files import open_plain

# The whole Jena record unpacks to 43 MB. More than this from one archive is an attack or a mistake.
LARGEST_UNPACKED = 4 * 2**30
# Tables and texts are packed to a tenth. What is packed to less than this is a bomb, unless it is small.
LARGEST_RATIO = 200
SMALL_UNPACKED = 64 * 2**20
# What a gzip file begins with.
GZIP = b"\x1f\x8b"
# What zipfile and the decompressors behind it raise for a file that is cut off, changed or no archive.
DAMAGED_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def open_file(path: Path) -> io.BufferedReader:
    """A plain file, open for reading; a link may lead to it.

    Raises:
        FileError: if it is missing, a folder, a pipe, a device, unreadable or empty.
    """
    try:
        stream = open_plain(path, follow=True)
    except FileNotFoundError:
        raise FileError(f"{path}: no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    if not stream.peek(1):
        stream.close()
        raise FileError(f"{path}: the file is empty")
    return stream


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        FileError: as `open_file`.
    """
    with open_file(path) as stream:
        return stream.read()


def is_packed(start: bytes) -> bool:
    """Whether a file that begins so is an archive.

    A header may start with PK; the byte after it in a zip file is no letter.
    """
    zipped = start[:2] == b"PK" and start[2:3] in (b"", b"\x03", b"\x05")
    return zipped or start.startswith(GZIP)


def unpack(content: bytes, path: Path) -> bytes:
    """The CSV inside; recognized by the first bytes, not by the name.

    Raises:
        FileError: if the archive is truncated, damaged, too large, or holds other than one file.
    """
    if not is_packed(content[:4]):
        return content
    return (_gunzip if content.startswith(GZIP) else _unzip)(content, path)


def _gunzip(content: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            unpacked = stream.read(largest_unpacked(len(content)) + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise FileError(f"{path}: the gzip file is truncated or damaged ({error})") from error
    if len(unpacked) > largest_unpacked(len(content)):
        raise FileError(f"{path}: unpacks to more than {largest_unpacked(len(content)):,} bytes")
    return unpacked


def largest_unpacked(packed: int) -> int:
    """Bytes that an archive of so many bytes may unpack to."""
    return min(LARGEST_UNPACKED, max(SMALL_UNPACKED, LARGEST_RATIO * packed))


def _unzip(content: bytes, path: Path) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            # macOS adds a folder of its own to what it packs; the original Jena archive has one.
            members = [
                member
                for member in archive.infolist()
                if not member.is_dir() and not member.filename.startswith("__MACOSX/")
            ]
            if len(members) != 1:
                raise FileError(f"{path}: the zip file must hold one CSV file, not {len(members)}")
            if members[0].file_size > largest_unpacked(len(content)):
                raise FileError(
                    f"{path}: unpacks to more than {largest_unpacked(len(content)):,} bytes"
                )
            return archive.read(members[0])
    except DAMAGED_ARCHIVE as error:
        raise FileError(f"{path}: the zip file is truncated or damaged ({error})") from error
