"""`confusion.png`: true classes against predicted ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqconv.tasks.figures import new_figure, plain_text, save_figure

CONFUSION = "confusion.png"
# More numbers than this in a row of a picture cannot be read.
LARGEST_LABELLED = 12
MOST_NAMES = 40
LONGEST_NAME = 20


def draw_confusion(
    folder: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str], *, title: str
) -> None:
    """Write the confusion matrix: a row per true class, shaded by its share of the row.

    Args:
        folder: the run directory.
        confusion: numbers of texts, `(classes, classes)`.
        classes: names.
        title: over the picture.
    """
    size = len(classes)
    shares = [[cell / max(sum(row), 1) for cell in row] for row in confusion]
    figure = new_figure(min(2.6 + 0.7 * size, 12), min(2.2 + 0.7 * size, 12))
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # Of many classes every so manieth has its name, and of a long name the beginning.
    named = range(0, size, -(-size // MOST_NAMES))
    names = [_shortened(plain_text(classes[number])) for number in named]
    axes.set_xticks(named, names, rotation=45, ha="right")
    axes.set_yticks(named, names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, cells in enumerate(confusion if size <= LARGEST_LABELLED else ()):
        for column, cell in enumerate(cells):
            color = "white" if shares[row][column] > 0.5 else "black"
            axes.text(column, row, f"{cell:,}", ha="center", va="center", color=color)
    save_figure(figure, folder / CONFUSION, title)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"
