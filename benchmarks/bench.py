"""Everything side by side, in alternating rounds: `bench.py [PART ...]`; a picture of it: `bench.py --draw FILE ...`.

Prints medians, spreads and ratios; writes them with versions and machine to `results/`, and a plot where all parts have
run. Ratios are medians over rounds of what a contestant took against what seqconv took in the same round, so that a
load that comes and goes on a shared machine falls out of them. Close other programs nevertheless: spinning threads
suffer most.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from contestants import JENA_ROWS, PRESETS, WORKS

HERE = Path(__file__).resolve().parent
PYTHON = Path(sys.executable)
NAMES = {
    "ours": "seqconv",
    "keras": "Keras by default",
    "keras_no_xla": "Keras, no XLA",
    "torch": "PyTorch eager",
    "torch_passive": "PyTorch, threads sleep",
    "tf_gather": "tf.gather in tf.data",
    "book": "the book's program",
    "import": "import tensorflow",
    "ours_jena": "seqconv, Jena file",
    "before": "seqconv before",
    "before_jena": "seqconv before, Jena file",
    "floor": "floor",
    "floor_needed": "floor of what is needed",
}
# Of seqconv; two is what a single run takes by default.
THREADS = (1, 2, 4)
DRAWN = ("steps", "job", "growth")
Results = dict[str, Any]


class Contestant:
    """A process that times blocks of steps; see `contestants.serve`."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str]):
        pipe = subprocess.PIPE
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=env
            )
        self.log = log
        self.facts: dict[str, Any] = {}

    def block(self, work: str, count: int) -> list[float]:
        """The seconds of so many steps."""
        print(json.dumps([work, count]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args} failed:\n{self.log.read_text()[-2000:]}")
        found = json.loads(answer)
        self.facts[work] = found["facts"]
        return found["seconds"]


class Bench:
    """What the parts share: options, a scratch folder, the contestants that run.

    Args:
        options: of the command line.
        scratch: for files that may go afterwards.
    """

    def __init__(self, options: argparse.Namespace, scratch: Path):
        self.options, self.scratch = options, scratch
        self.environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.environment["SEQCONV_DATA_DIR"] = str(scratch / "cache")
        self.runs = 0

    @contextlib.contextmanager
    def contestants(self, *names: str) -> Iterator[dict[str, Contestant]]:
        """The processes of some contestants, for the time of a block."""
        started = {}
        for name in names:
            command = [sys.executable, str(HERE / "contestants.py"), name]
            env = self.environment
            if name == "before":
                command = [
                    str(self.before),
                    str(self.options.before / HERE.name / "contestants.py"),
                ]
                command.append("ours")
            if name.startswith("torch"):
                command = [self.options.torch, str(HERE / "torch_peer.py")]
                # By default its threads wait spinning, which on a busy machine costs it many times the step.
                env = env | ({"OMP_WAIT_POLICY": "PASSIVE"} if name == "torch_passive" else {})
            started[name] = Contestant(command, self.scratch / f"{name}.log", env)
        try:
            yield started
        finally:
            for contestant in started.values():
                contestant.process.stdin.close()
                contestant.process.wait()

    def alternate(self, runners: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
        """What each contestant gave in each round; who comes first changes from round to round."""
        found: dict[str, list[Any]] = {name: [] for name in runners}
        order = list(runners)
        for _ in range(rounds):
            for name in order:
                found[name].append(runners[name]())
            order = [*order[1:], order[0]]
        return found

    def blocks(self, asked: dict[str, tuple[Contestant, str]], steps: int) -> dict[str, list[Any]]:
        """Blocks of steps: of whom and of what work, by name. A first block of each is left out."""
        runners = {n: lambda p=p, w=w: p.block(w, steps) for n, (p, w) in asked.items()}
        self.alternate(runners, 1)
        return self.alternate(runners, self.options.rounds)

    def record(self) -> Path:
        """A simulated record in the format of Jena's file."""
        path = self.scratch / "jena.csv"
        if not path.exists():
            import polars as pl

            from seqconv.data.simulated.climate import COLUMNS, simulate_climate

            times, values = simulate_climate(JENA_ROWS // 8 if self.options.quick else JENA_ROWS)
            frame = pl.DataFrame(values.astype(np.float64).round(2), schema=list(COLUMNS))
            stamps = pl.Series("Date Time", times.astype("datetime64[ms]")).dt.strftime(
                "%d.%m.%Y %H:%M:%S"
            )
            frame.insert_column(0, stamps).write_csv(path)
        return path

    @property
    def before(self) -> Path:
        """The Python of another checkout of seqconv."""
        return self.options.before / ".venv" / "bin" / "python"

    @property
    def versions(self) -> list[str]:
        """This checkout, and another one to compare with if there is one."""
        return ["ours", "before"] if self.options.before else ["ours"]

    def seqconv(self, *words: str, version: str = "ours") -> tuple[list[str], Path]:
        """The command of a run, and its directory."""
        self.runs += 1
        run_dir = self.scratch / f"run-{self.runs}"
        program = (PYTHON if version == "ours" else self.before).parent / "seqconv-train"
        return [str(program), f"hydra.run.dir={run_dir}", *words], run_dir

    def run(self, command: list[str]) -> tuple[str, float, float]:
        """The output of a command, its seconds from start to end, and its peak memory in MB."""
        started = time.perf_counter()
        with (self.scratch / "out").open("w+") as out, (self.scratch / "err").open("w+") as errors:
            process = subprocess.Popen(command, stdout=out, stderr=errors, env=self.environment)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds = time.perf_counter() - started
            out.seek(0)
            errors.seek(0)
            if process.returncode:
                raise RuntimeError(f"{command} failed:\n{errors.read()[-2000:]}")
            return out.read(), seconds, usage.ru_maxrss / 1024


def summary(found: dict[str, list[Any]]) -> Results:
    """Median and spread of each contestant, from its figures in each round, and its ratio to the first one."""
    rounds = {name: np.array([np.median(f) for f in figures]) for name, figures in found.items()}
    first = next(iter(rounds.values()))
    result = {}
    for name, values in rounds.items():
        figures = np.concatenate([np.atleast_1d(f) for f in found[name]])
        low, high = np.percentile(figures, [10, 90])
        ratios = values / first
        result[name] = {
            "median": float(np.median(values)),
            "p10": float(low),
            "p90": float(high),
            "ratio": float(np.median(ratios)),
            "ratio_p10": float(np.percentile(ratios, 10)),
            "ratio_p90": float(np.percentile(ratios, 90)),
        }
    return result


def show(title: str, unit: str, result: Results, factor: float = 1.0) -> None:
    """One table."""
    print(f"\n{title:<28}{'median ' + unit:>11}{'10-90 %':>18}{'ratio':>8}{'10-90 %':>15}")
    for name, row in result.items():
        spread = f"{row['p10'] * factor:.4g} - {row['p90'] * factor:.4g}"
        ratios = f"{row['ratio_p10']:.2f} - {row['ratio_p90']:.2f}"
        line = f"  {NAMES.get(name, name):<26}{row['median'] * factor:>11.4g}{spread:>18}"
        print(f"{line}{row['ratio']:>8.2f}{ratios:>15}")


def check_sizes(work: str, peers: dict[str, Contestant]) -> None:
    """Refuse to compare models that differ in the number of their parameters."""
    sizes = {peer.facts[work]["parameters"] for peer in peers.values()}
    if len(sizes) > 1:
        raise RuntimeError(f"the models of {work} differ in size: {sizes}")


def steps(bench: Bench) -> Results:
    """One training step on a batch in memory, and its floors: matrix products at this machine's own rate.

    `floor` counts three products for each of the forward pass, `floor_needed` leaves out the gradient of the first
    layer's inputs: they are data, and no contestant needs it. The rate is that of a large product in the same round, as
    other ratios are of the same round: the machine's speed varies by half from one to the next.
    """
    results: Results = {}
    torch = ["torch", "torch_passive"] if bench.options.torch else []
    with bench.contestants(*bench.versions, "keras", "keras_no_xla", *torch) as peers:
        rates: list[float] = []
        for work in WORKS:
            asked = {name: (peer, work) for name, peer in peers.items()}
            found = bench.blocks(
                asked | {"product": (peers["keras"], "product")}, bench.options.steps
            )
            product = peers["keras"].facts["product"]["gflop"]
            rounds = [product / np.median(seconds) for seconds in found.pop("product")]
            rates += rounds
            check_sizes(work, peers)
            facts = peers["keras"].facts[work]
            needed = {"floor": facts["gflop"], "floor_needed": facts["gflop_needed"]}
            floors = {name: [gflop / rate for rate in rounds] for name, gflop in needed.items()}
            ours = next(iter(found))
            rows = summary({ours: found[ours], **floors})
            floors = {name: rows[name] for name in needed}
            results[work] = {**facts, "contestants": summary(found), "floors": floors}
            show(f"step, {work}", "ms", results[work]["contestants"] | floors, 1e3)
    low, rate, high = (float(value) for value in np.percentile(rates, [10, 50, 90]))
    print(f"\nmatrix product {rate:.0f} GFLOP/s, 10-90 % {low:.0f} - {high:.0f}")
    spread = {"gflop_per_second_p10": low, "gflop_per_second_p90": high}
    return {"gflop_per_second": rate, **spread, "works": results}


def presets(bench: Bench) -> Results:
    """One training step of each forecasting preset, beside the same network in plain PyTorch."""
    results: Results = {}
    torch = ["torch", "torch_passive"] if bench.options.torch else []
    with bench.contestants("ours", *torch) as peers:
        for work in PRESETS:
            asked = {name: (peer, work) for name, peer in peers.items()}
            found = bench.blocks(asked, bench.options.steps)
            check_sizes(work, peers)
            results[work] = {**peers["ours"].facts[work], "contestants": summary(found)}
            show(f"step, {work}", "ms", results[work]["contestants"], 1e3)
    return results


def threads(bench: Bench) -> Results:
    """One training step of seqconv by its number of threads, each in a process of its own."""
    results: Results = {}
    with bench.contestants(*(f"ours:{count}" for count in THREADS)) as peers:
        for work in ("conv1d", "conv_gru", "gru", "lstm"):
            asked = {str(count): (peers[f"ours:{count}"], work) for count in THREADS}
            results[work] = summary(bench.blocks(asked, bench.options.steps))
            show(f"step, {work}, threads", "ms", results[work], 1e3)
            rates = (f"{count}: {1 / row['median']:.1f}" for count, row in results[work].items())
            print(f"  steps a second   {'  '.join(rates)}")
    return results


def evaluation(bench: Bench) -> Results:
    """Forecasts of 2,048 windows of 240 x 14: by seqconv 256 at a time, as a run does, by the others 512."""
    results: Results = {}
    torch = ["torch", "torch_passive"] if bench.options.torch else []
    with bench.contestants(*bench.versions, "keras", *torch) as peers:
        for work in ("conv1d", "conv_gru", "gru", "lstm"):
            asked = {name: (peer, f"predict/{work}") for name, peer in peers.items()}
            results[work] = summary(bench.blocks(asked, 5))
            show(f"2,048 windows, {work}", "ms", results[work], 1e3)
    return results


def windows(bench: Bench) -> Results:
    """A batch of 128 windows of 240 x 14, as fast as it is given; ten at a time."""
    torch = ["torch"] if bench.options.torch else []
    with bench.contestants(*bench.versions, "book", "keras", "tf_gather", *torch) as peers:
        asked = {name: (peer, "windows") for name, peer in peers.items()}
        found = bench.blocks(asked, 20)
    result = summary({n: [np.array(block) / 10 for block in b] for n, b in found.items()})
    labels = {"book": "the book's generator", "keras": "timeseries_dataset_from_array"}
    labels["torch"] = "DataLoader"
    result = {labels.get(name, name): figures for name, figures in result.items()}
    show("batch of windows", "ms", result, 1e3)
    return result


def job(bench: Bench) -> Results:
    """The whole conv_gru job: seconds from start to end, in `fit` alone, and peak memory."""
    epochs, steps_per_epoch = (1, 20) if bench.options.quick else (3, 500)
    train_end, validation_end = (25_000, 37_500) if bench.options.quick else (200_000, 300_000)
    path = bench.record()
    split = [f"split.train_end={train_end}", f"split.validation_end={validation_end}"]
    words = ["dataset=jena", f"dataset.path={path}", "model=conv_gru", *split]
    words += [f"trainer.epochs={epochs}", f"trainer.steps_per_epoch={steps_per_epoch}"]
    book = [sys.executable, str(HERE / "book_program.py"), str(path), "--epochs", str(epochs)]
    book += ["--steps", str(steps_per_epoch), "--train-end", str(train_end)]
    book += ["--validation-end", str(validation_end)]

    def ours(version: str) -> tuple[float, float, float]:
        command, run_dir = bench.seqconv(*words, version=version)
        _, seconds, memory = bench.run(command)
        metrics = json.loads((run_dir / "metrics.json").read_text())
        return seconds, metrics["timing"]["fit_seconds"], memory

    def theirs() -> tuple[float, float, float]:
        out, seconds, memory = bench.run(book)
        return seconds, json.loads(out.splitlines()[-1])["fit"], memory

    runners: dict[str, Callable[[], Any]] = {
        version: functools.partial(ours, version) for version in bench.versions
    }
    found = bench.alternate(runners | {"book": theirs}, bench.options.job_rounds)
    results: Results = {}
    for index, (key, unit) in enumerate((("process", "s"), ("fit", "s"), ("peak_memory", "MB"))):
        picked = {name: [run[index] for run in runs] for name, runs in found.items()}
        results[key] = summary(picked)
        show(f"job, {key.replace('_', ' ')}", unit, results[key])
    return results


def startup(bench: Bench) -> Results:
    """Seconds from the command to the end of the first training step, against importing TensorFlow.

    Seen from outside by a checkpoint that the run is asked to write as soon as it can.
    """

    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def first_step(version: str, *words: str) -> float:
        command, run_dir = bench.seqconv("trainer.checkpoint_seconds=1e-9", *words, version=version)
        started = time.perf_counter()
        with subprocess.Popen(command, env=bench.environment, **quiet) as process:
            while process.poll() is None:
                time.sleep(0.005)
                with contextlib.suppress(OSError):
                    if any(entry.is_dir() for entry in os.scandir(run_dir / "checkpoints")):
                        seconds = time.perf_counter() - started
                        process.kill()
                        return seconds
        raise RuntimeError(f"{command} ended before a step was done")

    jena = ["dataset=jena", f"dataset.path={bench.record()}", "model=conv_gru"]
    if bench.options.quick:
        jena += ["split.train_end=0.5", "split.validation_end=0.75"]
    runners: dict[str, Callable[[], Any]] = {
        "import": lambda: bench.run([sys.executable, "-c", "import tensorflow"])[1],
    }
    for version in bench.versions:
        runners[version] = functools.partial(first_step, version)
        runners[f"{version}_jena"] = functools.partial(first_step, version, *jena)
    runners["import"]()  # Reads what is on disk.
    result = summary(bench.alternate(runners, bench.options.rounds))
    show("to the first step", "s", result)
    return result


def memory(bench: Bench) -> Results:
    """Memory at the end of each of 50 epochs of 100 steps, in MB; the peak of the whole job is in `job`.

    5,000 steps, since what leaks is seen by the step: 220 bytes a call of one kernel are one MB.
    """
    words = ["trainer=smoke", "trainer.epochs=50", "trainer.steps_per_epoch=100"]
    command, _ = bench.seqconv(*words, "split.train_end=0.9", "split.validation_end=0.92")
    used = []
    with subprocess.Popen(
        command, env=bench.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch "):
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                used.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    late = float(np.mean(used[-5:]) - np.mean(used[5:10]))
    at = "  ".join(f"{epoch}: {used[epoch - 1]:.0f}" for epoch in (1, 5, 10, 20, 30, 40, 50))
    print(
        f"\nmemory after epochs, MB   {at}   (from epochs 6-10 to 46-50: {late:+.1f})", flush=True
    )
    return {"epochs_mb": used, "growth_mb": late}


def growth(bench: Bench) -> Results:
    """Seconds per step for windows of more time steps, and for records of more rows."""
    lengths = [60, 120, 240, 480]
    series = {"conv_gru": lengths, "gru": lengths, "rows": [50_000, 100_000, 200_000, 400_000]}
    results: Results = {}
    with bench.contestants("ours") as peers:
        for kind, sizes in series.items():
            asked = {str(size): (peers["ours"], f"{kind}/{size}") for size in sizes}
            results[kind] = summary(bench.blocks(asked, bench.options.steps))
            show(f"step, {kind}", "ms", results[kind], 1e3)
    return results


def checkpoints(bench: Bench) -> Results:
    """What a checkpoint after each of the book's epochs costs: of 500 steps of conv_gru, validation left out."""
    (bench.scratch / "cache").mkdir(exist_ok=True)
    with bench.contestants("ours") as peers:
        asked = {name: (peers["ours"], name) for name in ("conv_gru", "checkpoint")}
        found = bench.blocks(asked, bench.options.steps)
    result = summary(found)
    share = result["checkpoint"]["median"] / (500 * result["conv_gru"]["median"])
    show("a step and a checkpoint", "ms", result, 1e3)
    print(f"  a checkpoint every 500 steps takes {share:.2%} of their time")
    return {"seconds": result, "share_of_500_steps": share}


PARTS = {
    f.__name__: f
    for f in (
        steps,
        presets,
        threads,
        evaluation,
        windows,
        job,
        startup,
        memory,
        growth,
        checkpoints,
    )
}


def machine() -> Results:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("seqconv", "tensorflow", "keras", "numpy")
    return {
        "processor": names[0] if names else None,
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.now().isoformat(timespec="seconds"),
        "load_average": os.getloadavg(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def joined(files: list[Path]) -> Results:
    """The results of several files as those of one run; of a part that several have, the last file's."""
    results: Results = {}
    for file in files:
        results |= json.loads(file.read_text())
    return results


def drawn(group: Results) -> Results:
    """The contestants that a picture shows: today's seqconv, and PyTorch once, with the threads that suit it best."""
    kept = {name: row for name, row in group.items() if not name.startswith("before")}
    passive = kept.pop("torch_passive", None)
    if passive and passive["ratio"] < kept["torch"]["ratio"]:
        kept["torch"] = passive
    return kept


def draw(results: Results, path: Path) -> None:
    """A picture of the parts in `DRAWN`: the speed of each contestant against seqconv's, and steps by their length."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    groups = {f"step, {w}": r["contestants"] for w, r in results["steps"]["works"].items()}
    groups |= {"whole job": results["job"]["process"], "fit": results["job"]["fit"]}
    groups = {title: drawn(group) for title, group in groups.items()}
    figure, (bars, lines) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=[2.2, 1])
    contestants = dict.fromkeys(name for group in groups.values() for name in group)
    for name in contestants:
        among = [(at, list(g).index(name), g) for at, g in enumerate(groups.values()) if name in g]
        heights = [1 / group[name]["ratio"] for _, _, group in among]
        bars.bar([at + 0.16 * place for at, place, _ in among], heights, 0.15, label=NAMES[name])
    bars.set_xticks(np.arange(len(groups)) + 0.25, list(groups), rotation=12)
    bars.set_ylabel("speed, seqconv = 1")
    bars.legend(fontsize=8, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    for kind in ("conv_gru", "gru"):
        sizes = [int(n) for n in results["growth"][kind]]
        medians = [1e3 * row["median"] for row in results["growth"][kind].values()]
        lines.plot(sizes, medians, "o-", label=kind)
    lines.set(xlabel="time steps of a window", ylabel="ms per training step", xlim=0, ylim=0)
    lines.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="in a block")
    parser.add_argument("--job-rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a small record, a short job")
    parser.add_argument("--torch", help="a Python that has PyTorch")
    parser.add_argument(
        "--before",
        type=Path,
        help="another checkout of seqconv with its own .venv, to compare with",
    )
    parser.add_argument("--out", type=Path, default=HERE / "results", help="a folder")
    parser.add_argument(
        "--draw",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="measure nothing: join these results, later ones win, and draw bench.png",
    )
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.draw:
        results = joined(options.draw)
        if options.parts or not results.keys() >= set(DRAWN):
            parser.error(f"--draw takes no PART, and results that have {', '.join(DRAWN)} together")
        draw(results, options.out / "bench.png")
        return
    sys.stdout.reconfigure(line_buffering=True)
    # Paths stay out of what is kept.
    asked = {
        k: v for k, v in vars(options).items() if k in ("rounds", "steps", "job_rounds", "quick")
    }
    results = {"machine": machine(), "options": asked}
    if options.torch:
        command = [options.torch, "-c", "import torch; print(torch.__version__)"]
        version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        results["machine"]["versions"]["torch"] = version
    print(json.dumps(results["machine"]))
    with tempfile.TemporaryDirectory(prefix="seqconv-bench-") as scratch:
        bench = Bench(options, Path(scratch))
        for part in options.parts or PARTS:
            results[part] = PARTS[part](bench)
    results["machine"]["load_average_after"] = os.getloadavg()
    options.out.mkdir(parents=True, exist_ok=True)
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M")
    (options.out / f"{stem}.json").write_text(json.dumps(results, indent=2) + "\n")
    if not options.parts:
        draw(results, options.out / "bench.png")
    print(f"\n{options.out / stem}.json; load average {results['machine']['load_average_after']}")


if __name__ == "__main__":
    main()
