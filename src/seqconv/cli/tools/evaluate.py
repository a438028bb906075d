"""`seqconv evaluate`: every metric and baseline of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqconv import console


def evaluate(
    run_dir: Annotated[Path, typer.Argument(help="The run directory.")],
    file: Annotated[
        str | None,
        typer.Argument(help="Other data of the same form; left out: the run's own data."),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="A run to average with, of any model; may be given again."),
    ] = None,
) -> None:
    """Evaluate the best checkpoint of a run again, with all baselines, from its directory and the data alone.

    With other runs (--with) the mean of what they predict is evaluated, and each of them.

    Nothing is written, so a run in progress is not disturbed. One JSON object goes to stdout, a table to stderr.
    """
    from seqconv.runs.files import json_line
    from seqconv.training.evaluation import evaluate_run, show_evaluation

    evaluation = evaluate_run(run_dir, file, others or ())
    show_evaluation(evaluation)
    console.result(json_line(evaluation.to_json()))
