"""How many jobs a machine has room for."""

from __future__ import annotations

import math
import os
from pathlib import Path

# Of a job in training; what it shares with the others counts once.
JOB_BYTES = 700 * 2**20
CGROUP = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The cores that this process may use: by its affinity, its control group, and SLURM's allotment."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()]
    limits.append(_slurm_cores())
    limits.append(_group_cores())
    return max(1, min(limit for limit in limits if limit))


def _slurm_cores() -> int | None:
    text = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(text) if text.isdecimal() and int(text) else None


def _group_cores() -> int | None:
    """Whole cores of a quota, such as a container's; None without one."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return None if quota == "max" else max(1, math.floor(int(quota) / int(period)))
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say."""
    limits = [found for found in (_free_memory(), _group_memory()) if found is not None]
    return min(limits, default=None)


def _free_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return None


def _group_memory() -> int | None:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        return None if limit == "max" else max(0, int(limit) - used)
    except (OSError, ValueError):
        return None


def jobs_at_once(threads: int) -> int:
    """How many jobs of so many threads each run side by side without being in each other's way."""
    by_cores = available_cores() // threads
    memory = available_memory()
    by_memory = by_cores if memory is None else memory // JOB_BYTES
    return max(1, min(by_cores, by_memory))
