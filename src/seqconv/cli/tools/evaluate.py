"""`seqconv evaluate`: every metric and baseline of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqconv import console


def evaluate(
    run_dir: Annotated[Path, typer.Argument(help="The run directory.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Other data of the same form; without it the data the run was trained on.",
        ),
    ] = None,
) -> None:
    """Evaluate the best checkpoint of a run again, with all baselines, from its directory and the data alone.

    Nothing is written, so a run in progress is not disturbed. One JSON object goes to stdout, a table to stderr.
    """
    from seqconv.runs.files import json_line
    from seqconv.training.evaluation import evaluate_run, show_evaluation

    evaluation = evaluate_run(run_dir, data)
    show_evaluation(evaluation)
    console.result(json_line(evaluation.to_json()))
