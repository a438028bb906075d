"""`seqconv`: everything that is not training."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from seqconv import __version__, console
from seqconv.errors import SeqconvError, did_you_mean

app = typer.Typer(
    help="What is not training. To train: seqconv-train --help",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
data = typer.Typer(
    help="The data that datasets use: what is there, get it, check it, remove it.",
    no_args_is_help=True,
)
app.add_typer(data, name="data")


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


@data.command("list")
def list_data() -> None:
    """Every dataset, and whether its data is in the cache."""
    from seqconv.data.cache import cache_folder

    rows = []
    for name, remote in _remotes().items():
        path = cache_folder() / remote.filename if remote else None
        if path is None:
            rows.append([name, "needs no file", ""])
        elif path.exists():
            rows.append([name, f"{path.stat().st_size / 1e6:.1f} MB", str(path)])
        else:
            rows.append([name, "not fetched", str(path)])
    for name, state, path_text in rows:
        typer.echo(f"{name:<16}{state:<16}{path_text}".rstrip())


@data.command()
def fetch(name: Annotated[str, typer.Argument(help="A dataset, such as jena.")]) -> None:
    """Download the data of a dataset into the cache, and check it."""
    from seqconv.data.cache import cached, download

    remotes = _remotes()
    if name not in remotes:
        raise typer.BadParameter(
            f"unknown dataset `{name}`.{did_you_mean(name, remotes)} Known: {', '.join(remotes)}"
        )
    remote = remotes[name]
    if remote is None:
        typer.echo(f"{name} needs no file")
        return
    path = cached(remote) or download(remote, _module(name).verify_download)
    typer.echo(str(path))


@data.command()
def check(
    path: Annotated[Path, typer.Argument(help="A .csv, .csv.gz or .zip file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object instead of lines.")
    ] = False,
) -> None:
    """Inspect a file in Jena's format: rows, columns, gaps, repeated time stamps, missing marks."""
    from seqconv.data.inspecting import inspect_series

    found = inspect_series(path)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name.replace('_', ' '):<34}{_readable(value)}")


@data.command()
def clear(
    name: Annotated[str | None, typer.Argument(help="A dataset; all of them if left out.")] = None,
) -> None:
    """Remove downloaded data from the cache. Nothing else in the folder is touched."""
    from seqconv.data.cache import remove

    remotes = _remotes()
    if name is not None and name not in remotes:
        raise typer.BadParameter(
            f"unknown dataset `{name}`.{did_you_mean(name, remotes)} Known: {', '.join(remotes)}"
        )
    chosen = remotes if name is None else {name: remotes[name]}
    removed = [path for remote in chosen.values() if remote for path in remove(remote)]
    for path in removed:
        typer.echo(f"removed {path}")
    if not removed:
        typer.echo("nothing to remove")


def _remotes() -> dict[str, Any]:
    """The file on the web of every dataset; None for those that need none."""
    from seqconv.registry import DATASETS

    return {name: getattr(_module(name), "REMOTE", None) for name in DATASETS.names()}


def _module(name: str) -> Any:
    from seqconv.registry import DATASETS

    return sys.modules[DATASETS.get(name).build.__module__]


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
