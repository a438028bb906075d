"""One page about runs: a file of HTML that fetches nothing, drawn with Bokeh."""

from __future__ import annotations

import base64
import html
import importlib.resources
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from seqconv import __version__
from seqconv.config.errors import ConfigError, Problem, not_written
from seqconv.data.files import read_plain
from seqconv.runs import layout
from seqconv.runs.compare import (
    SEED,
    Row,
    best_of,
    differing_keys,
    label_of,
    larger_is_better,
    short_names,
    sorted_rows,
)
from seqconv.runs.files import read_json, write_text
from seqconv.runs.result import baseline_values, is_number, read_epochs, read_result
from seqconv.tasks.contract import Json

Figure = Any
"""A figure of Bokeh."""
# Of the runs whose curves are drawn; more cannot be told apart, and the page would grow.
MOST_CURVES = 100
# Of one curve: more than a screen has across.
MOST_POINTS = 500
MOST_KEYS = 8
MOST_VALUES = 30  # of a key of a heat map
# Of a heat map, in pixels: of a number of four digits.
CELL_WIDTH = 52
LONGEST_CONFIG = 1_000_000
LARGEST_PICTURE = 2_000_000
DASHES = ("dashed", "dotted", "dotdash")
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
    best = best_of(ordered)
    # Another objective cannot be drawn on the same axis.
    alike = [row for row in ordered if row.objective == best.objective]
    maps = list(_heat_maps(alike, keys))
    curves = _drawn_curves(alike, keys)
    figures = {"curves": _curves(curves, best)}
    figures |= {f"map{place}": each.figure for place, each in enumerate(maps)}
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    scripts, divs = components(drawn) if drawn else ("", {})
    resources = Resources(mode="inline", components=["bokeh"]).render() if drawn else ""
    page = importlib.resources.files("seqconv.runs").joinpath("html_report.html").read_text("utf-8")
    text = Template(page).substitute(
        title=html.escape(title),
        summary=_summary(ordered, best),
        table=_table(ordered, keys, best),
        sections=_sections(ordered, best, maps, curves, divs),
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
        raise not_written(path, error) from error


def _summary(rows: Sequence[Row], best: Row) -> str:
    completed = [row for row in rows if row.status == "completed"]
    names = sorted(
        {str(row.values["dataset.name"]) for row in rows if "dataset.name" in row.values}
    )
    parts = [f"{len(completed)} of {len(rows)} runs completed, on {', '.join(names) or 'no data'}."]
    if len(names) > 1:
        parts.append("The metrics of different datasets cannot be compared.")
    elif len({row.fingerprint for row in rows if row.fingerprint}) > 1:
        parts.append("They are of different data, so that their metrics cannot be compared.")
    objectives = sorted({row.objective for row in rows})
    if len(objectives) > 1:
        parts.append(
            f"They were chosen by different objectives ({', '.join(objectives)}), whose order says nothing."
        )
    if completed:
        value = best.metrics.get(best.objective)
        if value is not None:
            parts.append(f"The best has {best.objective} {value:.5g}: {best.run_dir}.")
    return html.escape(" ".join(parts))


def _table(rows: Sequence[Row], keys: Sequence[str], best: Row) -> str:
    """Every run with what differs and all metrics; numbers sort as numbers."""
    metrics = list(dict.fromkeys(name for row in rows for name in row.metrics if "." not in name))
    columns = ["run", *keys, "status", *metrics]
    texts = {"run", "status", *(key for key in keys if _is_text(rows, key))}
    sorts = dict.fromkeys(columns, "none")
    if len({row.objective for row in rows}) == 1 and best.objective in sorts:
        sorts[best.objective] = "descending" if larger_is_better(best.objective) else "ascending"
    head = "".join(
        f'<th scope="col" aria-sort="{sorts[column]}"{_kind(column in texts)}><button type="button">'
        f"{html.escape(column.removesuffix('.name'))}</button></th>"
        for column in columns
    )
    lines = []
    for name, row in zip(short_names(rows), rows, strict=True):
        values: dict[str, Json] = {"status": row.status}
        values |= {key: row.values.get(key) for key in keys} | row.metrics
        cells = "".join(_cell(values.get(column), column in texts) for column in columns[1:])
        mark = ' class="best"' if row is best and row.status == "completed" else ""
        start = f'<th scope="row" class="text">{html.escape(name)}</th>'
        lines.append(f"<tr{mark}>{start}{cells}</tr>")
    return (
        '<table id="table"><caption>The best first, by the objective. The headings are buttons that sort.</caption>'
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


def _sections(
    rows: Sequence[Row],
    best: Row,
    maps: Sequence[HeatMap],
    curves: Sequence[Curve],
    divs: dict[str, str],
) -> str:
    parts = []
    if maps:
        options = "".join(
            f'<option value="map{place}">{html.escape(each.title)}</option>'
            for place, each in enumerate(maps)
        )
        shown = "".join(
            f'<div class="map" id="map{place}"{"" if place == 0 else " hidden"}>'
            f'<div class="chart" role="img" aria-label="Heat map of the objective over {html.escape(each.title)};'
            f' its numbers follow as a table">{divs[f"map{place}"]}</div>{each.table}</div>'
            for place, each in enumerate(maps)
        )
        parts.append(
            "<h2>The objective over two settings</h2>"
            f'<p><label>Settings <select id="pair">{options}</select></label> '
            '<span class="faint">means over the runs that completed</span></p>' + shown
        )
    if "curves" in divs:
        parts.append(
            '<h2>Curves</h2><p class="faint">Objective after each epoch; gray: baselines, which a click on their names'
            ' hides.</p><div class="chart" role="img" aria-label="Curves of the objective over epochs; their ends'
            f' follow as a table">{divs["curves"]}</div>{_curve_table(curves, best)}'
        )
    return "\n".join([*parts, *_pictures(best), _reasons(rows)])


def _reasons(rows: Sequence[Row]) -> str:
    """What runs report, those that did not complete first; once for all that say the same."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, row in zip(short_names(rows), rows, strict=True):
        if row.reason:
            found.setdefault((row.status, row.reason), []).append(name)
    lists = {"Not completed": "", "Completed, with a requirement that is not met": ""}
    failed, unmet = lists
    for (status, reason), names in found.items():
        lists[unmet if status == "completed" else failed] += (
            f"<li>{len(names)} {status}: {html.escape(reason)} "
            f'<span class="faint">({html.escape(", ".join(names))})</span></li>'
        )
    return "".join(f"<h2>{title}</h2><ul>{items}</ul>" for title, items in lists.items() if items)


def _pictures(best: Row) -> Iterator[str]:
    for picture in PICTURES:
        try:
            content = read_plain(best.run_dir / picture, largest=LARGEST_PICTURE)
        except OSError:
            continue
        name = picture.removesuffix(".png")
        data = base64.b64encode(content).decode()
        yield (
            f'<h2 id="{name}">The best: {name}</h2>'
            f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}"><img class="wide"'
            f' alt="{name} of the best run; its metrics are in the first table"'
            f' src="data:image/png;base64,{data}"></div>'
        )


@dataclass(frozen=True)
class Curve:
    """The objective of a run after each epoch.

    Attributes:
        name: of the run, as in the table.
        label: what tells it from the others.
        points: epochs and values, `(points, 2)`; of a long run as many as can be seen.
    """

    name: str
    label: str
    points: np.ndarray


def _drawn_curves(rows: Sequence[Row], keys: Sequence[str]) -> list[Curve]:
    curves = [
        Curve(name, label_of(row, keys), _history(row))
        for name, row in zip(short_names(rows)[:MOST_CURVES], rows, strict=False)
    ]
    return [curve for curve in curves if len(curve.points)]


def _history(row: Row) -> np.ndarray:
    points = [
        (record["epoch"], record[row.objective])
        for record in read_epochs(row.run_dir)
        if is_number(record.get("epoch")) and is_number(record.get(row.objective))
    ]
    chosen = np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).round().astype(int)
    return np.array([points[place] for place in chosen], dtype=float)


def _curves(curves: Sequence[Curve], best: Row) -> Figure | None:
    """The curves, with the baselines as lines."""
    from bokeh.models import BasicTicker, ColumnDataSource, DataRange1d, HoverTool
    from bokeh.palettes import Viridis256
    from bokeh.plotting import figure

    if not curves:
        return None
    objective = best.objective
    drawn = figure(
        height=420,
        sizing_mode="stretch_width",
        x_axis_label="epoch",
        y_axis_label=objective,
        y_range=DataRange1d(only_visible=True),
        tools="pan,box_zoom,reset",
        toolbar_location="above",
    )
    drawn.toolbar.logo = None
    drawn.xaxis.ticker = BasicTicker(min_interval=1, num_minor_ticks=0)
    points = []
    for place, curve in enumerate(curves):
        color = Viridis256[round(place / max(len(curves) - 1, 1) * 220)]
        source = ColumnDataSource({"epoch": curve.points[:, 0], "value": curve.points[:, 1]})
        drawn.line("epoch", "value", source=source, color=color, line_width=2, alpha=0.8)
        name = f"{curve.name}: {curve.label}"
        points.append(
            drawn.scatter(
                "epoch", "value", source=source, color=color, size=5, alpha=0.8, name=name
            )
        )
    tooltips = [("run", "$name"), ("epoch", "@epoch"), (objective, "@value{%.5g}")]
    formatters = {"@value": "printf"}
    drawn.add_tools(HoverTool(renderers=points, tooltips=tooltips, formatters=formatters))
    _draw_baselines(drawn, best)
    return drawn


def _curve_table(curves: Sequence[Curve], best: Row) -> str:
    """Where the curves begin, are best and end, for those who cannot see them."""
    columns = ("run", "settings", "first", "best", "best epoch", "last", "last epoch")
    lines = []
    for curve in curves:
        epochs, values = curve.points[:, 0].astype(int), curve.points[:, 1]
        place = int(values.argmax() if larger_is_better(best.objective) else values.argmin())
        cells = (values[0], values[place], epochs[place], values[-1], epochs[-1])
        lines.append(
            f'<tr><th scope="row" class="text">{html.escape(curve.name)}</th>{_cell(curve.label, text=True)}'
            + "".join(_cell(cell.item(), text=False) for cell in cells)
            + "</tr>"
        )
    return _as_table(f"{best.objective} along the epochs", columns, "".join(lines))


def _as_table(caption: str, columns: Sequence[str], lines: str) -> str:
    """What a chart shows, folded away below it."""
    caption = html.escape(caption)
    # An empty corner is no heading.
    head = "".join(
        f'<th scope="col">{html.escape(column)}</th>' if column else "<td></td>"
        for column in columns
    )
    return (
        '<details><summary>As a table</summary><div class="scroll" tabindex="0" role="region"'
        f' aria-label="{caption}"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div></details>"
    )


def _draw_baselines(drawn: Figure, best: Row) -> None:
    """What needs no training, in the objective."""
    from bokeh.models import Legend

    result = read_result(best.run_dir)
    baselines = {} if result is None else baseline_values(result, best.objective)
    items = [
        (
            name.replace("_", " "),
            [drawn.hspan(y=[value], line_dash=dash, line_color="#59636e", line_width=2)],
        )
        for (name, value), dash in zip(baselines.items(), itertools.cycle(DASHES), strict=False)
    ]
    if items:
        # Side by side they would not fit on a phone.
        legend = Legend(
            items=items, ncols=2, location="left", click_policy="hide", border_line_color=None
        )
        drawn.add_layout(legend, "below")


@dataclass(frozen=True)
class HeatMap:
    """The mean objective over two settings.

    Attributes:
        title: their names.
        figure: of Bokeh.
        table: the same numbers as HTML.
    """

    title: str
    figure: Figure
    table: str


def _heat_maps(rows: Sequence[Row], keys: Sequence[str]) -> Iterator[HeatMap]:
    """One for each two settings that have several values."""
    known = [
        row
        for row in rows
        if row.status == "completed" and row.objective in row.metrics and row.values
    ]
    counts = {key: len({_label(row, key) for row in known}) for key in keys if key != SEED}
    # Of a setting that a search has drawn nearly every job has another value.
    swept = [key for key, count in counts.items() if 1 < count <= MOST_VALUES]
    for left, right in itertools.combinations(swept[:MOST_KEYS], 2):
        cells: dict[tuple[str, str], list[float]] = {}
        for row in known:
            cell = (_label(row, left), _label(row, right))
            cells.setdefault(cell, []).append(row.metrics[row.objective])
        names = (left.removesuffix(".name"), right.removesuffix(".name"))
        means = {cell: math.fsum(values) / len(values) for cell, values in cells.items()}
        jobs = [len(values) for values in cells.values()]
        yield HeatMap(
            title=f"{names[0]} x {names[1]}",
            figure=_heat_map(means, jobs, names, known[0].objective),
            table=_heat_table(means, names, known[0].objective),
        )


def _heat_table(means: dict[tuple[str, str], float], names: tuple[str, str], objective: str) -> str:
    """The numbers of a heat map, for those who cannot see it."""
    across, down = (_ordered({cell[axis] for cell in means}) for axis in (0, 1))
    lines = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th>'
        + "".join(_cell(means.get((other, label)), text=False) for other in across)
        + "</tr>"
        for label in reversed(down)
    )
    caption = f"Mean {objective}; across {names[0]}, down {names[1]}"
    return _as_table(caption, ("", *across), lines)


def _heat_map(
    means: dict[tuple[str, str], float],
    counts: Sequence[int],
    names: tuple[str, str],
    objective: str,
) -> Figure:
    """The means as colours and numbers."""
    from bokeh.models import BasicTicker, ColorBar, HoverTool, LinearColorMapper
    from bokeh.palettes import Viridis256
    from bokeh.plotting import figure

    better_large = larger_is_better(objective)
    palette = Viridis256 if better_large else Viridis256[::-1]
    low, high = min(means.values()), max(means.values())
    mapper = LinearColorMapper(palette=palette, low=low, high=high)
    across, down = (_ordered({cell[axis] for cell in means}) for axis in (0, 1))
    drawn = figure(
        height=380,
        sizing_mode="stretch_width",
        # Of its numbers and the color bar; a narrow screen scrolls.
        min_width=CELL_WIDTH * len(across) + 150,
        x_range=across,
        y_range=down,
        x_axis_label=names[0],
        y_axis_label=names[1],
        tools="",
        toolbar_location=None,
    )
    tooltips = [
        (names[0], "@x"),
        (names[1], "@y"),
        (objective, "@value{%.5g}"),
        ("runs", "@runs"),
    ]
    drawn.add_tools(HoverTool(tooltips=tooltips, formatters={"@value": "printf"}))
    data = {
        "x": [cell[0] for cell in means],
        "y": [cell[1] for cell in means],
        "value": list(means.values()),
        "text": [f"{value:.4g}" for value in means.values()],
        "runs": counts,
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
        text_font_size="12px",
        source=data,
        text_align="center",
        text_baseline="middle",
    )
    drawn.add_layout(ColorBar(color_mapper=mapper, ticker=BasicTicker()), "right")
    return drawn


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
        return read_plain(path, largest=LONGEST_CONFIG).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
