"""`seqconv`: everything that is not training. Results go to stdout, everything for people to stderr."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from seqconv import __version__, console
from seqconv.cli.tools.data import data
from seqconv.cli.tools.evaluate import evaluate
from seqconv.cli.tools.export import export
from seqconv.cli.tools.predict import predict
from seqconv.cli.tools.runs import runs
from seqconv.config.errors import SeqconvError

app = typer.Typer(
    help="What is not training. To train: seqconv-train --help",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
app.add_typer(data, name="data")
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.add_typer(runs, name="runs")


def main() -> None:
    """The console script."""
    try:
        app()
    except SeqconvError as error:
        console.error(error, "seqconv")
        sys.exit(error.exit_code)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Options of `seqconv` itself."""
    if version:
        typer.echo(f"seqconv {__version__}")
        raise typer.Exit
