"""What this process may use of a machine, and how many jobs there is room for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Of a job in training; what it shares with the others counts once.
JOB_BYTES = 700 * 2**20
CGROUP = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """The cores that this process may use: by its affinity, its control group, and SLURM's allotment."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()]
    limits.append(_slurm_cores())
    limits.append(_group_cores())
    return max(1, min(limit for limit in limits if limit))


def _slurm_cores() -> int | None:
    text = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(text) if text.isdecimal() and int(text) else None


def _groups(controller: str) -> Iterator[Path]:
    """The control groups of version 1 or 2 that this process is in, up to the root: each sets limits of its own."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUP / controller if controllers else CGROUP
        # A container may see its own group as the root, and none of those around it.
        names = [name for name in path.split("/") if name and ".." not in path]
        for count in range(len(names), -1, -1):
            yield root.joinpath(*names[:count])


def _numbers(path: Path) -> list[int]:
    """The numbers in a file of a control group; none where it says that there is no limit."""
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _group_cores() -> int | None:
    """Whole cores of the smallest quota, such as a container's or a job's of SLURM; None without one."""
    quotas = []
    for group in _groups("cpu"):
        found = _numbers(group / "cpu.max") or [
            number
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            for number in _numbers(group / name)
        ]
        # Version 1 has -1 for none.
        if len(found) == 2 and min(found) > 0:
            quotas.append(max(1, found[0] // found[1]))
    return min(quotas, default=None)


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
    """What is left of the smallest limit; None without one."""
    left = []
    for group in _groups("memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            found = [*_numbers(group / limit), *_numbers(group / used)]
            if len(found) == 2:
                left.append(max(0, found[0] - found[1] + _reclaimable(group, cache)))
    return min(left, default=None)


def _reclaimable(group: Path, name: str) -> int:
    """Bytes of files that were read and are kept while nobody needs the room: `used` counts them."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
        return int(dict(line.split(" ", 1) for line in lines)[name])
    except (OSError, ValueError, KeyError):
        return 0


def jobs_at_once(threads: int) -> int:
    """How many jobs of so many threads each run side by side without being in each other's way."""
    by_cores = available_cores() // threads
    memory = available_memory()
    by_memory = by_cores if memory is None else memory // JOB_BYTES
    return max(1, min(by_cores, by_memory))
