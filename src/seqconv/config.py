"""From the composed YAML to frozen dataclasses, with all problems reported together.

YAML owns the defaults, the dataclasses own type, range and meaning.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError

from seqconv.errors import ConfigError, Problem, did_you_mean, unknown_key
from seqconv.fields import (
    STRICT,
    ChecksItself,
    Count,
    Duration,
    Fraction,
    NonNegative,
    NonNegativeFloat,
    PositiveFloat,
    Seed,
)
from seqconv.registry import DATASETS, MODELS, Registry, UnknownNameError
from seqconv.rundir import read_plain


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """How a model is fitted; the keys of `conf/trainer/base.yaml`."""

    __pydantic_config__ = STRICT

    epochs: Count
    """Passes; each ends with a full validation."""
    steps_per_epoch: Count | None
    """Training steps per epoch on windows drawn at random; None: every window once, shuffled."""
    optimizer: Literal["rmsprop", "adam", "adamw", "nadam", "sgd"]
    learning_rate: PositiveFloat
    """The highest rate; the schedule lowers it."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay per step, as Keras applies it."""
    schedule: Literal["constant", "cosine", "plateau"]
    plateau_factor: Fraction
    """What a plateau multiplies the rate with."""
    plateau_patience: Count
    """Epochs without a better objective that make a plateau."""
    clip_norm: PositiveFloat | None
    """Largest norm of all gradients together."""
    early_stopping: Count | None
    """Stop after so many epochs without a better objective."""
    checkpoint_seconds: PositiveFloat | None
    """Also save inside an epoch after so many seconds."""
    keep: NonNegative
    """Checkpoints to keep besides best and last."""
    max_time: Duration
    """Seconds after which to save and stop, as if SIGTERM had come; None: no limit."""
    baselines: bool
    """Also compute the baselines that take long (NB-SVM for texts, about a minute for 25,000 reviews)."""
    jit_compile: bool
    """Compile the whole training step with XLA."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition on `metrics.json`, such as `test.mae<2.5`."""

    name: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a figure satisfies the condition; not-a-number satisfies none."""
        return {
            "<": value < self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            ">=": value >= self.bound,
        }[self.operator]


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The figure that chooses the best epoch."""

    name: str

    @property
    def metric(self) -> str:
        """The validation metric's name, without `val_`."""
        return self.name.removeprefix("val_")

    @property
    def larger_is_better(self) -> bool:
        """Whether the objective is made large; losses and errors are made small."""
        return self.metric in {"accuracy", "auc"}

    def better(self, value: float, best: float | None) -> bool:
        """Whether `value` beats the best so far."""
        if best is None:
            return True
        return value > best if self.larger_is_better else value < best


@dataclass(frozen=True, kw_only=True, slots=True)
class General:
    """Top-level keys of every run."""

    __pydantic_config__ = STRICT

    seed: Seed
    batch_size: Count
    objective: str
    require: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One run, complete and checked."""

    dataset: Any
    """The section of the registered dataset."""
    model: Any
    """The section of the registered model."""
    task: Any
    """The top-level keys of the dataset's kind: windows of a series, or lengths of texts."""
    trainer: TrainerConfig
    seed: int
    batch_size: int
    objective: Objective
    require: tuple[Requirement, ...]
    tree: dict[str, Any]
    """The same as nested plain values, as `config.yaml` holds it."""


def parse(composed: DictConfig) -> Config:
    """Check a composed configuration and turn it into a `Config`.

    Args:
        composed: what Hydra composed from `conf/`, without its `hydra` section.

    Raises:
        ConfigError: with every problem found.
    """
    secrets = list(_resolver_problems(OmegaConf.to_container(composed, resolve=False)))
    if secrets:
        raise ConfigError(secrets)
    try:
        tree = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "configuration"
        raise ConfigError([Problem(str(key), str(error).splitlines()[0])]) from error
    if not isinstance(tree, dict):
        raise ConfigError([Problem("configuration", "must be a mapping of keys")])
    # It tells how this process starts, not what the run is.
    return parse_tree({str(key): value for key, value in tree.items() if key != "resume"})


def _resolver_problems(node: Any, prefix: str = "") -> Iterator[Problem]:
    """Values that call a resolver, such as `${oc.env:TOKEN}`: resolved, they would stand in `config.yaml`.

    References to other keys, `${lookback}`, are what interpolation is for here.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _resolver_problems(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _resolver_problems(value, f"{prefix}[{index}]")
    elif isinstance(node, str) and _calls_resolver(node):
        yield Problem(
            prefix,
            "may refer to other keys, but not call a resolver: the environment's secrets would be written to "
            f"config.yaml; received {node!r}. Let the shell put the value in",
        )


def _calls_resolver(text: str) -> bool:
    """Whether a colon stands inside `${...}`, where it ends the name of a resolver, however that is spelt."""
    depth = 0
    for index, character in enumerate(text):
        if text.startswith("${", index):
            depth += 1
        elif character == "}":
            depth = max(depth - 1, 0)
        elif character == ":" and depth:
            return True
    return False


def parse_tree(tree: dict[str, Any]) -> Config:
    """As `parse`, from nested plain values such as `config.yaml` holds.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[Problem] = []
    dataset_entry = _entry(DATASETS, tree, "dataset", problems)
    model_entry = _entry(MODELS, tree, "model", problems)
    if dataset_entry is None or dataset_entry.task is None:
        raise ConfigError(problems)

    sections = {"dataset", "model", "trainer"}
    task_keys = {field.name for field in fields(dataset_entry.task)}
    general_keys = {field.name for field in fields(General)}
    known = sections | task_keys | general_keys
    for key in tree.keys() - known:
        problems.append(unknown_key(key, known, f" of dataset `{dataset_entry.name}`"))

    def section(cls: type, values: Any, prefix: str = "") -> Any:
        return _section(cls, values, prefix, problems)

    dataset = section(dataset_entry.config, tree["dataset"], "dataset.")
    model = section(model_entry.config, tree["model"], "model.") if model_entry else None
    trainer = section(TrainerConfig, tree.get("trainer", {}), "trainer.")
    task = section(dataset_entry.task, {k: v for k, v in tree.items() if k in task_keys})
    general = section(General, {k: v for k, v in tree.items() if k in general_keys})
    metrics = dataset_entry.task.metrics
    if isinstance(tree.get("objective"), str):
        problems.extend(_objective_problems(tree["objective"], metrics))
    requirements = tuple(_requirements(tree.get("require"), metrics, problems))
    if model is not None and task is not None and hasattr(model, "length_problems"):
        for problem in model.length_problems(task.time_steps, task.length_key):
            problems.append(Problem(f"model.{problem.key}", problem.message))
    if problems or general is None:
        raise ConfigError(problems)
    return Config(
        dataset=dataset,
        model=model,
        task=task,
        trainer=trainer,
        seed=general.seed,
        batch_size=general.batch_size,
        objective=Objective(name=general.objective),
        require=requirements,
        tree=tree,
    )


def load_config(path: Path) -> Config:
    """Read the `config.yaml` of a run directory. Interpolations in it are not resolved: the file is not trusted.

    Raises:
        ConfigError: if the file is missing, no YAML, or not a complete configuration.
    """
    return parse_tree(load_tree(path))


# Ours have two kilobytes.
LARGEST_FILE = 1_000_000
# Ours are nested three deep and have a hundred keys.
DEEPEST = 32
MOST_EVENTS = 10_000


def load_tree(path: Path) -> dict[str, Any]:
    """The plain values of a run's `config.yaml`, unchecked but for what would harm the reader.

    Raises:
        ConfigError: if the file is missing, no YAML, or holds what we never write: aliases, with which a short
            file can stand for a huge one, an interpolation, or far too much.
    """
    try:
        text = read_plain(path, largest=LARGEST_FILE).decode("utf-8")
        _refuse_foreign_yaml(text)
        tree: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        if "${" in text:
            raise ValueError(
                "it holds an interpolation, which a run's own configuration never does"
            )
    except (OSError, OmegaConfBaseException, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error}")]) from error
    return {str(key): value for key, value in tree.items()}


def _refuse_foreign_yaml(text: str) -> None:
    """Refuse what a run's own configuration never is, before all of it is read: PyYAML takes hours for some of it.

    Raises:
        ValueError: telling what it is.
    """
    depth = 0
    for number, event in enumerate(yaml.parse(text, yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it holds aliases")
        # The first two are the starts of stream and document.
        if number == 2 and not isinstance(event, yaml.MappingStartEvent):
            raise ValueError("must be a mapping of keys")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST or number > MOST_EVENTS:
            raise ValueError("it is nested too deeply, or holds too much")


def to_yaml(config: Config) -> str:
    """The complete configuration as the text of `config.yaml`."""
    return OmegaConf.to_yaml(OmegaConf.create(config.tree))


def _entry(registry: Registry, tree: Mapping[str, Any], key: str, problems: list[Problem]) -> Any:
    section = tree.get(key)
    if not isinstance(section, Mapping) or not isinstance(section.get("name"), str):
        problems.append(
            Problem(f"{key}.name", f"is missing. Choose one of {', '.join(registry.names())}")
        )
        return None
    try:
        return registry.get(section["name"])
    except UnknownNameError as error:
        problems.append(Problem(f"{key}.name", str(error)))
        return None


def _section(cls: type, values: Any, prefix: str, problems: list[Problem]) -> Any:
    """Validate one section; on failure add its problems and return None."""
    try:
        # As JSON, since pydantic's strict mode takes no mapping for a dataclass and no list for a tuple else.
        section: Any = TypeAdapter(cls).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems.extend(_problems_of(error, cls, prefix))
        wrong = {finding["loc"][0] for finding in error.errors() if finding["loc"]}
        problems.extend(_rules_that_still_apply(cls, values, wrong, prefix))
        return None
    found = list(_rules_between_fields(section, prefix))
    problems.extend(found)
    return None if found else section


def _rules_that_still_apply(
    cls: type, values: Mapping[str, Any], wrong: set[Any], prefix: str
) -> Iterator[Problem]:
    """The rules between those fields of a section that are right by themselves."""
    if not hasattr(cls, "problems"):
        return
    partial: Any = object.__new__(cls)
    for field in fields(cls):
        if field.name in values and field.name not in wrong:
            object.__setattr__(partial, field.name, values[field.name])
    with contextlib.suppress(AttributeError):  # A rule about a field that is wrong.
        for problem in partial.problems():
            yield Problem(prefix + problem.key, problem.message)


def _rules_between_fields(section: Any, prefix: str) -> Iterator[Problem]:
    if isinstance(section, ChecksItself):
        for problem in section.problems():
            yield Problem(prefix + problem.key, problem.message)
    for field in fields(section):
        value = getattr(section, field.name)
        if hasattr(value, "__dataclass_fields__"):
            yield from _rules_between_fields(value, f"{prefix}{field.name}.")


def _problems_of(error: ValidationError, cls: type, prefix: str) -> Iterator[Problem]:
    """The findings of pydantic in our words: the full key, the rule, what was received."""
    for finding in error.errors(include_url=False):
        path = list(finding["loc"])
        key = prefix + ".".join(str(part) for part in path)
        if finding["type"] == "unexpected_keyword_argument":
            owner = _class_at(cls, path[:-1])
            names = [f"{key.rpartition('.')[0]}.{f.name}".lstrip(".") for f in fields(owner)]
            yield unknown_key(key, names)
        elif finding["type"] == "missing":
            yield Problem(key, "is missing")
        else:
            rule = finding["msg"].removeprefix("Value error, ")
            for theirs, ours in WORDING.items():
                rule = rule.replace(theirs, ours)
            yield Problem(key, f"{rule}; received {finding['input']!r}")


# Parts of pydantic's sentences in our words: people write YAML, not JSON.
WORDING = {
    "Input should be": "must be",
    "a valid array": "a list such as [32,32]",
    "an object": "a section of keys",
    "Tuple should have at least 1 item after validation, not 0": "must have at least one element",
}


def _class_at(cls: type, path: list[Any]) -> type:
    """The dataclass of a nested section."""
    import typing

    for part in path:
        cls = typing.get_type_hints(cls)[part]
    return cls


def _objective_problems(name: str, metrics: tuple[str, ...]) -> Iterator[Problem]:
    known = [f"val_{metric}" for metric in metrics]
    if name not in known:
        yield Problem(
            "objective",
            f"must be one of {', '.join(known)}; received `{name}`.{did_you_mean(name, known)}",
        )


_REQUIREMENT = re.compile(
    r"^\s*([A-Za-z_][\w.]*)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*$"
)
_PLACES = (
    "train",
    "validation",
    "test",
    "baselines",
    "epochs",
    "timing",
    "model",
    "dataset",
    "objective",
)


def _requirements(
    value: Any, metrics: tuple[str, ...], problems: list[Problem]
) -> Iterator[Requirement]:
    conditions = [] if value is None else value if isinstance(value, list) else [value]
    for condition in conditions:
        match = _REQUIREMENT.match(condition) if isinstance(condition, str) else None
        try:
            bound = float(match[3]) if match else None
        except ValueError:
            bound = None
        if match is None or bound is None:
            problems.append(
                Problem(
                    "require",
                    f'must read like "test.mae<2.5" (operators < <= > >=); received {condition!r}',
                )
            )
            continue
        place, _, rest = match[1].partition(".")
        if place not in _PLACES:
            problems.append(
                Problem("require", f"`{match[1]}` must start with one of {', '.join(_PLACES)}")
            )
        elif place in ("train", "validation", "test") and rest.partition(".")[0] not in metrics:
            problems.append(
                Problem(
                    "require", f"`{match[1]}`: `{place}` has {', '.join(metrics)}, not `{rest}`"
                )
            )
        else:
            yield Requirement(match[1], match[2], bound)
