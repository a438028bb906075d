"""From the composed YAML to frozen dataclasses, with all problems reported together.

YAML owns the defaults, the dataclasses own type, range and meaning.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from seqconv.config.errors import ConfigError, Problem, unknown_key
from seqconv.config.fields import (
    LARGEST_SEED,
    Count,
    DatasetSection,
    Duration,
    Fraction,
    Members,
    ModelSection,
    NonNegative,
    NonNegativeFloat,
    PositiveFloat,
    Section,
    Seed,
)
from seqconv.config.registry import DATASETS, MODELS, Entry, Registry, UnknownNameError
from seqconv.config.requirements import (
    Objective,
    Requirement,
    read_objective,
    read_requirements,
)
from seqconv.config.yaml_files import dump_tree, load_tree
from seqconv.tasks.contract import Json, TaskSettings

Checked = TypeVar("Checked")
# Keys about how a process starts, not about what the run is.
OF_THE_START = ("resume", "sweep")

# What changes no number: a job of a sweep is the same one with another value of these.
OF_NO_EFFECT = (
    "trainer.checkpoint_seconds",
    "trainer.keep",
    "trainer.max_time",
    "trainer.mlflow",
    "trainer.tensorboard",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig(Section):
    """How a model is fitted; the keys of `conf/trainer/base.yaml`."""

    epochs: Count
    """Passes; each ends with a full validation."""
    steps_per_epoch: Count | None
    """Training steps per epoch on windows drawn at random; None: every window once, shuffled."""
    optimizer: Literal["rmsprop", "adam", "adamw", "nadam", "sgd"]
    learning_rate: PositiveFloat
    """The highest rate; the schedule lowers it."""
    epsilon: PositiveFloat | None
    """What the optimizer adds to what it divides by; None: Keras' own."""
    weight_decay: NonNegativeFloat
    """Decoupled weight decay per step, as Keras applies it."""
    schedule: Literal["constant", "cosine", "plateau"]
    warmup_steps: NonNegative
    """Steps over which the rate rises to what the schedule says."""
    plateau_factor: Fraction
    """What a plateau multiplies the rate with."""
    plateau_patience: Count
    """Epochs without a better objective that make a plateau."""
    clip_norm: PositiveFloat | None
    """Largest norm of all gradients together."""
    ema: Fraction | None
    """Decay per step of a moving average of the weights, which is validated, tested and used; None: no average."""
    early_stopping: Count | None
    """Stop after so many epochs without a better objective."""
    checkpoint_seconds: Duration
    """Also save inside an epoch after so many seconds."""
    evaluation_windows: Count | None
    """The most samples to validate on, evenly spaced; None: all of them. The test is always on all."""
    keep: NonNegative
    """Checkpoints to keep besides best and last."""
    max_time: Duration
    """Seconds after which to save and stop, as if SIGTERM had come; None: no limit."""
    baselines: bool
    """Also compute the baselines that take long: NB-SVM for texts, ridge for series with several leads."""
    jit_compile: bool
    """Compile the whole training step with XLA."""
    mixed_precision: bool
    """Layers compute in bfloat16; weights and both ends of the model stay float32."""
    tensorboard: bool
    """Also write the epochs as events for TensorBoard into the run directory."""
    mlflow: str | None
    """The URI of an MLflow tracking server or database that the run is also sent to; None: none."""

    def problems(self) -> Iterator[Problem]:
        """An epsilon of plain gradient descent, which divides by nothing; what is wrong with an address."""
        if self.optimizer == "sgd" and self.epsilon is not None:
            rule = f"sgd has none; received {self.epsilon}. Use trainer.epsilon=null"
            yield Problem("epsilon", rule)
        if self.mlflow is None:
            return
        if _holds_password(self.mlflow):
            # Not quoted: messages are logged.
            rule = (
                "must hold no password, since config.yaml would; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, which MLflow reads itself"
            )
            yield Problem("mlflow", rule)
        elif "://" not in self.mlflow:
            rule = "must be a URI such as sqlite:///mlflow.db or http://127.0.0.1:5000"
            yield Problem("mlflow", f"{rule}; received {self.mlflow!r}")


def _holds_password(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        # No address at all, such as http://[; MLflow says so.
        return "@" in address
    return parts.password is not None or "password" in parts.query.lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class General(Section):
    """Top-level keys of every run."""

    seed: Seed
    threads: Count
    batch_size: Count
    ensemble: Members | None
    """Models that differ in their seeds, whose outputs are averaged; None: one model."""
    objective: str
    require: Json
    """Checked by `read_requirements`."""

    def problems(self) -> Iterator[Problem]:
        """The seeds of all members must be seeds."""
        last = self.seed + (self.ensemble or 1) - 1
        if last > LARGEST_SEED:
            rule = f"members have the seeds from `seed` on, at most {LARGEST_SEED}; received a last one of {last}"
            yield Problem("ensemble", f"{rule}. Use a smaller seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSettings(Section):
    """How the jobs of a sweep are started; the keys of `sweep`."""

    resume: str | None
    """The directory of the sweep to go on with; `auto`: the newest that has a job of this one; None: a new sweep."""
    on_failure: Literal["continue", "stop"]
    """Whether the other jobs go on when one fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LauncherSettings(Section):
    """The keys of `hydra.launcher` for `hydra/launcher=seqconv`."""

    jobs: Count | None
    """Jobs at once; None: as many as there are cores and memory for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings(Section):
    """The keys of `hydra.sweeper` for `hydra/sweeper=search`."""

    trials: Count
    """How many settings to try."""
    sampler: Literal["tpe", "random"]
    """How Optuna chooses them."""
    seed: Seed
    """Seed of the sampler."""
    at_once: Count
    """Trials that are asked for before the results of the others are known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HalvingSettings(Section):
    """The keys of `hydra.sweeper` for `hydra/sweeper=halving`."""

    first: Count
    """Epochs of all jobs."""
    factor: Annotated[int, Ge(2)]
    """How many times as many epochs from one choice to the next; one job in so many goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One run, complete and checked."""

    dataset: DatasetSection
    model: ModelSection
    settings: TaskSettings
    """The top-level keys of the task: windows of a series, or lengths of texts."""
    trainer: TrainerConfig
    seed: int
    threads: int
    batch_size: int
    ensemble: int | None
    objective: Objective
    require: tuple[Requirement, ...]
    tree: dict[str, Json]
    """The same as nested plain values, as `config.yaml` holds it."""


def parse(composed: DictConfig) -> Config:
    """Check a composed configuration and turn it into a `Config`.

    Args:
        composed: what Hydra composed from `conf/`; its own section `hydra` does not count.

    Raises:
        ConfigError: with every problem found.
    """
    composed = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    secrets = list(_resolver_problems(OmegaConf.to_container(composed, resolve=False)))
    if secrets:
        raise ConfigError(secrets)
    try:
        tree = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "configuration"
        raise ConfigError([Problem(str(key), str(error).splitlines()[0])]) from error
    if not isinstance(tree, dict):
        raise ConfigError([Problem("configuration", "must be a mapping of keys")])
    return parse_tree({str(key): value for key, value in tree.items() if key not in OF_THE_START})


def _resolver_problems(node: Json, prefix: str = "") -> Iterator[Problem]:
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


def parse_tree(tree: dict[str, Json]) -> Config:
    """As `parse`, from nested plain values such as `config.yaml` holds.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[Problem] = []
    dataset_entry = _entry(DATASETS, tree, "dataset", problems)
    model_entry = _entry(MODELS, tree, "model", problems)
    if dataset_entry is None:
        raise ConfigError(problems)
    settings_type = dataset_entry.settings
    known = {"dataset", "model", "trainer", *_keys_at(settings_type), *_keys_at(General)}
    for key in tree.keys() - known:
        if key == "experiment":
            rule = "its config file must begin with `# @package _global_`, so that its keys take the place of others"
            problems.append(Problem(key, rule))
        else:
            problems.append(unknown_key(key, known, f" of dataset `{dataset_entry.name}`"))

    def top(cls: type[Checked]) -> Checked | None:
        values = {key: tree[key] for key in _keys_at(cls) if key in tree}
        return _section(cls, values, "", problems)

    dataset = _section(dataset_entry.section, tree["dataset"], "dataset.", problems)
    model = model_entry and _section(model_entry.section, tree["model"], "model.", problems)
    trainer = _section(TrainerConfig, tree.get("trainer", {}), "trainer.", problems)
    settings = top(settings_type)
    general = top(General)
    objective = _objective(tree, settings_type, problems)
    require = _requirements(tree, settings_type, problems)
    if model and settings and settings.time_steps is not None:
        for problem in model.length_problems(settings.time_steps, settings.length_key):
            problems.append(Problem(f"model.{problem.key}", problem.message))
    if model and trainer and trainer.jit_compile:
        problems += model.compile_problems()
    if model and trainer and trainer.mixed_precision:
        problems += model.precision_problems()
    if problems or not (dataset and model and trainer and settings and general and objective):
        raise ConfigError(problems)
    return Config(
        dataset=dataset,
        model=model,
        settings=settings,
        trainer=trainer,
        seed=general.seed,
        threads=general.threads,
        batch_size=general.batch_size,
        ensemble=general.ensemble,
        objective=objective,
        require=require,
        tree=tree,
    )


def read_section(cls: type[Checked], values: Json, prefix: str) -> Checked:
    """A section of its own.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[Problem] = []
    section = _section(cls, values, prefix, problems)
    if section is None:
        raise ConfigError(problems)
    return section


def fold_configs(config: Config) -> list[Config]:
    """A configuration for each fold of a run; none for a plain run. What is required is required of the whole."""
    numbers = range(1, config.settings.folds_to_run + 1)
    return [parse_tree({**config.tree, "require": None, "fold": number}) for number in numbers]


def member_configs(config: Config) -> list[Config]:
    """A configuration for each member of an ensemble, one seed after the other; each computes with one thread.

    What is required is required of the whole.
    """
    changed = {**config.tree, "require": None, "ensemble": None, "threads": 1}
    # The ensemble itself is compared with them.
    changed["trainer"] = {**config.tree["trainer"], "baselines": False}
    seeds = range(config.seed, config.seed + (config.ensemble or 0))
    return [parse_tree({**changed, "seed": seed}) for seed in seeds]


def load_config(path: Path) -> Config:
    """Read the `config.yaml` of a run directory. Interpolations in it are refused: the file is not trusted.

    Raises:
        ConfigError: if the file is missing, no YAML, or not a complete configuration of this version.
    """
    tree = load_tree(path)
    try:
        return parse_tree(tree)
    except ConfigError as error:
        raise of_another_version(path, error) from error


def of_another_version(path: Path, error: ConfigError) -> ConfigError:
    """What is wrong with a run's own `config.yaml`, in one message that says how that may have come about."""
    found = "; ".join(str(problem) for problem in error.problems)
    hint = "is no configuration of this version of seqconv; another version may have written it"
    return ConfigError([Problem(str(path), f"{hint} ({found})")])


def to_yaml(config: Config) -> str:
    """The complete configuration as the text of `config.yaml`."""
    return dump_tree(config.tree)


def _entry(
    registry: Registry[Entry], tree: Mapping[str, Json], key: str, problems: list[Problem]
) -> Entry | None:
    """The registered entry that a section names; None, and a problem more, if there is none."""
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


def _objective(
    tree: Mapping[str, Json], settings: type[TaskSettings], problems: list[Problem]
) -> Objective | None:
    """None, with its problem where it is a text; other values are problems of their section."""
    name = tree.get("objective")
    found = read_objective(name, settings.metrics) if isinstance(name, str) else None
    if isinstance(found, Problem):
        problems.append(found)
        return None
    return found


def _requirements(
    tree: Mapping[str, Json], settings: type[TaskSettings], problems: list[Problem]
) -> tuple[Requirement, ...]:
    found = list(read_requirements(tree.get("require"), settings.metrics))
    problems.extend(each for each in found if isinstance(each, Problem))
    return tuple(each for each in found if isinstance(each, Requirement))


def _section(
    cls: type[Checked], values: Json, prefix: str, problems: list[Problem]
) -> Checked | None:
    """Validate one section; on failure add its problems and return None."""
    try:
        # As JSON, since pydantic's strict mode takes no mapping for a dataclass and no list for a tuple else.
        section = TypeAdapter(cls).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems.extend(_problems_of(error, cls, prefix))
        return None
    found = list(_rules_between_fields(section, prefix))
    problems.extend(found)
    return None if found else section


def _rules_between_fields(section: object, prefix: str) -> Iterator[Problem]:
    """The problems that a section, and the sections in it, find themselves."""
    if not isinstance(section, Section):
        return
    for problem in section.problems():
        yield Problem(prefix + problem.key, problem.message)
    for field in fields(section):
        yield from _rules_between_fields(getattr(section, field.name), f"{prefix}{field.name}.")


def _problems_of(error: ValidationError, cls: type, prefix: str) -> Iterator[Problem]:
    """The findings of pydantic in our words: the full key, the rule, what was received."""
    for finding in error.errors(include_url=False):
        yield _problem_of(finding, cls, prefix)


def _problem_of(finding: ErrorDetails, cls: type, prefix: str) -> Problem:
    path = [str(part) for part in finding["loc"]]
    key = (prefix + ".".join(path)).rstrip(".")
    if finding["type"] == "missing":
        return Problem(key, "is missing")
    if finding["type"] == "unexpected_keyword_argument":
        owner = key.rpartition(".")[0]
        return unknown_key(
            key, [f"{owner}.{name}".lstrip(".") for name in _keys_at(cls, path[:-1])]
        )
    rule = finding["msg"].removeprefix("Value error, ")
    for theirs, ours in WORDING.items():
        rule = rule.replace(theirs, ours)
    return Problem(key, f"{rule}; received {finding['input']!r}")


# Parts of pydantic's sentences in our words: people write YAML, not JSON.
WORDING = {
    "Input should be": "must be",
    "a valid array": "a list such as [1,2] or [a,b]",
    "an object": "a section of keys",
    "Tuple should have at least 1 item after validation, not 0": "must have at least one element",
}


def _keys_at(cls: type, path: Sequence[str] = ()) -> list[str]:
    """The keys of a section, or of the one at `path` inside it."""
    for part in path:
        cls = typing.get_type_hints(cls)[part]
    return [field.name for field in fields(cls)]
