"""From the words of a command line to checked configurations, with all mistakes reported together.

Hydra composes; only when it refuses is the command line looked at word by word, since it reports one mistake at a time.
"""

from __future__ import annotations

import copy
import itertools
import math
import operator
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

import hydra

# The one private name of Hydra: it offers its argument parser nowhere else, and a copy would miss new flags.
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from seqconv.cli.composed import (
    AUTO,
    BASIC_LAUNCHER,
    HALVING,
    LAUNCHER,
    OF_GRIDS,
    SEARCH,
    all_keys,
    can_start,
    check,
    choose_threads,
    launcher_of,
    problems_of_kind,
    section,
    sweeper_of,
    unresolved,
)
from seqconv.cli.words import (
    MOST_JOBS,
    MOST_SAMPLES,
    REFUSALS,
    chosen_names,
    first_word,
    jobs_of,
    quoted,
    read_word,
    samples_of,
    words_of,
)
from seqconv.config.errors import ConfigError, Problem, did_you_mean, unknown_key
from seqconv.sweeps.cluster import missing_extra, problems_of

if TYPE_CHECKING:
    from seqconv.config.schema import Checked, Config, SweepSettings
    from seqconv.tasks.contract import Json

CONFIG_MODULE = "seqconv.conf"
CONFIG_NAME = "train"
SINGLE_RUN_THREADS = 2
# Of an interval, so that what lies there is no whole number.
FRACTION = 0.377
# What a run that is resumed knows itself.
PLACES = ("hydra.run", "hydra.sweep", "hydra.mode", "hydra.output_subdir")


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandLine:
    """A command line that can start.

    Attributes:
        flags: what is no override, such as `-m`.
        overrides: in a form that Hydra reads.
        resume: the run directory to resume; `auto`: the newest that fits; None: a new run.
        changes: values by key for the run to resume; there are no `jobs` then.
        multirun: whether it is a sweep.
        run_dir: the resolved `hydra.run.dir`.
        sweep_dir: the resolved `hydra.sweep.dir`.
        sweep: how its jobs are started; None for one run.
        knows_jobs: whether the jobs are those of the grid; another sweeper chooses them as it goes.
        halves: whether only the best of them go on to their ends.
        detached: whether jobs may still run when the command has been interrupted, as on a cluster.
        job_words: what each job of a grid overrides, Hydra's own keys aside.
        jobs: the checked configuration of each job, or the error that keeps it from starting; of another sweeper
            samples.
    """

    flags: list[str]
    overrides: list[str]
    resume: str | None
    changes: dict[str, Json] = field(default_factory=dict)
    multirun: bool = False
    run_dir: str = ""
    sweep_dir: str = ""
    sweep: SweepSettings | None = None
    knows_jobs: bool = True
    halves: bool = False
    detached: bool = False
    job_words: list[list[str]] = field(default_factory=list)
    jobs: list[Config | ConfigError] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """To hand over to Hydra."""
        return [*self.flags, *self.overrides]

    @property
    def only_job(self) -> Config:
        """The configuration of a command line that is no sweep."""
        (job,) = self.jobs
        if isinstance(job, ConfigError):
            raise job
        return job

    def chooses(self, key: str) -> bool:
        """Whether the user set a key on the command line."""
        return any(word.partition("=")[0].lstrip("+") == key for word in self.overrides)


def asks_hydra(words: Sequence[str]) -> bool:
    """Whether a command line asks for one of Hydra's own answers, such as `--help` or `--cfg job`."""
    asked = get_args_parser().parse_intermixed_args(list(words))
    return bool(asked.help or asked.hydra_help or asked.shell_completion or asked.cfg or asked.info)


def read_command_line(
    words: Sequence[str], *, prepare: Callable[[], object] = lambda: None
) -> CommandLine:
    """Compose and check everything that a command line asks for.

    Args:
        words: without the program's name.
        prepare: called as soon as one job of a sweep with our launcher is known to be able to start.

    Raises:
        ConfigError: with all mistakes, if no job can start.
        SystemExit: with 2, from the argument parser, for a wrong flag.
    """
    arguments = get_args_parser().parse_intermixed_args(list(words))
    flags = [word for word in words if word not in arguments.overrides]
    for flag in ("config_path", "experimental_rerun"):
        if getattr(arguments, flag, None):
            rule = (
                "is not for seqconv: give your own config files by --config-dir, and `resume` a run"
            )
            raise ConfigError([Problem(f"--{flag.replace('_', '-')}", rule)])
    with hydra.initialize_config_module(
        CONFIG_MODULE, job_name="seqconv-train", version_base="1.3"
    ):
        reader = _Reader(arguments, GlobalHydra.instance().config_loader(), prepare)
        try:
            return reader.resumed(flags) if reader.names_run() else reader.new(flags)
        except REFUSALS as error:
            raise ConfigError([*reader.problems, _refusal(error)]) from error


def hand_over(words: Sequence[str], job: Callable[[DictConfig], float | None]) -> None:
    """Let Hydra do what it does for any application: `.hydra/`, the log, callbacks, launchers."""
    sys.argv[1:] = words
    path = f"pkg://{CONFIG_MODULE}"
    hydra.main(version_base="1.3", config_path=path, config_name=CONFIG_NAME)(job)()


@dataclass(frozen=True)
class _Groups:
    """What an override asks of a `ConfigLoader`."""

    get_group_options: Callable[[str, ObjectType], list[str]]


class _Reader:
    """Reads one command line, inside `initialize_config_module`.

    Attributes:
        problems: found so far.
        overrides: those that can be parsed.
        choices: those that choose from a group, such as `model=gru`.
        values: those that set a key.
    """

    def __init__(self, arguments: Namespace, loader: ConfigLoader, prepare: Callable[[], object]):
        self.prepare = prepare
        self.problems: list[Problem] = []
        self.config_name = arguments.config_name or CONFIG_NAME
        self.multirun = bool(arguments.multirun)
        self.loader = loader
        self.search_path: list[str] = []
        # Asked for what `glob(...)` stands for; the loader by itself knows nothing of `--config-dir`.
        self.parser = OverridesParser.create(
            config_loader=cast(ConfigLoader, _Groups(self._listing))
        )
        self.search_path = self._search_path(arguments)
        self.overrides = self._parsed(arguments.overrides)
        self._top_groups: list[str] | None = None
        self._listed: dict[str, list[str]] = {}
        self._tell_apart()

    def _tell_apart(self) -> None:
        self.choices = [o for o in self.overrides if self._options(o)]
        self.values = [o for o in self.overrides if o not in self.choices]

    def _search_path(self, arguments: Namespace) -> list[str]:
        """The override that does what `--config-dir` does, which Hydra's functions know nothing of."""
        folder = arguments.config_dir
        if folder is not None and not os.path.isdir(folder):
            raise ConfigError([Problem("--config-dir", f"no such folder: {folder}")])
        paths = [] if folder is None else [f"file://{os.path.abspath(folder)}"]
        for word in arguments.overrides:
            if word.partition("=")[0].lstrip("+") == "hydra.searchpath":
                found = read_word(self.parser, word)
                value = None if isinstance(found, Problem) else found.value()
                paths += map(str, value) if isinstance(value, list) else []
        return [f"hydra.searchpath=[{','.join(map(quoted, paths))}]"] if paths else []

    def _parsed(self, words: Sequence[str]) -> list[Override]:
        """The overrides that can be read."""
        found = [read_word(self.parser, word) for word in words]
        self.problems += [each for each in found if isinstance(each, Problem)]
        return [each for each in found if isinstance(each, Override)]

    # A new run

    def new(self, flags: list[str]) -> CommandLine:
        """The command line of a new run, or of a sweep."""
        choices = [word for o in self.choices for word in self._valid_choice(o)]
        if self.problems:
            raise ConfigError(self._diagnosis(choices))
        try:
            first = self._first(choices)
            knows_jobs = sweeper_of(first) in OF_GRIDS
            if knows_jobs:
                self._refuse_too_many()
            self._prepare(first)
            jobs = [first, *self._others(first)]
        except REFUSALS as error:
            raise ConfigError(self._diagnosis(choices) or [_refusal(error)]) from error
        multirun = self._is_sweep(first)
        threads = [choose_threads(job, 1 if multirun else SINGLE_RUN_THREADS) for job in jobs]
        self.problems += [
            *problems_of_kind(first, self.overrides, multirun=multirun),
            *self._fractions(first),
        ]
        sweep = self._sweep_settings(first) if multirun else None
        checked = [check(job) for job in jobs]
        errors = [job for job in checked if isinstance(job, ConfigError)]
        if self.problems or len(errors) == len(jobs):
            raise ConfigError([*self.problems, *(p for error in errors for p in error.problems)])
        return CommandLine(
            flags=flags,
            overrides=[*map(self._for_hydra, self.overrides), *threads[0]],
            resume=unresolved(first).get("resume"),
            multirun=multirun,
            run_dir=os.path.expanduser(str(first.hydra.run.dir)),
            sweep_dir=os.path.expanduser(str(first.hydra.sweep.dir)),
            sweep=sweep,
            knows_jobs=knows_jobs,
            halves=sweeper_of(first) == HALVING,
            detached=launcher_of(first) not in (LAUNCHER, BASIC_LAUNCHER),
            job_words=list(map(operator.add, jobs_of(self._task_overrides), threads))
            if knows_jobs
            else [],
            jobs=checked,
        )

    def _first(self, choices: list[str]) -> DictConfig:
        """The first job, with what a config file sweeps."""
        try:
            first = self._compose(next(jobs_of(self.overrides)))
        except REFUSALS:
            # A group that is swept there may have the keys that the configuration without it lacks.
            if not self._take_params(self._compose(choices)):
                raise
        else:
            if not self._take_params(first):
                return first
        return self._compose(next(jobs_of(self.overrides)))

    def _take_params(self, first: DictConfig) -> bool:
        """Sweep what a config file says in `hydra.sweeper.params` too; the command line comes before it."""
        params = section(first, "hydra", "sweeper").get("params")
        params = params if isinstance(params, Mapping) else {}
        chosen = {o.get_key_element() for o in self.overrides}
        words = [f"{key}={value}" for key, value in params.items() if key not in chosen]
        if not words or not self._is_sweep(first):
            return False
        self.overrides = self._parsed(words) + self.overrides
        self._tell_apart()
        return True

    def _prepare(self, first: DictConfig) -> None:
        """Composing the others of a sweep takes as long as getting ready for them."""
        if self._is_sweep(first) and launcher_of(first) == LAUNCHER and can_start(first):
            self.prepare()

    def _others(self, first: DictConfig) -> Iterator[DictConfig]:
        """The jobs after the first; of a sweeper that chooses its jobs those that show whether they can be composed."""
        if sweeper_of(first) in OF_GRIDS:
            yield from map(self._compose, itertools.islice(jobs_of(self.overrides), 1, None))
            return
        yield from map(self._compose, self._of_each_group())
        if not can_start(first):
            yield from map(self._compose, samples_of(self.overrides))

    def _of_each_group(self) -> Iterator[list[str]]:
        """The words of a job for each choice of the groups that are swept: one may lack a key that another has."""
        firsts = list(map(first_word, self.overrides))
        for place, override in enumerate(self.overrides):
            if override in self.choices and override.is_sweep_override():
                for word in words_of(override)[:MOST_SAMPLES]:
                    yield [*firsts[:place], word, *firsts[place + 1 :]]
        # The first job has no key of an interval.
        if any(not words_of(o) for o in self.overrides):
            yield firsts

    def _for_hydra(self, override: Override) -> str:
        """Hydra composes what a sweep does not change without what it does, where a key may be missing.

        Such as `dataset.path` beside `dataset=jena,table`: it is therefore added there. The jobs have been composed
        without that.
        """
        word = str(override.input_line)
        pages = any(o.is_sweep_override() for o in self.choices)
        plain = override in self.values and not override.is_hydra_override()
        changes = override.type is OverrideType.CHANGE and not override.is_sweep_override()
        return f"++{word}" if pages and plain and changes else word

    @property
    def _task_overrides(self) -> list[Override]:
        return [o for o in self.overrides if not o.is_hydra_override()]

    def _refuse_too_many(self) -> None:
        count = math.prod(len(words_of(o)) or 1 for o in self.overrides)
        if count > MOST_JOBS:
            rule = f"stands for {count:,} jobs; at most {MOST_JOBS:,} are run in one sweep: leave out values"
            raise ConfigError([*self.problems, Problem("the sweep", rule)])

    def _sweep_settings(self, composed: DictConfig) -> SweepSettings | None:
        from seqconv.config.schema import (
            HalvingSettings,
            LauncherSettings,
            SearchSettings,
            SweepSettings,
        )

        sections = {LAUNCHER: LauncherSettings, SEARCH: SearchSettings, HALVING: HalvingSettings}
        sweep = self._read(SweepSettings, section(composed, "sweep"), "sweep.")
        launcher, sweeper = (section(composed, "hydra", name) for name in ("launcher", "sweeper"))
        self.problems += problems_of(launcher)
        # What it says has been added to the command line.
        sweeper.pop("params", None)
        for group, values in (("launcher", launcher), ("sweeper", sweeper)):
            target = values.pop("_target_", None)
            if not isinstance(target, str):
                self.problems.append(Problem(f"hydra/{group}", "must name one, such as seqconv"))
            elif target in sections:
                self._read(sections[target], values, f"hydra.{group}.")
        return sweep

    def _read(self, cls: type[Checked], values: Json, prefix: str) -> Checked | None:
        from seqconv.config.schema import read_section

        try:
            return read_section(cls, values, prefix)
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _compose(self, words: Sequence[str]) -> DictConfig:
        return hydra.compose(
            self.config_name, [*self.search_path, *words], return_hydra_config=True
        )

    def _is_sweep(self, composed: DictConfig) -> bool:
        return self.multirun or "MULTIRUN" in str(composed.hydra.mode)

    def _fractions(self, first: DictConfig) -> Iterator[Problem]:
        """Intervals of keys that are whole numbers: Hydra draws from the numbers between the bounds."""
        for override in self.values:
            value, key = override.value(), override.key_or_group
            if isinstance(value, IntervalSweep) and isinstance(value.start, float):
                job = copy.deepcopy(first)
                between = round(value.start + (float(value.end or 0) - value.start) * FRACTION, 3)
                OmegaConf.update(job, key, between, force_add=True)
                choose_threads(job, 1)
                checked = check(job)
                problems = checked.problems if isinstance(checked, ConfigError) else ()
                for each in problems:
                    if each.key == key:
                        whole = (
                            f": write {key}=int(interval(...))" if "integer" in each.message else ""
                        )
                        rule = f"{each.message}, as one of {override.input_line} may be{whole}"
                        yield Problem(key, rule)

    def _valid_choice(self, override: Override) -> list[str]:
        """The word of a choice; the nearest one stands in for what does not exist, so that the rest is checked too."""
        if override.is_delete():
            return [str(override.input_line)]
        group, alternatives = override.key_or_group, words_of(override)
        problems = []
        for name in chosen_names(alternatives, several=group == "experiment"):
            options = self._options_beside(override, name)
            if group == "hydra/launcher" and (extra := missing_extra(name, options)):
                rule = f"{name} is not installed: pip install 'seqconv[{extra}]'"
                self.problems.append(Problem(group, rule))
                return []
            if name not in options:
                rule = f"unknown {group} `{name}`.{did_you_mean(name, options)} Known: {', '.join(options)}"
                problems.append(Problem(group, rule))
        if not problems:
            return alternatives[:1]
        self.problems += problems
        first = next(chosen_names(alternatives, several=group == "experiment"))
        nearest = get_close_matches(first, self._options_beside(override, first), 1)
        return [f"{override.get_key_element()}={name}" for name in nearest]

    def _options_beside(self, override: Override, name: str) -> list[str]:
        """What a group offers in the folder that a name is in."""
        folder = name.rpartition("/")[0]
        if not folder:
            return self._options(override)
        found = self._listing(f"{override.key_or_group}/{folder}", ObjectType.CONFIG)
        return [f"{folder}/{option}" for option in found] or self._options(override)

    def _diagnosis(self, choices: list[str]) -> list[Problem]:
        """All that is wrong with a command line that cannot be composed as a whole."""
        try:
            base = self._compose(choices)
        except REFUSALS as error:
            self.problems.append(_refusal(error))
            base = self._compose([])
        known = list(all_keys(unresolved(base)))
        for override in self.values:
            key = override.key_or_group
            if key in known or override.is_add() or override.is_force_add():
                self._set(base, override)
            else:
                ours = [key for key in known if not key.startswith("hydra.")]
                self.problems.append(unknown_key(key, ours))
        self.problems += problems_of_kind(base, self.overrides, multirun=self._is_sweep(base))
        choose_threads(base, SINGLE_RUN_THREADS)
        checked = check(base)
        return [*self.problems, *(checked.problems if isinstance(checked, ConfigError) else ())]

    def _set(self, composed: DictConfig, override: Override) -> None:
        """Set a key, to the first value of a sweep, so that it is checked with the others."""
        if override.is_delete():
            return
        for first in self.parser.parse_overrides(words_of(override)[:1]):
            OmegaConf.update(composed, first.key_or_group, first.value(), force_add=True)

    def _options(self, override: Override) -> list[str]:
        """What a group offers; empty if the key is none."""
        group = override.key_or_group
        if group not in self._listed:
            # Hydra copies all it knows for each question, so keys are not asked for.
            if self._top_groups is None:
                self._top_groups = self._listing("", ObjectType.GROUP)
            is_group = group.partition("/")[0] in self._top_groups
            self._listed[group] = self._listing(group, ObjectType.CONFIG) if is_group else []
        return self._listed[group]

    def _listing(self, group: str, results_filter: ObjectType) -> list[str]:
        return self.loader.get_group_options(group, results_filter, overrides=self.search_path)

    # A run to resume

    def names_run(self) -> bool:
        """Whether a run directory is named; `auto` and null may stand in a config file too."""
        return self._run() not in (None, AUTO)

    def _run(self) -> str | None:
        chosen = [o for o in self.overrides if o.key_or_group == "resume"]
        if not chosen or chosen[-1].is_sweep_override() or chosen[-1].value() is None:
            return None
        return str(chosen[-1].value())

    def resumed(self, flags: list[str]) -> CommandLine:
        """The command line that resumes a run and changes single keys of it; its own config.yaml has the others."""
        if self.multirun:
            rule = "is for one run; a sweep is resumed by sweep.resume"
            self.problems.append(Problem("resume", rule))
        if not self._run():
            rule = "must name a run directory, or be auto or null; received ''"
            self.problems.append(Problem("resume", rule))
        changes = {}
        for override in self.overrides:
            key = override.key_or_group
            if rule := self._against_change(override):
                self.problems.append(Problem(key, rule))
            elif key != "resume" and not override.is_hydra_override():
                changes[key] = override.value()
        if self.problems:
            raise ConfigError(self.problems)
        own = [str(o.input_line) for o in self.overrides if o.is_hydra_override()]
        return CommandLine(flags=flags, overrides=own, resume=self._run(), changes=changes)

    def _against_change(self, override: Override) -> str:
        """Why an override cannot change a run that is resumed; empty if it may."""
        key = override.key_or_group
        if override in self.choices or key.startswith(PLACES):
            return "is the run's own; leave it out, or let `resume=auto` find the run of this command line"
        if override.is_hydra_override() or key == "resume":
            return ""
        odd = override.is_sweep_override() or override.is_delete() or override.is_add()
        if odd or "${" in str(override.input_line):
            return "takes one plain value in a run that is resumed: write key=value"
        return ""


def _refusal(error: Exception) -> Problem:
    """Hydra's own message on one line."""
    absent = re.match(r"Could not override '([^'@]*)'", str(error))
    if absent:
        rule = "not every configuration that is chosen here has this key: choose others, or leave it out"
        return Problem(absent[1], rule)
    if isinstance(error, UnicodeDecodeError):
        return Problem("configuration", f"a config file is no UTF-8 ({error})")
    return Problem("configuration", " ".join(str(error).split()) or str(error.__cause__))
