"""One page about runs: a file of HTML that fetches nothing, drawn with Bokeh."""

from __future__ import annotations

import base64
import html
import importlib.resources
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

from seqconv import __version__
from seqconv.config.errors import ConfigError, OutputError, Problem
from seqconv.runs import layout
from seqconv.runs.compare import (
    SEED,
    Row,
    differing_keys,
    label_of,
    larger_is_better,
    sorted_rows,
)
from seqconv.runs.files import read_json, write_text
from seqconv.runs.result import objective_values, read_epochs
from seqconv.tasks.contract import Json

Figure = Any
"""A figure of Bokeh."""
# Of the runs whose curves are drawn; more cannot be told apart, and the page would grow.
MOST_CURVES = 100
MOST_KEYS = 5
PICTURES = ("forecast.png", "confusion.png")


def write_page(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write the page.

    Args:
        rows: of the runs.
        path: of the file.
        title: what they are.

    Raises:
        ConfigError: if Bokeh is not installed.
        OutputError: if the file cannot be written.
    """
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
    except ImportError as error:
        rule = "needs Bokeh: pip install 'seqconv[report]'"
        raise ConfigError([Problem("report", rule)]) from error
    ordered = sorted_rows(rows)
    keys = differing_keys(ordered)
    figures = {"curves": _curves(ordered, keys), **dict(_heat_maps(ordered, keys))}
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    scripts, divs = components(drawn) if drawn else ("", {})
    resources = Resources(mode="inline", components=["bokeh"]).render() if drawn else ""
    page = importlib.resources.files("seqconv.runs").joinpath("page.html").read_text("utf-8")
    best = ordered[0]
    text = Template(page).substitute(
        title=html.escape(title),
        summary=_summary(ordered),
        table=_table(ordered, keys),
        sections=_sections(best, divs),
        config=html.escape(_text_of(best.run_dir / layout.CONFIG)),
        environment=html.escape(json.dumps(read_json(best.run_dir / layout.ENVIRONMENT), indent=2)),
        resources=resources,
        scripts=scripts,
        version=__version__,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )
    try:
        write_text(path, text)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


def _summary(rows: Sequence[Row]) -> str:
    completed = [row for row in rows if row.status == "completed"]
    names = sorted(
        {str(row.values["dataset.name"]) for row in rows if "dataset.name" in row.values}
    )
    parts = [f"{len(completed)} of {len(rows)} runs completed, on {', '.join(names) or 'no data'}."]
    if len(names) > 1:
        parts.append("The metrics of different datasets cannot be compared.")
    if completed:
        best = completed[0]
        value = best.metrics.get(best.objective)
        if value is not None:
            parts.append(f"The best has {best.objective} {value:.5g}: {best.run_dir}.")
    return html.escape(" ".join(parts))


def _table(rows: Sequence[Row], keys: Sequence[str]) -> str:
    """Every run with what differs and all metrics; numbers sort as numbers."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics if "." not in name))
    columns = ["run", *keys, "status", *metrics]
    texts = {"run", "status", *(key for key in keys if _is_text(rows, key))}
    head = "".join(
        f'<th scope="col" aria-sort="none"{_kind(column in texts)}><button type="button">'
        f"{html.escape(column.removesuffix('.name'))}</button></th>"
        for column in columns
    )
    lines = []
    for place, row in enumerate(rows):
        values: dict[str, Json] = {"run": row.run_dir.name, "status": row.status}
        values |= {key: row.values.get(key) for key in keys} | row.metrics
        cells = "".join(_cell(values.get(column), column in texts) for column in columns)
        mark = ' class="best"' if place == 0 and row.status == "completed" else ""
        lines.append(f"<tr{mark}>{cells}</tr>")
    return (
        '<table id="table"><caption>The best first, by the objective. A click on a heading sorts.</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _is_text(rows: Sequence[Row], key: str) -> bool:
    return any(not isinstance(row.values.get(key), int | float | None) for row in rows)


def _kind(text: bool) -> str:
    return ' class="text"' if text else ""


def _cell(value: Json, text: bool) -> str:
    if isinstance(value, float):
        return f'<td data-value="{value!r}"{_kind(text)}>{value:.5g}</td>'
    shown = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return f"<td{_kind(text)}>{html.escape(shown)}</td>"


def _sections(best: Row, divs: dict[str, str]) -> str:
    parts = []
    maps = {name: div for name, div in divs.items() if name.startswith("map")}
    if maps:
        labels = [name.split("|")[1] for name in maps]
        options = "".join(
            f'<option value="map{place}">{html.escape(label)}</option>'
            for place, label in enumerate(labels)
        )
        shown = "".join(
            f'<div class="map chart" id="map{place}" role="img"'
            f' aria-label="Heat map of the objective over {html.escape(labels[place])}; the table has its numbers"'
            f"{'' if place == 0 else ' hidden'}>{div}</div>"
            for place, div in enumerate(maps.values())
        )
        parts.append(
            "<h2>The objective over two settings</h2>"
            f'<p><label>Settings <select id="pair">{options}</select></label> '
            '<span class="faint">means over the runs there are</span></p>' + shown
        )
    if "curves" in divs:
        parts.append(
            '<h2>Curves</h2><p class="faint">Objective after each epoch; dashed: persistence or the majority class.</p>'
            '<div class="chart" role="img" aria-label="Curves of the objective over epochs; the table has the best'
            f' values">{divs["curves"]}</div>'
        )
    for name in PICTURES:
        path = best.run_dir / name
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            parts.append(
                f"<h2>The best: {name.removesuffix('.png')}</h2>"
                f'<img alt="{name.removesuffix(".png")} of the best run" src="data:image/png;base64,{data}">'
            )
    return "\n".join(parts)


def _curves(rows: Sequence[Row], keys: Sequence[str]) -> Figure | None:
    """The objective of each run after each epoch."""
    from bokeh.models import HoverTool, Span
    from bokeh.palettes import Viridis256
    from bokeh.plotting import figure

    histories = (objective_values(read_epochs(row.run_dir), row.objective) for row in rows)
    known = [pair for pair in zip(rows[:MOST_CURVES], histories, strict=False) if pair[1]]
    if not known:
        return None
    objective = known[0][0].objective
    drawn = figure(
        height=380,
        sizing_mode="stretch_width",
        x_axis_label="epoch",
        y_axis_label=objective,
        tools="pan,box_zoom,reset",
        toolbar_location="above",
    )
    drawn.toolbar.logo = None
    for place, (row, values) in enumerate(known):
        color = Viridis256[round(place / max(len(known) - 1, 1) * 220)]
        data = {
            "epoch": list(range(1, len(values) + 1)),
            "value": values,
            "run": [f"{row.run_dir.name}: {label_of(row, keys)}"] * len(values),
        }
        drawn.line("epoch", "value", source=data, color=color, line_width=2, alpha=0.8)
        drawn.scatter("epoch", "value", source=data, color=color, size=5, alpha=0.8)
    drawn.add_tools(
        HoverTool(tooltips=[("run", "@run"), ("epoch", "@epoch"), (objective, "@value")])
    )
    baseline = _baseline(known[0][0])
    if baseline is not None:
        span = Span(location=baseline, dimension="width", line_dash="dashed", line_color="gray")
        drawn.add_layout(span)
    return drawn


def _baseline(row: Row) -> float | None:
    """What needs no training, in the objective."""
    content = read_json(row.run_dir / layout.METRICS) or {}
    baselines = content.get("baselines") or {}
    for name in ("persistence", "majority_class"):
        value = (
            baselines.get(name, {}).get("validation", {}).get(row.objective.removeprefix("val_"))
        )
        if isinstance(value, int | float):
            return float(value)
    return None


def _heat_maps(rows: Sequence[Row], keys: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """The mean objective over each two settings that have several values."""
    from bokeh.models import BasicTicker, ColorBar, LinearColorMapper
    from bokeh.palettes import Viridis256
    from bokeh.plotting import figure

    known = [row for row in rows if row.objective in row.metrics and row.values]
    swept = [key for key in keys if key != SEED and len({_label(row, key) for row in known}) > 1]
    for place, (left, right) in enumerate(itertools.combinations(swept[:MOST_KEYS], 2)):
        cells: dict[tuple[str, str], list[float]] = {}
        for row in known:
            cell = (_label(row, left), _label(row, right))
            cells.setdefault(cell, []).append(row.metrics[row.objective])
        means = {cell: math.fsum(values) / len(values) for cell, values in cells.items()}
        names = [key.removesuffix(".name") for key in (left, right)]
        better_large = larger_is_better(known[0].objective)
        palette = Viridis256 if better_large else Viridis256[::-1]
        low, high = min(means.values()), max(means.values())
        mapper = LinearColorMapper(palette=palette, low=low, high=high)
        drawn = figure(
            height=380,
            sizing_mode="stretch_width",
            x_range=_ordered({cell[0] for cell in means}),
            y_range=_ordered({cell[1] for cell in means}),
            x_axis_label=names[0],
            y_axis_label=names[1],
            tools="hover",
            tooltips=[
                (names[0], "@x"),
                (names[1], "@y"),
                (known[0].objective, "@value"),
                ("runs", "@runs"),
            ],
            toolbar_location=None,
        )
        data = {
            "x": [cell[0] for cell in means],
            "y": [cell[1] for cell in means],
            "value": list(means.values()),
            "text": [f"{value:.4g}" for value in means.values()],
            "runs": [len(values) for values in cells.values()],
            # Light text on the dark end of the palette.
            "ink": [
                "white" if (value - low > (high - low) / 2) != better_large else "black"
                for value in means.values()
            ],
        }
        fill = {"field": "value", "transform": mapper}
        drawn.rect("x", "y", 0.98, 0.98, source=data, fill_color=fill, line_color=None)
        drawn.text(
            "x",
            "y",
            text="text",
            text_color="ink",
            source=data,
            text_align="center",
            text_baseline="middle",
        )
        drawn.add_layout(ColorBar(color_mapper=mapper, ticker=BasicTicker()), "right")
        yield f"map{place}|{names[0]} x {names[1]}", drawn


def _label(row: Row, key: str) -> str:
    value = row.values.get(key)
    return value if isinstance(value, str) else json.dumps(value)


def _ordered(labels: set[str]) -> list[str]:
    """Numbers by their size."""

    def rank(label: str) -> tuple[int, float, str]:
        try:
            return 0, float(label), ""
        except ValueError:
            return 1, 0.0, label

    return sorted(labels, key=rank)


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
