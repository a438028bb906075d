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
) -> None:
    """Evaluate the best checkpoint of a run again, with all baselines, from its directory and the data alone.

    Nothing is written, so a run in progress is not disturbed. One JSON object goes to stdout, a table to stderr.
    """
    from seqconv.runs.files import json_line
    from seqconv.training.evaluation import evaluate_run, show_evaluation

    evaluation = evaluate_run(run_dir, file)
    show_evaluation(evaluation)
    console.result(json_line(evaluation.to_json()))
