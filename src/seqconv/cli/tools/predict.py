"""`seqconv predict`: what a trained model says of new data."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from seqconv import console
from seqconv.config.errors import ConfigError, DataError, Problem, not_written

if TYPE_CHECKING:
    import polars

    from seqconv.training.trained import Predicting

PIPE = "-"
PIPE_BLOCK = 2**20


class Format(StrEnum):
    """What predictions are written as."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def predict(
    run_dir: Annotated[Path, typer.Argument(help="The run directory.")],
    file: Annotated[
        str,
        typer.Argument(
            help="Measurements (.csv, .csv.gz, .zip, .parquet) or texts (.csv, .jsonl, .parquet) of the form the run "
            "was trained on; - reads a table, or texts as CSV, from a pipe."
        ),
    ],
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Left out: by the end of --out, else csv."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write, whole or not at all; left out: stdout.")
    ] = None,
    newest: Annotated[
        bool, typer.Option("--newest", help="Of a series: forecast from the newest rows alone.")
    ] = False,
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="A run to average with, of any model; may be given again."),
    ] = None,
) -> None:
    """Predict with the best checkpoint of a run: forecasts in the targets' units, or classes with probabilities.

    A series gives a row for each window and lead: the time of the newest row used (forecast_origin), the time forecast
    (forecast_time), and a column for each target.
    """
    from seqconv.training.averaged import average_runs
    from seqconv.training.trained import load_run

    chosen = _format(form, out)
    if out is None and sys.stdout is None:
        raise ConfigError([Problem("--out", "is needed: there is no stdout")])
    if chosen is Format.parquet and out is None and sys.stdout.isatty():
        raise ConfigError([Problem("--out", "is needed: Parquet is not written to a terminal")])
    run = average_runs([run_dir, *others]) if others else load_run(run_dir)
    with _readable(file) as path:
        if out is None:
            _write(run, path, chosen, sys.stdout.buffer, newest=newest)
            return
        with _whole(out) as stream:
            _write(run, path, chosen, stream, newest=newest)


def _format(form: Format | None, out: Path | None) -> Format:
    if form is not None or out is None:
        return form or Format.csv
    suffix = out.suffix.lstrip(".")
    if suffix not in list(Format.__members__):
        raise ConfigError(
            [
                Problem(
                    "--out",
                    f"must end in .csv, .jsonl or .parquet, or --format must be given; received {out}",
                )
            ]
        )
    return Format(suffix)


@contextlib.contextmanager
def _readable(file: str) -> Iterator[Path]:
    """The file; what comes from a pipe as a file."""
    if file != PIPE:
        yield Path(file)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin.csv"
        with path.open("wb") as stream:
            while block := sys.stdin.buffer.read(PIPE_BLOCK):
                stream.write(block)
        try:
            yield path
        except DataError as error:
            text = str(error).replace(str(path), "standard input (read as a table or texts in CSV)")
            raise DataError(text) from error


@contextlib.contextmanager
def _whole(out: Path) -> Iterator[BinaryIO]:
    """A file that is complete or absent.

    Raises:
        OutputError: if it cannot be written.
    """
    staging = out.with_name(f".{out.name}.writing-{os.getpid()}")
    try:
        with staging.open("wb") as stream:
            yield stream
        os.replace(staging, out)
    except OSError as error:
        raise not_written(out, error) from error
    finally:
        with contextlib.suppress(OSError):
            staging.unlink(missing_ok=True)


def _write(run: Predicting, path: Path, form: Format, stream: BinaryIO, *, newest: bool) -> None:
    """Predict block by block and write each."""
    import polars as pl

    inputs, blocks = run.blocks(path, newest=newest)
    for note in inputs.notes:
        console.info(note)
    kept: list[polars.DataFrame] = []
    for predictions, part in blocks:
        table = pl.DataFrame(inputs.table(predictions, part))
        if form is Format.csv:
            # By way of text, and Parquet by way of a buffer: a pipe that is closed early is no error of polars then.
            text = table.write_csv(
                include_header=part.start == 0, datetime_format="%Y-%m-%d %H:%M:%S"
            )
            stream.write(text.encode())
        elif form is Format.jsonl:
            stream.write(table.write_ndjson().encode())
        else:
            # A Parquet file is written at once.
            kept.append(table)
    if kept:
        buffer = io.BytesIO()
        pl.concat(kept).write_parquet(buffer)
        stream.write(buffer.getbuffer())
    stream.flush()
