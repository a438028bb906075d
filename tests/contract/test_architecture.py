"""Imports run downwards, and each library has its place: read from the syntax trees of `src/seqconv`.

After the idea of `sktime/sktime:sktime/tests/test_cross_module_imports.py`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import seqconv

ROOT = Path(seqconv.__file__).parent
REPOSITORY = Path(__file__).parents[2]

# From the top down. A module may import what stands on a lower line, and inside its own entry.
LEVELS = (
    ("cli",),
    ("sweeps",),
    ("training.evaluation", "training.export", "training.folds"),
    ("training.averaged", "training.ensemble"),
    ("training.parts",),
    ("training.run", "training.trained"),
    ("training.loop",),
    ("training.load", "training.outcome"),
    ("training.predictor",),
    ("training.serving",),
    (
        "training.steps",
        "training.tensorflow_import",
        "training.signals",
        "training.sampling",
        "training",
    ),
    ("runs.tracking.trackers",),
    ("runs.tracking.tensorboard", "runs.tracking.mlflow"),
    ("runs.display", "runs.resume", "runs.html_report", "runs.tracking.views"),
    ("runs.compare",),
    ("runs.significance",),
    ("runs.plots",),
    ("runs.progress", "runs.result", "runs.checkpoints", "runs.lock", "runs.environment"),
    ("runs.files", "runs.layout", "runs", "runs.tracking"),
    ("config.schema",),
    ("data.inspect",),
    ("models", "data.datasets"),
    ("config.registry", "config.requirements", "config.yaml_files"),
    ("tasks",),
    ("data",),
    ("console", "machine"),
    ("tasks.contract",),
    ("tasks.metrics", "tasks.figures"),
    ("config.cleaning",),
    ("config.fields",),
    ("config.errors", "config"),
)
# `__init__.py` of the package holds the version alone.
VERSION = "__init__"

ALLOWED = {
    "hydra": {
        "cli.composed",
        "cli.overrides",
        "cli.words",
        "sweeps.job",
        "sweeps.launch",
        "sweeps.process",
        "sweeps.search",
    },
    "omegaconf": {
        "cli.composed",
        "cli.overrides",
        "cli.single",
        "cli.words",
        "config.schema",
        "config.yaml_files",
        "sweeps.job",
        "sweeps.launch",
        "sweeps.process",
    },
    "mlflow": {"runs.tracking.mlflow"},
    "rich": {"console"},
    "tensorboard": {"runs.tracking.tensorboard"},
    "typer": {"cli.tools", *(f"cli.tools.{path.stem}" for path in ROOT.glob("cli/tools/*.py"))},
}
# Rooms that may use TensorFlow and Keras, inside functions or not.
OF_TENSORFLOW = ("models", "training")
MOST_ROOMS = 10
HEAVY = {
    "mlflow",
    "tensorboard",
    "tensorflow",
    "keras",
    "polars",
    "matplotlib",
    "sklearn",
    "scipy",
    "pooch",
    "requests",
}
SETTINGS = {"cfg", "config", "conf", "composed", "settings"}


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes:
        target: dotted name, `seqconv.data.records`.
        line: where it is imported.
        at_start: whether it is loaded as soon as the module is.
    """

    target: str
    line: int
    at_start: bool


def modules() -> dict[str, Path]:
    """Dotted names without the package's own, `data.sets.jena`; a package goes by its own name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports_of(name: str) -> Iterator[Import]:
    yield from _imports(tree_of(name), at_start=True)


def _imports(node: ast.AST, *, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_start)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"a relative import in line {child.lineno}"
            assert child.module is not None
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                known = whole.removeprefix("seqconv.") in MODULES
                yield Import(whole if known else child.module, child.lineno, at_start)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            yield from _imports(child, at_start=at_start and not inside and not for_types)


ENTRIES = {entry: number for number, level in enumerate(LEVELS) for entry in level}


def entry_of(module: str) -> str:
    """The longest entry that a module belongs to."""
    parts = module.split(".")
    return next(
        entry for n in range(len(parts), 0, -1) if (entry := ".".join(parts[:n])) in ENTRIES
    )


def level_of(module: str) -> int:
    """Counted from the top."""
    return ENTRIES[entry_of(module)]


def test_every_module_has_a_level():
    assert len(MODULES) > 20, "the listing found too little"
    assert sum(map(len, LEVELS)) == len(ENTRIES), "an entry stands twice"
    assert {entry_of(name) for name in MODULES if name != VERSION} == set(ENTRIES)


def test_a_wheel_holds_every_package():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("__init__.py")
    }
    assert found <= set(settings["packages"])


def test_there_are_few_rooms():
    rooms = {name.partition(".")[0] for name in MODULES} - {VERSION}
    assert 5 < len(rooms) <= MOST_ROOMS


@pytest.mark.parametrize("module", MODULES)
def test_tensorflow_is_used_in_its_rooms_only(module: str):
    users = [
        f.target for f in imports_of(module) if f.target.split(".")[0] in ("keras", "tensorflow")
    ]
    assert not users or module.partition(".")[0] in OF_TENSORFLOW


def test_private_names_of_hydra_stand_in_one_place():
    users = [
        (name, found.target)
        for name in MODULES
        for found in imports_of(name)
        if found.target.startswith("hydra._internal")
    ]
    assert users == [("cli.overrides", "hydra._internal.utils")]


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name.startswith(("tasks", "training", "runs"))]
)
def test_no_dispatch_by_attribute_names(module: str):
    """What a task, a section or a result is, its type says."""
    calls = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("hasattr", "getattr", "setattr")
        # Keras' losses by the name in our table, and what a platform may lack.
        and ast.unparse(node.args[0]) not in ("keras.losses", "os", "signal")
    ]
    assert calls == []


def test_git_tracks_no_symbolic_link():
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        pytest.skip("no repository to look at")
    listed = subprocess.run(
        [git, "ls-files", "-s"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(listed) > 50, "the listing found too little"
    assert [line for line in listed if line.startswith("120000")] == []


@pytest.mark.parametrize("module", [name for name in MODULES if name != VERSION])
def test_imports_run_downwards(module: str):
    entry = entry_of(module)
    upward = []
    for found in imports_of(module):
        package, _, target = found.target.partition(".")
        # `from seqconv import __version__`
        if package != "seqconv" or not target:
            continue
        if entry_of(target) != entry and level_of(target) <= level_of(module):
            upward.append(f"line {found.line}: {found.target}")
    assert upward == []


def test_nothing_imports_in_a_circle_when_it_is_loaded():
    edges = {
        name: {
            found.target.removeprefix("seqconv.")
            for found in imports_of(name)
            if found.at_start and found.target.startswith("seqconv.")
        }
        for name in MODULES
    }
    done: list[str] = []
    while len(done) < len(edges):
        ready = [n for n in edges if n not in done and edges[n] & edges.keys() <= set(done)]
        assert ready, f"a circle among {sorted(edges.keys() - set(done))}"
        done.extend(ready)


def test_the_package_itself_imports_nothing():
    early = [found.target for found in imports_of(VERSION) if found.at_start]
    assert [name for name in early if name.startswith("seqconv")] == []


@pytest.mark.parametrize("library", ALLOWED)
def test_a_library_is_imported_in_its_place_only(library: str):
    users = {
        name
        for name in MODULES
        for found in imports_of(name)
        if found.target.partition(".")[0] == library
    }
    assert users, f"nothing imports {library}: the test has lost its object"
    assert users <= ALLOWED[library]


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_are_imported_when_they_are_used(module: str):
    # Layers of our own are classes of Keras; their modules are imported by the builders.
    if module.startswith("models.layers."):
        return
    early = [
        f"line {found.line}: {found.target}"
        for found in imports_of(module)
        if found.at_start and found.target.partition(".")[0] in HEAVY
    ]
    assert early == []


@pytest.mark.parametrize("module", MODULES)
def test_layers_of_our_own_are_imported_when_they_are_used(module: str):
    if module.startswith("models.layers"):
        return
    early = [
        f"line {found.line}: {found.target}"
        for found in imports_of(module)
        if found.at_start and found.target.startswith("seqconv.models.layers.")
    ]
    assert early == []


@pytest.mark.parametrize("module", MODULES)
def test_no_assert_and_no_setting_read_with_a_default(module: str):
    wrong = []
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Assert):
            wrong.append(f"line {node.lineno}: assert")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and SETTINGS & set(ast.unparse(node.func.value).split("."))
        ):
            wrong.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert wrong == []


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path.relative_to(REPOSITORY)))
        for folder in ("benchmarks", "examples")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    ],
)
def test_what_benchmarks_and_examples_take_from_the_package_is_there(path: Path):
    """They are checked by no type checker, and most of them run in no test."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "seqconv":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                is_there = hasattr(module, alias.name) or importlib.util.find_spec(
                    f"{node.module}.{alias.name}"
                )
                assert is_there, f"line {node.lineno}: {node.module} has no {alias.name}"
