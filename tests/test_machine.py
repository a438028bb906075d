"""How many jobs run at once: by cores, control groups, SLURM and memory."""

import os

import pytest

from seqconv import machine


def is_in(group, monkeypatch, *lines):
    own = group / "own"
    own.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(machine, "OWN_GROUPS", own)


def write(group, files):
    for name, text in files.items():
        (group / name).parent.mkdir(parents=True, exist_ok=True)
        (group / name).write_text(f"{text}\n")


@pytest.fixture
def group(tmp_path, monkeypatch):
    """The folder of control groups; the process is in those that `is_in` says."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    is_in(tmp_path, monkeypatch, "0::/")
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "slurm", "cores"),
    [
        ("max 100000", None, 16),
        ("400000 100000", None, 4),
        ("50000 100000", None, 1),
        ("max 100000", "3", 3),
        ("200000 100000", "8", 2),
        ("nonsense", "x", 16),
        (None, "0", 16),
    ],
)
def test_cores(group, monkeypatch, quota, slurm, cores):
    if quota is not None:
        (group / "cpu.max").write_text(quota)
    if slurm is not None:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)
    assert machine.available_cores() == cores


@pytest.mark.parametrize(
    ("threads", "gigabytes", "jobs"),
    [(1, 100, 16), (4, 100, 4), (1, 3, 4), (32, 9, 1), (1, 0.1, 1)],
)
def test_jobs_at_once(group, monkeypatch, threads, gigabytes, jobs):
    monkeypatch.setattr(machine, "available_memory", lambda: int(gigabytes * 2**30))
    assert machine.jobs_at_once(threads) == jobs


NESTED = ["9:name=systemd:/", "4:memory:/slurm/job_7", "3:cpuset:/", "2:cpu,cpuacct:/slurm/job_7"]


@pytest.mark.parametrize(
    ("lines", "files", "cores"),
    [
        # The smallest quota counts, wherever it is set.
        (
            ["0::/a.slice/b"],
            {"a.slice/b/cpu.max": "max 100000", "a.slice/cpu.max": "300000 100000"},
            3,
        ),
        (["0::/a.slice/b"], {"a.slice/b/cpu.max": "200000 100000", "cpu.max": "300000 100000"}, 2),
        # A container that does not see the groups around it.
        (["0::/docker/7"], {"cpu.max": "400000 100000"}, 4),
        (["0::/../7"], {"cpu.max": "400000 100000"}, 4),
        (
            NESTED,
            {
                "cpu/slurm/job_7/cpu.cfs_quota_us": 500_000,
                "cpu/slurm/job_7/cpu.cfs_period_us": 100_000,
            },
            5,
        ),
        (NESTED, {"cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 100_000}, 16),
        ([], {"cpu.max": "400000 100000"}, 16),
    ],
)
def test_cores_of_groups_in_groups(group, monkeypatch, lines, files, cores):
    is_in(group, monkeypatch, *lines)
    write(group, files)
    assert machine.available_cores() == cores


@pytest.mark.parametrize(
    ("lines", "files", "left"),
    [
        (
            ["0::/a.slice/b"],
            {
                "a.slice/memory.max": 9_000_000,
                "a.slice/memory.current": 8_000_000,
                "a.slice/b/memory.max": "max",
                "a.slice/b/memory.current": 1_000_000,
            },
            1_000_000,
        ),
        # What it has read is kept in memory until somebody needs the room.
        (
            ["0::/"],
            {
                "memory.max": 9_000_000,
                "memory.current": 8_900_000,
                "memory.stat": "anon 900000\ninactive_file 8000000\nactive_file 0",
            },
            8_100_000,
        ),
        (
            NESTED,
            {
                "memory/memory.limit_in_bytes": 2**63 - 4096,
                "memory/memory.usage_in_bytes": 8_000_000,
                "memory/slurm/memory.limit_in_bytes": 5_000_000,
                "memory/slurm/memory.usage_in_bytes": 4_000_000,
                "memory/slurm/memory.stat": "inactive_file 7\ntotal_inactive_file 1500000",
            },
            2_500_000,
        ),
        (["0::/"], {"memory.max": 5, "memory.current": 9}, 0),
    ],
)
def test_memory_of_groups_in_groups(group, monkeypatch, lines, files, left):
    is_in(group, monkeypatch, *lines)
    write(group, files)
    assert machine.available_memory() == left


def test_memory_of_a_control_group(group):
    (group / "memory.max").write_text("1000000")
    (group / "memory.current").write_text("400000")
    assert machine.available_memory() == 600_000
    (group / "memory.max").write_text("max")
    assert machine.available_memory() > 1_000_000
