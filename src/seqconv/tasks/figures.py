"""Pictures as files. matplotlib is imported when one is drawn."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

Figure = Any
"""A `matplotlib.figure.Figure`; matplotlib is not imported to name it."""

DOTS_PER_INCH = 110
COMPRESSION = 1  # of 9; half the time of 6, for files that are a tenth larger


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_legend(axes: Any) -> None:
    """Explain the lines inside a plot."""
    # It needs no room of its own: without it the layout takes a tenth less time.
    axes.legend(fontsize="small").set_in_layout(False)


def save_figure(figure: Figure, path: Path, title: str) -> None:
    """Write a PNG file under a title."""
    figure.suptitle(plain_text(title), fontsize="medium")
    with warnings.catch_warnings():
        # A name in letters that the font does not have is drawn as boxes; that is no failure of the run.
        warnings.simplefilter("ignore", UserWarning)
        # `savefig` would go through all that is drawn once before, for its layout alone.
        figure.canvas.print_png(path, pil_kwargs={"compress_level": COMPRESSION})


def plain_text(name: str) -> str:
    """A name that matplotlib does not take for mathematics."""
    return name.replace("$", r"\$")
