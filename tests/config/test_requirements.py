"""Conditions on a finished run: what they may name."""

import dataclasses
import typing

from seqconv.config.requirements import NUMBERS
from seqconv.runs.result import Result
from seqconv.tasks.metrics import value_of


def test_the_numbers_that_may_be_named_are_those_of_the_result():
    hints = typing.get_type_hints(Result)
    for part, names in NUMBERS.items():
        (section,) = (kind for kind in typing.get_args(hints[part]) if kind is not type(None))
        fields = {field.name for field in dataclasses.fields(section)} - {"name"}
        assert set(names) == fields


def test_a_part_of_a_name_may_hold_dots():
    values = {"test": {"a": {"mae": 1.0}, "a.b": {"mae": 2.0}, "a.b.mae": 3.0}}
    assert value_of(values, "test.a.mae") == 1.0
    assert value_of(values, "test.a.b.mae") == 3.0
    del values["test"]["a.b.mae"]
    assert value_of(values, "test.a.b.mae") == 2.0
    assert value_of(values, "test.c.mae") is None
    assert value_of(values, "test.a.mae.more") is None
