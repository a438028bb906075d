"""From the words of a command line to composed configurations, with all mistakes told together.

Hydra tells of one mistake at a time and composes nothing after it. Here each override is looked at by itself:
those that are wrong are set aside with a suggestion, the rest is composed, and its values are checked too.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from seqconv.errors import ConfigError, Problem, did_you_mean, unknown_key

if TYPE_CHECKING:
    from seqconv.config import Config

CONFIG_MODULE = "pkg://seqconv.conf"
CONFIG_NAME = "train"
# A value of `resume`.
AUTO = "auto"
# Where a run goes, which a run that is gone on with knows itself.
OWN_PLACES = ("hydra.run", "hydra.sweep", "hydra.mode", "hydra.output_subdir")
# The groups of `conf/train.yaml` that always have a page, or none by default.
GROUPS = ("dataset", "model", "trainer", "experiment")


@dataclass
class CommandLine:
    """A command line that can be composed.

    Attributes:
        arguments: as Hydra's own parser has them, the overrides in a form that Hydra reads.
        words: the same as words, to hand over to Hydra.
        multirun: whether it is a sweep.
        run_dir: the resolved `hydra.run.dir`.
        sweep_dir: the resolved `hydra.sweep.dir`.
        jobs: the checked configuration of each job, or the error that keeps it from starting.
        resume: the run directory to go on with; `auto`: the newest that fits; None: a new run.
        changes: values by key for the run to go on with; there are no `jobs` then.
    """

    arguments: Namespace
    words: list[str]
    multirun: bool = False
    run_dir: str = ""
    sweep_dir: str = ""
    jobs: list[Config | ConfigError] = field(default_factory=list)
    resume: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def only_job(self) -> Config:
        """The configuration of a command line that is no sweep."""
        (job,) = self.jobs
        if isinstance(job, ConfigError):
            raise job
        return job

    def chooses(self, key: str) -> bool:
        """Whether the user set a key on the command line."""
        return any(word.partition("=")[0].lstrip("+") == key for word in self.arguments.overrides)


def asks_hydra(words: Sequence[str]) -> bool:
    """Whether a command line asks for one of Hydra's own answers, such as `--help` or `--cfg job`."""
    arguments = get_args_parser().parse_intermixed_args(list(words))
    return bool(
        arguments.help
        or arguments.hydra_help
        or arguments.shell_completion
        or arguments.cfg
        or arguments.info
    )


def read_command_line(words: Sequence[str]) -> CommandLine:
    """Compose and check everything that a command line asks for.

    Raises:
        ConfigError: with all mistakes, if no job could start.
        SystemExit: with 2, from the argument parser, for a wrong flag.
    """
    arguments = get_args_parser().parse_intermixed_args(list(words))
    flags = [word for word in words if word not in arguments.overrides]
    arguments.overrides = [_readable(word) for word in arguments.overrides]
    line = CommandLine(arguments, [*flags, *arguments.overrides])
    with _Composer(arguments) as composer:
        try:
            composer.check(line)
        except (HydraException, OmegaConfBaseException) as error:
            text = " ".join(str(error).split())
            raise ConfigError([*composer.problems, Problem("configuration", text)]) from error
    return line


def _readable(word: str) -> str:
    """An override whose value Hydra's grammar cannot read, such as `require=test.mae<2.5`, as quoted text."""
    try:
        OverridesParser.create().parse_overrides([word])
    # A ValueError is for a number of more digits than Python reads.
    except (HydraException, ValueError):
        key, equals, value = word.partition("=")
        if not equals or not re.fullmatch(r"(\+\+?|~)?[\w./@-]+", key):
            return word
        escaped = value.replace("\\", "\\\\") if value.endswith("\\") else value
        return f"{key}='" + escaped.replace("'", "\\'") + "'"
    return word


class _Composer:
    """Hydra's loader over `conf/` and `--config-dir`, for the time of a `with` block."""

    def __init__(self, arguments: Namespace):
        self.arguments = arguments
        self.config_name = arguments.config_name or CONFIG_NAME
        self.problems: list[Problem] = []
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __enter__(self) -> _Composer:
        path = create_config_search_path(CONFIG_MODULE)
        folder = self.arguments.config_dir
        if folder is not None:
            if not os.path.isdir(folder):
                raise ConfigError([Problem("--config-dir", f"no such folder: {folder}")])
            path.prepend(
                "command-line",
                f"file://{os.path.abspath(folder)}",
                anchor=SearchPathQuery(provider="schema"),
            )
        self.hydra = Hydra.create_main_hydra2(task_name="seqconv-train", config_search_path=path)
        self.loader: Any = self.hydra.config_loader
        return self

    def __exit__(self, *exception: object) -> None:
        GlobalHydra.instance().clear()

    def check(self, line: CommandLine) -> None:
        """Fill in `line`; raise `ConfigError` if no job can start."""
        overrides = self._parsed(line.arguments.overrides)
        chosen = next((o for o in overrides if o.key_or_group == "resume"), None)
        if chosen is not None and not chosen.is_sweep_override():
            value = chosen.value()
            line.resume = None if value is None else str(value)
        if line.resume not in (None, AUTO):
            self._take_changes(line, overrides)
            return
        pages = [o for o in overrides if self._is_page(o)]
        for override in pages:
            self._settle_choice(override)
        values = [o for o in overrides if o not in pages]
        base = self._compose(tuple(_strings(pages)[0]))
        values = [o for o in values if self._exists(o, base)]
        mode = str(
            next(iter(o.value() for o in values if o.key_or_group == "hydra.mode"), base.hydra.mode)
        )
        line.multirun = line.arguments.multirun or "MULTIRUN" in mode
        if not line.multirun:
            for override in overrides:
                if override.is_sweep_override():
                    self.problems.append(
                        Problem(
                            override.key_or_group, "several values make a sweep; add -m to run one"
                        )
                    )
        for job in _strings([*pages, *values]):
            line.jobs.append(self._check_job(line, job[: len(pages)], job[len(pages) :]))
        errors = [job for job in line.jobs if isinstance(job, ConfigError)]
        if self.problems or len(errors) == len(line.jobs):
            found = [problem for error in errors for problem in error.problems]
            raise ConfigError([*self.problems, *found])

    def _check_job(
        self, line: CommandLine, pages: list[str], values: list[str]
    ) -> Config | ConfigError:
        from seqconv.config import parse

        composed = copy.deepcopy(self._compose(tuple(pages)))
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(values)
        # Hydra's own way to set values; composing all pages again would take 60 ms for every job.
        self.loader._apply_overrides_to_config(parsed, composed)
        if not line.jobs:
            self._settle_resume(line, composed)
            line.run_dir = str(composed.hydra.run.dir)
            line.sweep_dir = str(composed.hydra.sweep.dir)
        with open_dict(composed):
            del composed["hydra"]
        try:
            return parse(composed)
        except ConfigError as error:
            return error

    def _settle_resume(self, line: CommandLine, composed: DictConfig) -> None:
        """A page may say `resume: auto`; a directory is named on the command line."""
        # Not resolved: what it would refer to shall not be told.
        value = dict(OmegaConf.to_container(composed, resolve=False)).get("resume")  # type: ignore[arg-type]
        line.resume = None if value is None else str(value)
        if line.resume not in (None, AUTO):
            self.problems.append(
                Problem(
                    "resume",
                    f"must be null or auto here, or name a run directory; received {value!r}",
                )
            )
        elif line.resume and line.multirun:
            self.problems.append(
                Problem(
                    "resume",
                    "goes on with one run, not with a sweep; leave out -m, or resume its jobs by name",
                )
            )

    def _take_changes(self, line: CommandLine, overrides: list[Override]) -> None:
        """What a command line changes in the run it names; the run's own configuration takes the place of pages."""
        try:
            Path(str(line.resume)).expanduser()
        except RuntimeError as error:
            self.problems.append(
                Problem("resume", f"no such run directory: {line.resume} ({error})")
            )
        if line.arguments.multirun:
            self.problems.append(
                Problem("resume", "goes on with one run, not with a sweep; leave out -m")
            )
        for override in overrides:
            key = override.key_or_group
            if key == "resume" or (self._of_hydra(override) and not key.startswith(OWN_PLACES)):
                continue
            if key.startswith(OWN_PLACES):
                rule = "is the run's own; leave it out"
            elif self._is_page(override):
                rule = (
                    "chooses a page, but the run goes on with its own config.yaml. Leave it out, and set single keys; "
                    "`resume=auto` takes a whole command line"
                )
            elif override.is_sweep_override():
                rule = "several values make a sweep, which is not gone on with"
            elif override.is_delete() or override.is_add():
                rule = "keys are set, not added or deleted: write key=value"
            elif "${" in str(override.input_line):
                rule = "may not refer to other keys; write the value"
            else:
                line.changes[key] = override.value()
                continue
            self.problems.append(Problem(key, rule))
        line.words = [
            word
            for word in line.words
            if word not in line.arguments.overrides or word.lstrip("+~").startswith("hydra")
        ]
        if self.problems:
            raise ConfigError(self.problems)

    def _parsed(self, words: list[str]) -> list[Override]:
        parser = OverridesParser.create(config_loader=self.loader)
        overrides = []
        for word in words:
            try:
                (override,) = parser.parse_overrides([word])
                if not override.key_or_group:
                    raise HydraException("there is no key")
                overrides.append(override)
            except (HydraException, ValueError):
                self.problems.append(
                    Problem(
                        word,
                        "must read like key=value (+key=value, ~key and so on, see --hydra-help)",
                    )
                )
        return overrides

    def _of_hydra(self, override: Override) -> bool:
        return override.key_or_group.split(".")[0].split("/")[0] == "hydra"

    def _is_page(self, override: Override) -> bool:
        """Whether it chooses a page, such as `model=gru`, and does not set a value."""
        return bool(self.loader.repository.group_exists(override.key_or_group))

    def _settle_choice(self, override: Override) -> None:
        """Report a page that does not exist; the nearest one stands in, so that the rest is checked too."""
        group = override.key_or_group
        if self._of_hydra(override) or override.is_delete():
            return
        if override.is_add() and group in GROUPS:
            self.problems.append(Problem(group, f"is chosen already; leave out the + of +{group}"))
            override.type = OverrideType.CHANGE
            override.input_line = str(override.input_line).lstrip("+")
        known = self.loader.get_group_options(group, results_filter=ObjectType.CONFIG)
        wanted = (
            list(override.sweep_string_iterator())
            if override.is_sweep_override()
            else [override.get_value_element_as_str()]
        )
        for name in wanted:
            if name in known or (group == "experiment" and name == "null"):
                continue
            self.problems.append(
                Problem(
                    group,
                    f"unknown {group} `{name}`.{did_you_mean(name, known)} Known: {', '.join(known)}",
                )
            )
            override._value = (get_close_matches(name, known, 1) or known[:1])[0]
            override.value_type = None
            override.input_line = f"{override.get_key_element()}={override._value}"

    def _exists(self, override: Override, base: DictConfig) -> bool:
        """Whether there is such a key to set; reports it if not."""
        key = override.key_or_group
        if override.is_add() or override.is_force_add():
            return True
        if OmegaConf.select(base, key, default=_NOTHING, throw_on_missing=False) is not _NOTHING:
            return True
        known = [name for name in _flat(base) if not name.startswith("hydra.")]
        self.problems.append(unknown_key(key, known))
        return False

    def _compose(self, pages: tuple[str, ...]) -> DictConfig:
        """The pages of `conf/` put together, before any value is set."""
        if pages not in self._composed:
            try:
                self._composed[pages] = self.hydra.compose_config(
                    config_name=self.config_name,
                    overrides=list(pages),
                    run_mode=RunMode.MULTIRUN if self.arguments.multirun else RunMode.RUN,
                    from_shell=False,
                    with_log_configuration=False,
                )
            except ValueError as error:
                # For some words, such as `~trainer=0`, Hydra has no error of its own.
                raise HydraException(str(error)) from error
        return self._composed[pages]


_NOTHING = object()


def _flat(node: Any, prefix: str = "") -> Iterator[str]:
    """All keys with their sections, `trainer.epochs`."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_dict(node) and not OmegaConf.is_missing(node, key):
            child = node._get_node(key)
            if isinstance(child, DictConfig) and not child._is_none():
                yield from _flat(child, f"{prefix}{key}.")


def _strings(overrides: list[Override]) -> list[list[str]]:
    """The overrides of each job as words, in the order of Hydra's own sweeper."""
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override() and o.is_discrete_sweep()
        else [str(o.input_line)]
        for o in overrides
        # Intervals are for sweepers that draw from them; those jobs are not known before.
        if not o.is_sweep_override() or o.is_discrete_sweep()
    ]
    return [list(job) for job in itertools.product(*choices)]
