"""What launchers of other packages need, asked for before anything starts."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping

from seqconv.config.errors import Problem
from seqconv.tasks.contract import Json

# The extra that brings a launcher along.
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}
# What our own config files of launchers build on.
BASES = {"slurm": "submitit_slurm", "ray_cluster": "ray"}
SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
RAY = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
# Ray itself asks an address that is silent for minutes, and then ends the process.
SECONDS_TO_ANSWER = 10


def missing_extra(name: str, known: Collection[str]) -> str | None:
    """The extra that brings a launcher along; None if it is known, or no extra does."""
    base = BASES.get(name, name)
    return None if base in known else EXTRAS.get(base)


def problems_of(launcher: Mapping[str, Json]) -> Iterator[Problem]:
    """What keeps a launcher from its work.

    Args:
        launcher: its section of the configuration, with interpolations as they are written.
    """
    target = launcher.get("_target_")
    if target == SLURM:
        yield from _slurm_problems()
    elif target == RAY:
        yield from _ray_problems(launcher)


def _slurm_problems() -> Iterator[Problem]:
    missing = [program for program in ("sbatch", "srun") if shutil.which(program) is None]
    if missing:
        rule = f"this machine has no {' and no '.join(missing)}: start the sweep on a login node of the cluster"
        yield Problem("hydra/launcher", rule)


def _ray_problems(launcher: Mapping[str, Json]) -> Iterator[Problem]:
    key = "hydra.launcher.ray.init.address"
    found: Json = launcher
    for part in ("ray", "init", "address"):
        found = found.get(part) if isinstance(found, dict) else None
    address = found or os.environ.get("RAY_ADDRESS")
    host, _, port = str(address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        # Such as auto, which Ray looks up on this machine, at once.
        return
    try:
        socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        rule = f"no Ray cluster answers at {address} ({error}); `ray status` shows the address of one that runs"
        yield Problem(key, rule)


def kills_preempted_jobs() -> bool:
    """Whether a job that has saved must wait for its end: SLURM requeues none that ends itself in its time of grace."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
