"""The `config.yaml` of a run directory as nested plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqconv.config.errors import ConfigError, Problem
from seqconv.data.files import read_plain
from seqconv.tasks.contract import Json

# Ours have two kilobytes and three levels, and 25 bytes for each column that they name. PyYAML takes minutes for some
# texts of a megabyte, and a millisecond for each bracket inside a thousand others.
LARGEST_FILE = 300_000
DEEPEST = 20


def load_tree(path: Path) -> dict[str, Json]:
    """Read a file that is not trusted; its values are checked by `parse_tree`.

    Raises:
        ConfigError: if the file is missing, no YAML, or holds what a run never writes: aliases, with which a short
            file can stand for a huge one, or an interpolation, which could read the environment.
    """
    try:
        text = read_plain(path, largest=LARGEST_FILE).decode("utf-8")
        if "${" in text:
            raise ValueError("it holds an interpolation")
        _refuse_tricks(text)
        try:
            tree: Json = OmegaConf.to_container(OmegaConf.create(text))
        except AssertionError:  # OmegaConf's answer to a lone number.
            tree = None
        if not isinstance(tree, dict):
            raise ValueError("must be a mapping of keys")
    except (OSError, OmegaConfBaseException, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error}")]) from error
    return {str(key): value for key, value in tree.items()}


def _refuse_tricks(text: str) -> None:
    """Refuse aliases and endless nesting before anything is made of a text.

    Raises:
        ValueError: if it holds such a thing.
    """
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds aliases")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def dump_tree(tree: dict[str, Json]) -> str:
    """The text of `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(tree))


def leaves(tree: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Values by full key, `trainer.epochs`."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
