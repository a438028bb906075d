"""How the words of a command line are read."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from seqconv.cli.words import read_word
from seqconv.config.errors import Problem


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[32,32]", [32, 32]),
        ("[T (degC),p (mbar)]", ["T (degC)", "p (mbar)"]),
        ("[[speed,direction]]", [["speed", "direction"]]),
        ("[[wv (m/s),wd (deg)]]", [["wv (m/s)", "wd (deg)"]]),
        ("[[wv (m/s),wd (deg)],[a b,c d]]", [["wv (m/s)", "wd (deg)"], ["a b", "c d"]]),
        ("test.mae<2.5", "test.mae<2.5"),
        ("[]", []),
    ],
)
def test_names_of_columns_need_no_quotes(value, expected):
    word = read_word(OverridesParser.create(), f"key={value}")
    assert not isinstance(word, Problem)
    assert word.value() == expected


def test_lists_that_are_swept_are_several_values():
    word = read_word(OverridesParser.create(), "dataset.targets=[T (degC)],[p (mbar)]")
    assert not isinstance(word, Problem)
    assert list(word.sweep_string_iterator()) == ["['T (degC)']", "['p (mbar)']"]
