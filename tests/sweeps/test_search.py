"""A search by Optuna: every trial once, whatever ends it; no process trains here."""

import json
import sys

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from seqconv.config.errors import ConfigError, OutputError
from seqconv.sweeps.search import Search, search

WORDS = [
    "model=conv1d,gru",
    "trainer.learning_rate=tag(log,interval(1e-4,1e-1))",
    "batch_size=interval(1,9)",
]


class Launcher:
    """Writes results; the process ends before the job of a number, the sweep stops after it, or no job completes."""

    def __init__(self, folder, dies_at=None, stops_at=None, fails=False):
        self.folder, self.dies_at, self.stops_at = folder, dies_at, stops_at
        self.fails = "failed" if fails is True else fails
        self.launched, self.words = [], {}

    def __call__(self, shared, jobs):
        for number, words in jobs.items():
            self.launched.append(number)
            if number == self.dies_at:
                raise KeyboardInterrupt
            values = dict(word.split("=") for word in words)
            self.words[number] = words
            failed = values["batch_size"] == "9"
            result = {
                "status": self.fails or ("failed" if failed else "completed"),
                "objective": {"name": "val_loss", "value": float(values["trainer.learning_rate"])},
            }
            run_dir = self.folder / str(number)
            run_dir.mkdir(exist_ok=True)
            (run_dir / "metrics.json").write_text(json.dumps(result))
        return self.stops_at not in jobs


def plan(**changes):
    usual = {"trials": 30, "sampler": "tpe", "seed": 0, "at_once": 2}
    usual |= {"objective": "val_loss", "larger_is_better": False, "settings": "these"}
    return Search(**(usual | changes))


def overrides(*words):
    return OverridesParser.create().parse_overrides(list(words or WORDS))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_as_many_trials_as_are_wanted(tmp_path, sampler, capsys):
    launcher = Launcher(tmp_path)
    search(plan(sampler=sampler), overrides(*WORDS, "seed=1"), tmp_path, launcher)
    assert launcher.launched == list(range(30))
    rates = [float(words[1].split("=")[1]) for words in launcher.words.values()]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert {words[0] for words in launcher.words.values()} == {"model=conv1d", "model=gru"}
    assert "the best of 30 trials" in capsys.readouterr().err
    if sampler == "tpe":
        # Small rates are good here, which it has learnt.
        assert sum(rates[-10:]) < sum(rates[:10])


def test_a_trial_with_another_objective_counts_as_failed(tmp_path, capsys):
    search(plan(trials=2, objective="val_mae"), overrides(), tmp_path, Launcher(tmp_path))
    error = capsys.readouterr().err
    assert "trial 1 has the objective val_loss, the search val_mae: it counts as failed" in error
    assert "the best of" not in error


def test_killed_and_resumed_every_trial_is_there_once(tmp_path):
    first = Launcher(tmp_path, dies_at=7)
    with pytest.raises(KeyboardInterrupt):
        search(plan(), overrides(), tmp_path, first)
    assert first.launched == list(range(8))
    again = Launcher(tmp_path)
    search(plan(), overrides(), tmp_path, again)
    # Number 6 was done, but nobody had been told; a run that is done is not trained again.
    assert again.launched == list(range(6, 30))
    assert again.words[6] == first.words[6]
    # What failed is tried again, as the run it is; nothing else is.
    last = Launcher(tmp_path)
    search(plan(), overrides(), tmp_path, last)
    failed = [n for n, words in again.words.items() if "batch_size=9" in words]
    assert last.launched == failed
    assert all(last.words[number] == again.words[number] for number in failed)


def test_a_failure_that_passes_costs_no_trial(tmp_path):
    """Such as a file on a share that goes away: a search would else be used up in seconds."""
    failing = Launcher(tmp_path, fails=True)
    search(plan(trials=5), overrides(), tmp_path, failing)
    assert failing.launched == list(range(5))
    again = Launcher(tmp_path)
    search(plan(trials=6), overrides(), tmp_path, again)
    assert again.launched == list(range(6))
    assert {number: again.words[number] for number in range(5)} == failing.words


def test_a_trial_that_diverged_is_not_tried_again(tmp_path):
    search(plan(trials=3), overrides(), tmp_path, Launcher(tmp_path, fails="diverged"))
    last = Launcher(tmp_path)
    search(plan(trials=3), overrides(), tmp_path, last)
    assert last.launched == []


def test_a_search_whose_config_files_have_changed(tmp_path):
    search(plan(trials=2), overrides(), tmp_path, Launcher(tmp_path))
    with pytest.raises(OutputError, match="a config file or a default has changed since"):
        search(plan(settings="others"), overrides(), tmp_path, Launcher(tmp_path))


def test_a_failure_ends_the_search_where_that_is_wanted(tmp_path):
    launcher = Launcher(tmp_path, stops_at=4)
    search(plan(), overrides(), tmp_path, launcher)
    assert launcher.launched == list(range(6))
    # What was done counts.
    again = Launcher(tmp_path, stops_at=6)
    search(plan(), overrides(), tmp_path, again)
    assert again.launched == [6, 7]


def test_how_a_search_is_run_is_no_part_of_it(tmp_path):
    """Such as the advice to repeat the command with `sweep.resume`."""
    search(plan(trials=2), overrides(), tmp_path, Launcher(tmp_path))
    other = [f"sweep.resume={tmp_path}", "sweep.on_failure=stop", "trainer.checkpoint_seconds=9"]
    launcher = Launcher(tmp_path)
    search(plan(trials=3), overrides(*other, *WORDS), tmp_path, launcher)
    assert launcher.launched == [2]


def test_a_search_of_other_settings(tmp_path):
    search(plan(trials=2), overrides(), tmp_path, Launcher(tmp_path))
    with pytest.raises(OutputError, match="holds a search of other settings"):
        search(plan(), overrides(*WORDS, "seed=1"), tmp_path, Launcher(tmp_path))


def test_nothing_to_search(tmp_path):
    with pytest.raises(ConfigError, match="there are none"):
        search(plan(), overrides("model=gru"), tmp_path, Launcher(tmp_path))


def test_without_optuna(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'seqconv\[optuna\]'"):
        search(plan(), overrides(), tmp_path, Launcher(tmp_path))
