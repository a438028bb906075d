"""The example package: a model and a dataset of another package, found by their entry points."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seqconv.config.registry import DATASETS, MODELS

EXAMPLE = Path(__file__).parents[2] / "examples" / "seqconv-tide"


@pytest.fixture
def installed(aside, monkeypatch):
    """The package as an installer would leave it, on the path of this process."""
    site = aside / "site"
    shutil.copytree(EXAMPLE / "src", site)
    information = site / "seqconv_tide-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: seqconv-tide\nVersion: 0.1.0\n"
    )
    import tomllib

    groups = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    for registry in (DATASETS, MODELS):
        registry.names()
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_loaded", False)
    yield
    for name in [name for name in sys.modules if name.startswith("seqconv_tide")]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
def test_by_entry_points(command, in_empty_folder):
    code, stdout, stderr = command(["dataset=tide", "model=dense", "trainer=smoke"])
    assert code == 0, stderr
    metrics = json.loads((Path(json.loads(stdout)["run_dir"]) / "metrics.json").read_text())
    assert (metrics["dataset"]["name"], metrics["model"]["name"]) == ("tide", "dense")
    assert {"tide", "climate_demo"} <= set(DATASETS.names())


def test_not_installed(command, in_empty_folder):
    code, _, stderr = command(["dataset=tide"])
    assert code == 2
    assert "unknown dataset `tide`" in stderr


@pytest.mark.slow
def test_installed_by_pip(aside, in_empty_folder):
    site = aside / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    example = shutil.copytree(EXAMPLE, aside / "example")  # Building leaves files behind.
    subprocess.run([*pip, "--target", site, example], check=True)
    script = "import sys; from seqconv.cli.train import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "dataset=tide", "model=dense", "trainer=smoke"],
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(aside)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
