"""The `config.yaml` of a run directory as nested plain values."""

from __future__ import annotations

from pathlib import Path

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from seqconv.config.errors import ConfigError, Problem
from seqconv.data.files import read_plain
from seqconv.tasks.contract import Json

# Ours have two kilobytes. PyYAML takes minutes for some texts of a megabyte.
LARGEST_FILE = 100_000


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
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it holds aliases")
        try:
            tree: Json = OmegaConf.to_container(OmegaConf.create(text))
        except AssertionError:  # OmegaConf's answer to a lone number.
            tree = None
        if not isinstance(tree, dict):
            raise ValueError("must be a mapping of keys")
    except (OSError, OmegaConfBaseException, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error}")]) from error
    return {str(key): value for key, value in tree.items()}


def dump_tree(tree: dict[str, Json]) -> str:
    """The text of `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(tree))
