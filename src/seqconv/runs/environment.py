"""What a run ran on."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seqconv.machine import available_cores

# What results may depend on; numba and llvmlite do the arithmetic of recurrent layers and short convolutions.
PACKAGES = (
    "seqconv",
    "tensorflow",
    "keras",
    "numpy",
    "numba",
    "llvmlite",
    "scipy",
    "polars",
    "scikit-learn",
    "hydra-core",
)


def environment(devices: list[str]) -> dict[str, Any]:
    """Versions, platform, devices, git commit and command line. No environment variables: they hold secrets."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": available_cores(),
        "devices": devices,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the folder the run was started in, where there is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
