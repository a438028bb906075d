"""The config files own the defaults, the dataclasses own type and meaning: neither has a key that the other has not."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from seqconv.cli.overrides import read_command_line
from seqconv.config.registry import DATASETS, MODELS, DatasetEntry, ModelEntry, register_model
from seqconv.config.schema import OF_THE_START, General, SweepSettings, TrainerConfig

CONF = Path(str(files("seqconv.conf")))
CONFIG_FILES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
REGISTRIES = {"dataset": DATASETS, "model": MODELS}
ENTRIES = [
    pytest.param(group, registry.get(name), id=f"{group}-{name}")
    for group, registry in REGISTRIES.items()
    for name in registry.names()
]
# Files that explain every key of theirs; other trainer files hold only what differs from trainer/base.
FULL_FILES = [
    path
    for path in CONFIG_FILES
    if path.startswith(("dataset/", "model/", "task/")) or path == "trainer/base.yaml"
]
DELTAS = [path for path in CONFIG_FILES if path.startswith("trainer/") and path not in FULL_FILES]
KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):(?P<value>[^#\n]*)(?P<comment>#.*)?$")


def load(path: str) -> dict[str, Any]:
    tree = OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


def keys_of(cls: type) -> dict[str, Any]:
    """The keys of a section: `{key: None}`, or `{key: {...}}` for a section in it."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: keys_of(hints[field.name]) if is_dataclass(hints[field.name]) else None
        for field in fields(cls)
    }


def keys_in(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: keys_in(value) if isinstance(value, dict) else None for key, value in tree.items()}


def sections(cls: type) -> Iterator[type]:
    """A dataclass and those of the sections in it."""
    yield cls
    for hint in typing.get_type_hints(cls).values():
        if is_dataclass(hint):
            yield from sections(typing.cast(type, hint))


def test_the_listing_finds_files():
    assert {path.partition("/")[0] for path in CONFIG_FILES} >= {
        "train.yaml",
        "dataset",
        "model",
        "recipe",
        "trainer",
        "experiment",
        "hydra",
    }
    assert ENTRIES
    assert DELTAS


@pytest.mark.parametrize("group", REGISTRIES)
def test_every_name_has_a_file_and_every_file_a_name(group: str):
    found = sorted(Path(path).stem for path in CONFIG_FILES if path.startswith(f"{group}/"))
    assert found == REGISTRIES[group].names()


@pytest.mark.parametrize(("group", "entry"), ENTRIES)
def test_a_file_names_what_it_is_named_after(group: str, entry: DatasetEntry | ModelEntry):
    tree = load(f"{group}/{entry.name}.yaml")
    section = tree[group] if group == "dataset" else tree
    assert section["name"] == entry.name


def composed(name: str):
    """A model file with those that its list of defaults puts into it."""
    tree = load(f"model/{name}.yaml")
    for word in tree.pop("defaults", []):
        if word != "_self_":
            other, _, place = word.partition("@")
            tree[place] = {**composed(other), **tree.get(place, {})}
    return tree


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_file_has_the_keys_of_its_dataclass(name: str):
    wanted = keys_of(MODELS.get(name).section)
    # A section that may be left out is one value to the dataclass.
    optional = {key: None for key, keys in wanted.items() if keys is None}
    found = keys_in(composed(name))
    assert {key: optional.get(key, keys) for key, keys in found.items()} == wanted


@pytest.mark.parametrize("name", DATASETS.names())
def test_a_dataset_file_and_its_tasks_have_the_keys_of_its_dataclasses(name: str):
    entry = DATASETS.get(name)
    expected = {"dataset": keys_of(entry.section), **keys_of(entry.settings)}
    tree = load(f"dataset/{name}.yaml")
    task, own = tree.pop("defaults")
    assert own == "_self_"
    # Nothing that differs is named anew.
    merged = OmegaConf.merge(load(f"{task.removeprefix('/')}.yaml"), tree)
    assert keys_in(OmegaConf.to_container(merged)) == expected


def test_the_base_trainer_has_the_keys_of_its_dataclass():
    assert keys_in(load("trainer/base.yaml")) == keys_of(TrainerConfig)


@pytest.mark.parametrize("path", DELTAS)
def test_another_trainer_file_has_some_of_its_keys(path: str):
    assert keys_in(load(path)).items() <= keys_of(TrainerConfig).items()


def test_the_main_file_has_the_keys_of_its_dataclass():
    main = load("train.yaml")
    assert main.keys() - {"defaults", "hydra", *OF_THE_START} == keys_of(General).keys()
    assert main["sweep"].keys() == keys_of(SweepSettings).keys()


def keys_explained(folder: str) -> set[str]:
    """The keys of the files of a folder, which have comments there."""
    lines = [
        line
        for path in CONFIG_FILES
        if path.startswith(folder)
        for line in (CONF / path).read_text().splitlines()
    ]
    return {match["key"] for line in lines if (match := KEY.match(line))}


@pytest.mark.parametrize("path", FULL_FILES)
def test_every_key_is_commented(path: str):
    lines = (CONF / path).read_text().splitlines()
    bare = []
    explained = keys_explained("task/") if path.startswith("dataset/") else set()
    for line in lines:
        match = KEY.match(line)
        if match and match["key"] in explained:
            continue
        # `name` is what the file itself is called, and a key without a value opens a section.
        if match and match["key"] != "name" and match["value"].strip() and not match["comment"]:
            bare.append(line)
    assert bare == []


@pytest.mark.parametrize("path", CONFIG_FILES)
def test_every_file_begins_with_what_it_is(path: str):
    lines = (CONF / path).read_text().splitlines()
    first = next(line for line in lines if not line.startswith("# @package"))
    assert re.match(r"# \w.{15,}", first)


@pytest.mark.parametrize(
    "cls",
    sorted(
        {
            section
            for cls in [
                General,
                TrainerConfig,
                *(
                    cls
                    for group, registry in REGISTRIES.items()
                    for entry in map(registry.get, registry.names())
                    for cls in (entry.section, *([entry.settings] if group == "dataset" else []))
                ),
            ]
            for section in sections(cls)
        },
        key=lambda cls: cls.__name__,
    ),
)
def test_a_section_is_frozen_strict_and_without_default_values(cls: type):
    defaults = [
        field.name
        for field in fields(cls)
        if field.default is not MISSING or field.default_factory is not MISSING
    ]
    assert defaults == []
    parameters = cls.__dataclass_params__  # type: ignore[attr-defined]
    assert parameters.frozen
    assert all(field.kw_only for field in fields(cls))
    assert cls.__pydantic_config__["extra"] == "forbid"  # type: ignore[attr-defined]
    assert cls.__pydantic_config__["strict"] is True  # type: ignore[attr-defined]


# Composing


@pytest.fixture
def words_for(words_for_dataset) -> Callable[[str], list[str]]:
    """The command line that chooses a config file."""

    def words(path: str) -> list[str]:
        group, _, name = path.removesuffix(".yaml").rpartition("/")
        if group == "":
            return []
        if group == "dataset":
            return words_for_dataset(name)
        if group == "recipe":
            dataset, _, model = name.partition("-")
            return [*words_for_dataset(dataset), f"model={model}"]
        if group == "experiment":
            # Some are of tables, which a user has to name.
            return [f"experiment={name}", "dataset.path=a_file.csv"]
        return [f"{group}={name}"]

    return words


def values_of(path: str) -> dict[str, Any]:
    """What a config file says, at the place in the configuration where it says it."""
    tree = load(path)
    tree.pop("defaults", None)
    if "# @package _global_" in (CONF / path).read_text():
        return tree
    return {path.partition("/")[0]: tree}


def contradictions(said: dict[str, Any], tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in said.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            yield from contradictions(value, tree[key], f"{prefix}{key}.")
        elif key not in tree or tree[key] != value:
            yield f"{prefix}{key}: {value!r} is said, {tree.get(key)!r} composed"


# Launchers need packages that may not be there, see tests/sweeps/test_cluster.py; tasks are parts of files of datasets.
@pytest.mark.parametrize(
    "path", [p for p in CONFIG_FILES if not p.startswith(("hydra/launcher/", "task/"))]
)
def test_every_file_composes(words_for, path: str):
    line = read_command_line(words_for(path))
    assert line.only_job.trainer.epochs >= 1


@pytest.mark.parametrize(
    "path",
    [path for path in CONFIG_FILES if path.startswith(("recipe/", "trainer/", "experiment/"))],
)
def test_what_a_file_says_is_what_is_composed(words_for, path: str):
    words = words_for(path)
    tree = read_command_line(words).only_job.tree
    found = contradictions(values_of(path), tree)
    # The command line, which makes the data small, comes before every file.
    given = tuple(f"{word.partition('=')[0]}:" for word in words)
    assert [each for each in found if not each.startswith(given)] == []


@pytest.mark.parametrize("path", [path for path in CONFIG_FILES if path.startswith("recipe/")])
def test_a_recipe_is_of_a_dataset_and_a_model_that_exist(path: str):
    dataset, _, model = Path(path).stem.partition("-")
    assert dataset in DATASETS.names()
    assert model in MODELS.names()


def test_a_name_is_registered_once():
    (taken, *_) = MODELS.names()

    with pytest.raises(ValueError, match=f"model `{taken}` is registered twice"):
        register_model(MODELS.get(taken).section)(lambda config, spec: None)
