"""`seqconv export`: a trained model for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What a model is written as."""

    saved_model = "saved_model"
    onnx = "onnx"
    litert = "litert"


def export(
    run_dir: Annotated[Path, typer.Argument(help="The run directory.")],
    form: Annotated[Format, typer.Option("--format", help="For TensorFlow, ONNX Runtime, LiteRT.")],
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder; left out: export-FORMAT in the run directory."),
    ] = None,
) -> None:
    """Write the best checkpoint's model with its scaling inside: raw values in, the targets' units out.

    The folder holds the model and signature.json, which names the columns that go in and come out; its name goes to
    stdout.
    """
    from seqconv.training.export import export_run
    from seqconv.training.trained import load_run

    typer.echo(str(export_run(load_run(run_dir), form.value, out)))
