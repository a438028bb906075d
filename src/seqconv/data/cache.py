"""The folder of downloaded data: complete, verified files, or nothing.

A file gets its name in the cache only after it was checked; its checksum is kept beside it at that moment and
compared at every later use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seqconv.config.errors import DataError


@dataclass(frozen=True)
class Remote:
    """A file on the web.

    Attributes:
        url: where it is; HTTPS.
        filename: its name in the cache.
        size: bytes, where known.
        sha256: checksum, where known; else the one first seen is pinned in the cache.
    """

    url: str
    filename: str
    size: int | None = None
    sha256: str | None = None


def cache_folder() -> Path:
    """`SEQCONV_DATA_DIR`, else the platform's folder for caches.

    Raises:
        DataError: if there is neither: a user without a home directory, as in some containers.
    """
    chosen = os.environ.get("SEQCONV_DATA_DIR")
    if chosen:
        return Path(os.path.expanduser(chosen))
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("seqconv"))
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():
        # Older versions of platformdirs leave `~` as it is: a folder of that name where the run was started.
        raise DataError(
            "there is no home directory for the data cache; set SEQCONV_DATA_DIR to a folder that can be written"
        )
    return folder


def cached(remote: Remote) -> Path | None:
    """The verified file in the cache, or None where there is none.

    Raises:
        DataError: if it is there, but is not what was downloaded.
    """
    path = cache_folder() / remote.filename
    try:
        if not path.exists():
            return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        pinned = json.loads(_pin_path(path).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pinned = None
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if pinned != found or remote.sha256 not in (None, found):
        raise DataError(
            f"{path}: differs from what was downloaded. Remove it (`seqconv data clear`) and fetch it again"
        )
    return path


def is_local(remote: Remote, path: str | None) -> bool:
    """Whether `locate` will find a file on this machine, whatever is in it; arguments as there."""
    try:
        return is_there(str(cache_folder() / remote.filename) if path is None else path)
    except DataError:
        return False


def is_there(path: str) -> bool:
    """Whether there is a file or folder of that name."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def locate(remote: Remote, path: str | None, verify: Callable[[Path], object]) -> tuple[Path, str]:
    """The file to read, and where it came from: `file`, `cache` or `download`.

    Args:
        remote: of the dataset.
        path: a local file that the user named; None: the cache, else a download into it.
        verify: as for `download`.
    """
    if path is not None:
        return named_by_user(path), "file"
    known = cached(remote)
    if known is not None:
        return known, "cache"
    return download(remote, verify), "download"


def named_by_user(path: str) -> Path:
    """The path of a file that the user named; `~` is their home, `~name` another's.

    Raises:
        DataError: if there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{path}: no such file ({error})") from error


def download(remote: Remote, verify: Callable[[Path], object]) -> Path:
    """Fetch a file into the cache, once it has passed every check.

    Args:
        remote: what to fetch.
        verify: called with the downloaded file before it is trusted; raises DataError to refuse it.

    Raises:
        DataError: if it cannot be reached, or is not what it should be. Nothing is left in the cache then.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the same file system, so that the last step is a rename.
        staging = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    except OSError as error:
        raise DataError(
            f"{folder}: the data cache cannot be written ({error.strerror}); "
            "set SEQCONV_DATA_DIR to a folder that can, or `dataset.path` to a local file"
        ) from error
    try:
        path = _fetch(remote, staging)
        _check_size_and_sum(remote, path)
        verify(path)
        final = folder / remote.filename
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        pin = {"sha256": checksum, "size": path.stat().st_size, "url": remote.url}
        _pin_path(path).write_text(json.dumps(pin, indent=2) + "\n")
        # The checksum goes first: a file without one is not trusted.
        os.replace(_pin_path(path), _pin_path(final))
        os.replace(path, final)
        return final
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fetch(remote: Remote, staging: Path) -> Path:
    import pooch
    import requests

    from seqconv.console import DownloadBar

    bar = DownloadBar(remote.filename)
    downloader = pooch.HTTPDownloader(progressbar=bar, timeout=30)
    path = staging / remote.filename
    try:
        downloader(remote.url, str(path), None)
    except (requests.RequestException, OSError, ValueError) as error:
        raise DataError(
            f"{remote.url}: cannot be downloaded ({type(error).__name__}). "
            "Give a local copy by `dataset.path=FILE`, or try again with a connection"
        ) from error
    finally:
        bar.close()  # pooch does so only when all went well
    return path


def _check_size_and_sum(remote: Remote, path: Path) -> None:
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        raise DataError(f"{remote.url}: must have {remote.size:,} bytes; received {size:,}")
    if remote.sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != remote.sha256:
            raise DataError(f"{remote.url}: must have sha256 {remote.sha256}; received {found}")


TABLES = "tables"
"""Folder of parsed tables."""
PREPARED = "prepared"
"""Folder of baselines and of what else takes long to compute."""
CHECKSUMS = "checksums"
"""Folder of checksums of files."""
# What the entries of these folders are called; a process gives what it is still writing another name.
MADE = (
    (TABLES, r"[0-9a-f]{32}"),
    (PREPARED, r"\w+-[0-9a-f]{32}\.npz"),
    (CHECKSUMS, r"\d+-\d+\.json"),
)


def remove_made() -> list[Path]:
    """Delete what is kept of files to save time; the paths that were there. A process keeps what it has open."""
    removed = []
    for folder, name in MADE:
        try:
            found = sorted((cache_folder() / folder).iterdir())
        except OSError:
            continue
        removed += [path for path in found if re.fullmatch(name, path.name)]
    for path in removed:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise DataError(f"{path}: cannot be deleted ({error.strerror})") from error
    return removed


def _pin_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def remove(remote: Remote) -> list[Path]:
    """Delete a file and its checksum from the cache; the paths that were there."""
    path = cache_folder() / remote.filename
    removed = [found for found in (path, _pin_path(path)) if os.path.exists(found)]
    for found in removed:
        try:
            found.unlink()
        except OSError as error:
            raise DataError(f"{found}: cannot be deleted ({error.strerror})") from error
    return removed
