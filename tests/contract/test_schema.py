"""The YAML pages own the defaults, the dataclasses own type and meaning: neither has a key that the other has not."""

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

from seqconv.composing import read_command_line
from seqconv.config import General, TrainerConfig
from seqconv.registry import DATASETS, MODELS, Entry, Registry

CONF = Path(str(files("seqconv.conf")))
PAGES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))
REGISTRIES = {"dataset": DATASETS, "model": MODELS}
ENTRIES = [
    pytest.param(group, registry.get(name), id=f"{group}-{name}")
    for group, registry in REGISTRIES.items()
    for name in registry.names()
]
# Pages that hold every key of a section; other trainer pages hold only what differs from trainer/base.
FULL_PAGES = [
    page for page in PAGES if page.startswith(("dataset/", "model/")) or page == "trainer/base.yaml"
]
DELTAS = [page for page in PAGES if page.startswith("trainer/") and page not in FULL_PAGES]
KEY = re.compile(r"^(?P<indent> *)(?P<key>[\w]+):(?P<value>[^#\n]*)(?P<comment>#.*)?$")


def load(page: str) -> dict[str, Any]:
    tree = OmegaConf.to_container(OmegaConf.load(CONF / page), resolve=False)
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


def test_the_listing_finds_pages():
    assert {page.partition("/")[0] for page in PAGES} >= {
        "train.yaml",
        "dataset",
        "model",
        "pair",
        "trainer",
        "experiment",
        "hydra",
    }
    assert ENTRIES
    assert DELTAS


@pytest.mark.parametrize("group", REGISTRIES)
def test_every_name_has_a_page_and_every_page_a_name(group: str):
    pages = sorted(Path(page).stem for page in PAGES if page.startswith(f"{group}/"))
    assert pages == REGISTRIES[group].names()


@pytest.mark.parametrize(("group", "entry"), ENTRIES)
def test_a_page_names_what_it_is_named_after(group: str, entry: Entry):
    page = load(f"{group}/{entry.name}.yaml")
    section = page[group] if group == "dataset" else page
    assert section["name"] == entry.name


@pytest.mark.parametrize("name", MODELS.names())
def test_a_model_page_has_the_keys_of_its_dataclass(name: str):
    assert keys_in(load(f"model/{name}.yaml")) == keys_of(MODELS.get(name).config)


@pytest.mark.parametrize("name", DATASETS.names())
def test_a_dataset_page_has_the_keys_of_its_dataclasses(name: str):
    entry = DATASETS.get(name)
    assert entry.task is not None
    expected = {"dataset": keys_of(entry.config), **keys_of(entry.task)}
    assert keys_in(load(f"dataset/{name}.yaml")) == expected


def test_the_base_trainer_has_the_keys_of_its_dataclass():
    assert keys_in(load("trainer/base.yaml")) == keys_of(TrainerConfig)


@pytest.mark.parametrize("page", DELTAS)
def test_another_trainer_page_has_some_of_its_keys(page: str):
    assert keys_in(load(page)).items() <= keys_of(TrainerConfig).items()


def test_the_main_page_has_the_keys_of_its_dataclass():
    # `resume` tells how a process starts, not what a run is.
    assert load("train.yaml").keys() - {"defaults", "hydra", "resume"} == keys_of(General).keys()


@pytest.mark.parametrize("page", FULL_PAGES)
def test_every_key_is_commented(page: str):
    lines = (CONF / page).read_text().splitlines()
    bare = []
    for line in lines:
        match = KEY.match(line)
        # `name` is what the page itself is called, and a key without a value opens a section.
        if match and match["key"] != "name" and match["value"].strip() and not match["comment"]:
            bare.append(line)
    assert bare == []


@pytest.mark.parametrize("page", PAGES)
def test_every_page_begins_with_what_it_is(page: str):
    lines = (CONF / page).read_text().splitlines()
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
                    for registry in REGISTRIES.values()
                    for entry in map(registry.get, registry.names())
                    for cls in (entry.config, entry.task)
                    if cls is not None
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


@pytest.mark.parametrize(("group", "entry"), ENTRIES)
def test_only_a_dataset_brings_keys_of_a_task(group: str, entry: Entry):
    assert (entry.task is not None) == (group == "dataset")


# Composing


@pytest.fixture
def words_for(words_for_dataset) -> Callable[[str], list[str]]:
    """The command line that chooses a page."""

    def words(page: str) -> list[str]:
        group, _, name = page.removesuffix(".yaml").rpartition("/")
        if group == "":
            return []
        if group == "dataset":
            return words_for_dataset(name)
        if group == "pair":
            dataset, _, model = name.partition("-")
            return [*words_for_dataset(dataset), f"model={model}"]
        return [f"{group}={name}"]

    return words


def values_of(page: str) -> dict[str, Any]:
    """What a page says, at the place in the configuration where it says it."""
    tree = load(page)
    tree.pop("defaults", None)
    if "# @package _global_" in (CONF / page).read_text():
        return tree
    return {page.partition("/")[0]: tree}


def contradictions(said: dict[str, Any], tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in said.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            yield from contradictions(value, tree[key], f"{prefix}{key}.")
        elif key not in tree or tree[key] != value:
            yield f"{prefix}{key}: {value!r} is said, {tree.get(key)!r} composed"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_composes(words_for, page: str):
    line = read_command_line(words_for(page))
    assert line.only_job.trainer.epochs >= 1


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.startswith(("pair/", "trainer/", "experiment/"))]
)
def test_what_a_page_says_is_what_is_composed(words_for, page: str):
    tree = read_command_line(words_for(page)).only_job.tree
    assert list(contradictions(values_of(page), tree)) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("pair/")])
def test_a_pair_is_of_a_dataset_and_a_model_that_exist(page: str):
    dataset, _, model = Path(page).stem.partition("-")
    assert dataset in DATASETS.names()
    assert model in MODELS.names()


def test_a_registry_refuses_a_name_twice():
    registry = Registry("model", "seqconv.models.layers")
    add = registry.register("same", config=TrainerConfig)
    add(lambda config, spec: None)
    with pytest.raises(ValueError, match="model `same` is registered twice"):
        add(lambda config, spec: None)
