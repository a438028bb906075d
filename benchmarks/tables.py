"""Tables: how fast one is read, and the memory of a long one; `tables.py read` and `tables.py long --rows 50000000`.

All data is simulated, in a folder that is removed. `read` makes a CSV of 420,551 rows and 15 columns, and times in
alternating rounds pandas' `read_csv` with dates parsed, our reader without its cache, and our reader from its cache;
each in a process of its own, after the imports. `long` makes a file, trains on it by the command line, and prints the
largest anonymous and resident memory of the process, sampled every 50 ms, and the time of a step beside that on 100,000
rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROWS = 420_551
COLUMNS = 14
BLOCK = 1_000_000
START = np.datetime64("2009-01-01T00:10:00", "ms")
PERIOD = np.timedelta64(600, "s")

PANDAS = """
import pandas, sys, time
started = time.perf_counter()
frame = pandas.read_csv(sys.argv[1], parse_dates=["when"])
print(time.perf_counter() - started)
"""
OURS = """
import polars, sys, time
from pathlib import Path
from seqconv.data.measurements import Reading, read_table
started = time.perf_counter()
table = read_table([Path(sys.argv[1])], Reading())
total = float(table.values[:, 0].sum())
print(time.perf_counter() - started)
"""


def block_of(first: int, rows: int) -> pl.DataFrame:
    """Rows of random walks around daily cycles."""
    generator = np.random.default_rng(first)
    hours = (first + np.arange(rows)) / 6
    daily = np.sin(hours / 24 * 2 * np.pi)
    values = {
        f"c{n:02d}": (10 * n + daily * n + generator.normal(size=rows)).astype(np.float32)
        for n in range(COLUMNS)
    }
    times = START + (first + np.arange(rows)) * PERIOD
    return pl.DataFrame({"when": times, **values})


def seconds(code: str, path: Path, cache: Path) -> float:
    """What a process prints."""
    environment = {**os.environ, "SEQCONV_DATA_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return float(done.stdout.split()[-1])


def read(rounds: int, folder: Path) -> None:
    """Time the readers in alternating rounds."""
    path = folder / "table.csv"
    block_of(0, ROWS).write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S", float_precision=2)
    print(f"{ROWS:,} rows, {path.stat().st_size / 1e6:.1f} MB, SIMULATED")
    ratios: dict[str, list[float]] = {"ours": [], "cache": []}
    kept = folder / "kept"
    seconds(OURS, path, kept)
    for number in range(rounds):
        pandas = seconds(PANDAS, path, folder)
        ours = seconds(OURS, path, folder / f"cache-{number}")
        cached = seconds(OURS, path, kept)
        ratios["ours"].append(pandas / ours)
        ratios["cache"].append(pandas / cached)
        print(f"pandas {pandas:.3f} s, ours {ours:.3f} s, from the cache {cached:.3f} s")
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.2f} times as fast as pandas")


def memory(pid: int) -> tuple[int, int]:
    """Anonymous and resident memory of a process in bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("RssAnon", "VmRSS"):
            found[name] = int(rest.split()[0]) * 1024
    return found.get("RssAnon", 0), found.get("VmRSS", 0)


def train(path: Path, folder: Path, words: list[str]) -> None:
    """Train on a file, and print what it took."""
    command = [
        sys.executable, "-c", "from seqconv.cli.train import main; main()", "dataset=table", f"dataset.path={path}",
        "dataset.targets=[c01]", "model=gru", "lookback=720", "step=6", "delay=144",
        "trainer.epochs=2", "trainer.steps_per_epoch=200", *words,
    ]  # fmt: skip
    environment = {**os.environ, "SEQCONV_DATA_DIR": str(folder / "cache")}
    started, largest = time.monotonic(), (0, 0)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        )
        while process.poll() is None:
            try:
                now = memory(process.pid)
            except (OSError, ProcessLookupError):
                break
            largest = (max(largest[0], now[0]), max(largest[1], now[1]))
            time.sleep(0.05)
        out, _ = process.communicate()
    if process.returncode:
        sys.exit((folder / "log").read_text()[-2000:])
    metrics = json.loads((folder / json.loads(out)["run_dir"] / "metrics.json").read_text())
    print(
        f"{metrics['dataset']['rows']:,} rows: {time.monotonic() - started:.0f} s, anonymous "
        f"{largest[0] / 1e9:.2f} GB, resident {largest[1] / 1e9:.2f} GB, "
        f"{1e3 / metrics['timing']['steps_per_second']:.2f} ms a step, windows {metrics['dataset']['windows']}",
        flush=True,
    )


def long(rows: int, form: str, folder: Path, words: list[str]) -> None:
    """Train on a short table and on a long one."""
    for count in (100_000, rows):
        path = folder / f"{count}.{form}"
        if form == "csv":
            with path.open("wb") as stream:
                for first in range(0, count, BLOCK):
                    block_of(first, min(BLOCK, count - first)).write_csv(
                        stream,
                        include_header=first == 0,
                        datetime_format="%Y-%m-%d %H:%M:%S",
                        float_precision=2,
                    )
        else:
            write_parquet(path, count)
        print(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB, SIMULATED", flush=True)
        train(path, folder, words)
        path.unlink()


def write_parquet(path: Path, count: int) -> None:
    """A Parquet file in row groups; by files of a block each, joined without being held."""
    parts = path.with_suffix(".parts")
    parts.mkdir()
    for first in range(0, count, BLOCK):
        block_of(first, min(BLOCK, count - first)).write_parquet(parts / f"{first:012d}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(path, row_group_size=BLOCK)
    for part in parts.iterdir():
        part.unlink()
    parts.rmdir()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["read", "long"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("words", nargs="*", help="more words for seqconv-train")
    given = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        if given.part == "read":
            read(given.rounds, Path(folder))
        else:
            long(given.rows, given.format, Path(folder), given.words)


if __name__ == "__main__":
    main()
