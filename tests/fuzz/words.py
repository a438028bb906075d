"""Words of a command line that are right, nearly right or odd. Settings of Hydra itself (`hydra.*`) are left out."""

from __future__ import annotations

import functools
import importlib.resources
from typing import Any

import yaml
from hypothesis import strategies as st

from seqconv.cli.overrides import CONFIG_MODULE

GROUPS = ("dataset", "model", "trainer", "experiment", "recipe")


def _flat(tree: Any, prefix: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}.")
    return found


@functools.cache
def _known() -> tuple[list[str], list[str]]:
    """The keys of all pages, and words that choose a page."""
    pages = importlib.resources.files(CONFIG_MODULE)
    keys, choices = {"resume", "dataset.path", "require"}, []
    for group in GROUPS:
        for page in pages.joinpath(group).iterdir():
            if page.name.endswith(".yaml"):
                choices.append(f"{group}={page.name.removesuffix('.yaml')}")
                keys.update(_flat(yaml.safe_load(page.read_text("utf-8")) or {}))
    keys.update(_flat(yaml.safe_load(pages.joinpath("train.yaml").read_text("utf-8"))))
    return sorted(k for k in keys if "/" not in k and not k.startswith("hydra")), sorted(choices)


KEYS, CHOICES = _known()
# As a shell may hand it over: no NUL, but bytes that are no UTF-8.
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(
    "\udc80\udcff\x1b\x07\r\n\t'\"\\[]{}()$:,=~+@/. "
)
TEXT = st.text(CHARACTERS, max_size=12)
ODD = st.sampled_from(
    [
        "",
        "null",
        "true",
        "nan",
        "-inf",
        "1e999",
        "-0.0",
        "0x10",
        "1_000",
        "9" * 30,
        "9" * 5000,
        "1e-400",
        "[]",
        "{}",
        "[1,2]",
        "[[1],{a:[2]}]",
        "{a:1,b:{c:2}}",
        "{epochs:3}",
        "{name:gru}",
        "{_target_:os.system}",
        "[" * 60 + "]" * 60,
        "[" * 2000,
        "'",
        '"',
        "\\",
        "a b",
        "'a,b'",
        "a:b",
        "\x1b[31mred",
        "~/x",
        "~nobody-of-that-name/x.csv",
        "/dev/null/x",
        "x" * 5000,
        "test.mae<2.5",
        "[test.mae<1,test.mae>1e]",
        "test.mae<1.2.3",
        "???",
        "now",
        "2010-13-45",
        "99999999999999999999-01-01",
        "-1",
        "1.0",
        "0.5",
        "1e6",
    ]
)
INTERPOLATIONS = st.sampled_from(
    [
        "${lookback}",
        "${model}",
        "${dataset.name}",
        "${nowhere}",
        "${.name}",
        "${..}",
        "${...x}",
        "${seed",
        "$",
        "${}",
        "${${seed}}",
        "${oc.env:HOME}",
        "${oc.env:}",
        "${oc.create:[1,2]}",
        "${model.${dataset.name}}",
        "\\${seed}",
        "a${seed}b",
        "${seed}${seed}",
        "${trainer}",
        "[${seed},{a:${model}}]",
    ]
)
SWEEPS = st.sampled_from(
    [
        "1,2",
        "a,b,c",
        ",",
        "1,",
        "gru,lstm",
        "choice(1,2)",
        "range(1,4)",
        "range(1)",
        "interval(0,1)",
        "interval(1)",
        "glob(*)",
        "glob(",
        "shuffle(1,2)",
        "sort(3,2)",
        "tag(a,b,1)",
        "int(1.5)",
        "float(x)",
        "json_str([1])",
        "extend_list(1)",
        "nothing(1)",
        "[1,2],[3]",
        "{a:1},{b:2}",
        "null,auto",
        "0,1,x",
    ]
)
NUMBERS = st.integers().map(str) | st.floats().map(repr) | st.integers(0, 300).map(str)
VALUES = st.one_of(ODD, NUMBERS, TEXT, INTERPOLATIONS, SWEEPS, st.sampled_from(KEYS))


@st.composite
def _misspelt(draw: Any) -> str:
    key = draw(st.sampled_from(KEYS))
    place = draw(st.integers(0, len(key)))
    new = draw(
        st.sampled_from(["", "x", ".", "..", "@", "/", ":", "[0]", "é", " ", "$", "_target_"])
    )
    return key[:place] + new + key[place + draw(st.integers(0, 1)) :]


ALL_KEYS = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from(KEYS),
    _misspelt(),
    TEXT,
    st.sampled_from(
        ["_target_", "model._target_", "_self_", "defaults", "model@x", "model@trainer"]
    ),
)
WORDS = st.one_of(
    st.tuples(st.sampled_from(["", "", "", "+", "++", "~"]), ALL_KEYS, st.just("="), VALUES).map(
        "".join
    ),
    st.tuples(st.sampled_from(["", "+", "~"]), ALL_KEYS).map("".join),
    st.sampled_from(CHOICES),
    st.sampled_from(CHOICES).map(lambda word: word + "x"),
    TEXT,
).filter(lambda word: not word.lstrip("+~ ").startswith("hydra"))


def lines(*flags: str, most: int = 5) -> st.SearchStrategy[list[str]]:
    return st.lists(WORDS, min_size=1, max_size=most).map(lambda words: [*flags, *words])


def is_refused_or_may_start(exit_code: int, told: str) -> None:
    assert exit_code in (2, 3), told
    if exit_code == 3:
        assert "this is where data would be read" in told
    assert told.strip()
    assert "Traceback" not in told
