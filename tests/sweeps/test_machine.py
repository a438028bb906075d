"""How many jobs run at once: by cores, control groups, SLURM and memory."""

import os

import pytest

from seqconv.sweeps import machine


@pytest.fixture
def group(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
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


def test_memory_of_a_control_group(group):
    (group / "memory.max").write_text("1000000")
    (group / "memory.current").write_text("400000")
    assert machine.available_memory() == 600_000
    (group / "memory.max").write_text("max")
    assert machine.available_memory() > 1_000_000
