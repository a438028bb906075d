"""Files of a run directory: written whole or not at all, read as what they are."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from seqconv.data.files import LARGEST_JSON, parse_json, read_plain


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader, or a crash, sees the old text or the new one."""
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with staging.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(staging, path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_staging(folder: Path) -> None:
    """Remove what `write_text` of a process that died has left in a folder; nobody else writes there now."""
    for path in folder.glob(".*"):
        if path.suffix[1:].isdigit() and path.is_file():
            path.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush a folder's own entries, so that a rename survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write JSON as a whole; not-a-number becomes null, since JSON has no such number."""
    write_text(path, json.dumps(finite(value), indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """An object from a run directory; None where there is none that can be read. The file is not trusted."""
    try:
        value = parse_json(read_plain(path, largest=LARGEST_JSON))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def json_line(value: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(finite(value))


def finite(value: Any) -> Any:
    """The value with None for not-a-number and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def whole_numbers(value: Any) -> Any:
    """The same with integers for floats that are whole: written 1 or 1.0, a setting is the same."""
    if isinstance(value, dict):
        return {key: whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
