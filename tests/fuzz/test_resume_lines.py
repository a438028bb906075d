"""Whatever stands beside `resume=` on a command line: the run may go on, or it is refused and left as it is."""

from __future__ import annotations

from pathlib import Path

from examples import EXAMPLES, try_all
from hypothesis import strategies as st
from words import is_refused_or_may_start, lines

from seqconv.cli.overrides import read_command_line
from seqconv.config.schema import to_yaml
from seqconv.runs import layout as rundir


@EXAMPLES
def test_changes_of_a_run_that_is_gone_on_with(examples: int, answered, aside: Path):
    (aside / rundir.CONFIG).write_text(to_yaml(read_command_line(["model=conv1d"]).only_job))
    before = sorted(aside.rglob("*"))

    def check(words: list[str]) -> None:
        if any(word.startswith("-") for word in words):
            words = ["--", *words]
        is_refused_or_may_start(*answered(words))

    changes = st.tuples(lines(), st.sampled_from([str(aside), str(aside / "nowhere")]))
    try_all(examples, check, changes.map(lambda c: [*c[0], f"resume={c[1]}"]))
    assert [
        p for p in sorted(aside.rglob("*")) if p.name not in (".lock", rundir.CHECKPOINTS)
    ] == before
