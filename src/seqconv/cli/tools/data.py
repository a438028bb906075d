"""`seqconv data`: the files that datasets use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqconv.config.errors import did_you_mean

if TYPE_CHECKING:
    from seqconv.config.registry import Download
    from seqconv.tasks.contract import Json

data = typer.Typer(
    help="The data that datasets use: what is there, get it, check it, remove it.",
    no_args_is_help=True,
)


@data.command("list")
def list_data() -> None:
    """Every dataset, and whether its data is in the cache."""
    from seqconv.data.cache import cache_folder

    for name, download in _downloads().items():
        path = cache_folder() / download.remote.filename if download else None
        if path is None:
            state = "needs no file"
        elif os.path.exists(path):
            state = f"{path.stat().st_size / 1e6:.1f} MB"
        else:
            state = "not fetched"
        typer.echo(f"{name:<16}{state:<16}{path or ''}".rstrip())


@data.command()
def fetch(name: Annotated[str, typer.Argument(help="A dataset, such as jena.")]) -> None:
    """Download the data of a dataset into the cache, and check it."""
    from seqconv.data import cache

    download = _download_of(name)
    if download is None:
        typer.echo(f"{name} needs no file")
        return
    path = cache.cached(download.remote) or cache.download(download.remote, download.verify)
    typer.echo(str(path))


@data.command()
def check(
    path: Annotated[Path, typer.Argument(help="A .csv, .csv.gz, .zip or .parquet file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of lines.")
    ] = False,
    time: Annotated[
        str, typer.Option(help="The column of time stamps, as dataset.time; auto: the only one.")
    ] = "auto",
    time_format: Annotated[
        str | None, typer.Option(help="Of the stamps, as dataset.time_format; left out: found.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="The column that tells series apart, as dataset.series.")
    ] = None,
) -> None:
    """Inspect a table of measurements: rows, columns, gaps, repeated time stamps, missing values."""
    from seqconv.data.inspect import inspect_series
    from seqconv.data.readers import Reading

    found = inspect_series(path, Reading(time=time, time_format=time_format, series=series))
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name.replace('_', ' '):<34}{_readable(value)}")


@data.command()
def clear(
    name: Annotated[str | None, typer.Argument(help="A dataset; all of them if left out.")] = None,
) -> None:
    """Remove downloaded data from the cache, and without NAME all that is kept of files: tables, baselines, checksums.

    Nothing else in the folder is touched. What is missing is downloaded or computed again by the next run.
    """
    from seqconv.data.cache import remove, remove_made

    chosen = list(_downloads().values()) if name is None else [_download_of(name)]
    removed = [path for download in chosen if download for path in remove(download.remote)]
    if name is None:
        removed += remove_made()
    for path in removed:
        typer.echo(f"removed {path}")
    if not removed:
        typer.echo("nothing to remove")


def _downloads() -> dict[str, Download | None]:
    """Where the file of every dataset comes from; None for those that need none."""
    from seqconv.config.registry import DATASETS

    return {name: DATASETS.get(name).download for name in DATASETS.names()}


def _download_of(name: str) -> Download | None:
    """Where the file of a dataset comes from.

    Raises:
        typer.BadParameter: if there is no such dataset.
    """
    downloads = _downloads()
    if name not in downloads:
        raise typer.BadParameter(
            f"unknown dataset `{name}`.{did_you_mean(name, downloads)} Known: {', '.join(downloads)}"
        )
    return downloads[name]


def _readable(value: Json) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
