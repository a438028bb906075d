"""Pictures as files. matplotlib is imported when one is drawn."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

Figure = Any
"""A `matplotlib.figure.Figure`; matplotlib is not imported to name it."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, title: str) -> None:
    """Write a PNG file under a title."""
    figure.suptitle(plain_text(title), fontsize="medium")
    with warnings.catch_warnings():
        # A name in letters that the font does not have is drawn as boxes; that is no failure of the run.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(path, dpi=110)


def plain_text(name: str) -> str:
    """A name that matplotlib does not take for mathematics."""
    return name.replace("$", r"\$")
