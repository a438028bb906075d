"""Sweeps: our launcher beside Hydra's basic one, joblib's where it is installed, and a shell's loop of commands.

`sweeps.py smoke` runs 24 jobs of ten steps, `sweeps.py real` eight of three epochs of 300 steps (2 models x 4 window
settings); all on simulated data, in folders that are removed, in alternating rounds. `sweeps.py memory` prints the
memory of the launching process over 100 jobs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

COMMAND = [sys.executable, "-c", "from seqconv.cli.train import main; main()"]
SMOKE = ["trainer=smoke", "model=conv1d", "seed=range(24)"]
REAL = ["trainer.epochs=3", "trainer.steps_per_epoch=300", "model=conv_gru,gru"]
REAL += ["lookback=720,1440", "step=3,6"]


def jobs_of(words: list[str]) -> Iterator[list[str]]:
    """The words of each job of a grid."""
    values = []
    for word in words:
        key, _, text = word.partition("=")
        texts = map(str, range(int(text[6:-1]))) if text.startswith("range(") else text.split(",")
        values.append([f"{key}={value}" for value in texts])
    for job in itertools.product(*values):
        yield list(job)


def run(words: list[str], folder: Path) -> None:
    """One command, which must end well."""
    subprocess.run(
        [*COMMAND, *words],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def seconds(launcher: str, words: list[str]) -> float:
    """The time of a sweep by a launcher; `loop`: a command for each job."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        if launcher == "loop":
            for job in jobs_of(words):
                run(job, folder)
        else:
            run(["-m", *words, f"hydra/launcher={launcher}"], folder)
        return time.perf_counter() - started


def measure(words: list[str], launchers: list[str], rounds: int) -> None:
    """Alternating rounds, and how many times as fast ours is."""
    ratios: dict[str, list[float]] = {name: [] for name in launchers if name != "seqconv"}
    for _ in range(rounds):
        times = {name: seconds(name, words) for name in launchers}
        print("  ".join(f"{name} {value:.1f} s" for name, value in times.items()), flush=True)
        for name, found in ratios.items():
            found.append(times[name] / times["seqconv"])
    for name, found in ratios.items():
        print(f"ours is {statistics.median(found):.2f} times as fast as {name}")


def memory() -> None:
    """Resident memory of the launching process while it runs 100 jobs."""
    with tempfile.TemporaryDirectory() as name:
        words = ["-m", "trainer=smoke", "model=conv1d", "seed=range(100)"]
        process = subprocess.Popen(
            [*COMMAND, *words], cwd=name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        done = threading.Event()
        threading.Thread(target=lambda: (process.wait(), done.set()), daemon=True).start()
        while not done.wait(10):
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            resident = next(line for line in status if line.startswith("VmRSS"))
            ended = len(list(Path(name).glob("outputs/sweeps/*/*/metrics.json")))
            print(f"{ended} jobs done, {int(resident.split()[1]) / 1024:.0f} MB", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["smoke", "real", "memory"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], help="launchers to leave out")
    chosen = parser.parse_args()
    if chosen.what == "memory":
        memory()
        return
    launchers = ["seqconv", "basic"]
    if find_spec("hydra_plugins.hydra_joblib_launcher"):
        launchers.append("joblib")
    if chosen.what == "smoke":
        launchers.append("loop")
    launchers = [name for name in launchers if name not in chosen.without]
    measure(SMOKE if chosen.what == "smoke" else REAL, launchers, chosen.rounds)


if __name__ == "__main__":
    main()
