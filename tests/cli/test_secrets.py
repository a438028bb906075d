"""Keys of ours call no resolver: what the environment holds cannot reach `config.yaml`."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:SEQCONV_TOKEN}",
        "a-${oc.env:SEQCONV_TOKEN,x}-b",
        "${ oc.env:SEQCONV_TOKEN}",
        "${oc.decode:${oc.env:SEQCONV_TOKEN}}",
        "${oc.env:${model.name}}",
        "${hydra:runtime.cwd}",
        "${now:%Y}",
    ],
)
def test_a_resolver_is_refused_without_being_called(
    command, in_empty_folder, without_tensorflow, monkeypatch, value
):
    monkeypatch.setenv("SEQCONV_TOKEN", "hush-hush")
    answer = command(["dataset=jena", f"dataset.path='{value}'"])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "dataset.path: may refer to other keys, but not call a resolver" in answer.stderr
    assert "hush-hush" not in answer.stderr
    assert list(in_empty_folder.iterdir()) == []


def test_a_config_file_of_ones_own_may_not_either(
    command, in_empty_folder, without_tensorflow, monkeypatch, aside
):
    monkeypatch.setenv("SEQCONV_TOKEN", "hush-hush")
    (aside / "experiment").mkdir()
    (aside / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nrequire: ['${oc.env:SEQCONV_TOKEN}']\n"
    )
    answer = command(["--config-dir", str(aside), "experiment=mine"])
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert "require[0]: may refer to other keys" in answer.stderr
    assert "hush-hush" not in answer.stderr


def test_other_keys_may_be_referred_to(command, in_empty_folder, without_tensorflow):
    from seqconv.cli.overrides import read_command_line

    words = ["dataset=jena", "model=gru", "lookback=144", "delay='${lookback}'"]
    assert read_command_line(words).only_job.settings.delay == (144,)
