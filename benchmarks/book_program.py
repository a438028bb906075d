"""The program a reader of the book would write: parse the file, a Python generator of batches, Keras' `fit`.

Of the same shape as section 6.4.4 of Chollet, 2017, Deep Learning with Python, written anew for the benchmark,
with the settings that `seqconv-train dataset=jena model=conv_gru` has too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LOOKBACK, STEP, DELAY, BATCH = 720, 3, 144, 128
TARGET = 1  # T (degC)


def read(path: Path) -> np.ndarray:
    """All columns but the time stamp, `(rows, 14)` float64."""
    lines = path.read_text().strip().split("\n")[1:]
    data = np.zeros((len(lines), lines[0].count(",")))
    for i, line in enumerate(lines):
        data[i] = [float(cell) for cell in line.split(",")[1:]]
    return data


def generator(
    data: np.ndarray, first: int, stop: int, *, shuffle: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless batches, each filled window by window.

    Args:
        data: `(rows, columns)`, scaled.
        first: first row that may be read.
        stop: first row that may not.
        shuffle: windows drawn at random, or else in order and from the start again.

    Yields:
        `(BATCH, LOOKBACK / STEP, columns)` and `(BATCH,)`; the last batch of a pass is shorter.
    """
    low, high = first + LOOKBACK, stop - DELAY
    position = low
    while True:
        if shuffle:
            rows = np.random.randint(low, high, size=BATCH)
        else:
            position = low if position >= high else position
            rows = np.arange(position, min(position + BATCH, high))
            position += BATCH
        samples = np.zeros((len(rows), LOOKBACK // STEP, data.shape[1]))
        targets = np.zeros(len(rows))
        for i, row in enumerate(rows):
            samples[i] = data[range(row - LOOKBACK, row, STEP)]
            targets[i] = data[row + DELAY][TARGET]
        yield samples, targets


def main() -> None:
    """Train, and print a line of JSON with the seconds in `fit` and the losses of the epochs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--train-end", type=int, default=200_000)
    parser.add_argument("--validation-end", type=int, default=300_000)
    options = parser.parse_args()
    data = read(options.path)
    data -= data[: options.train_end].mean(axis=0)
    data /= data[: options.train_end].std(axis=0)

    from keras import Sequential
    from keras.layers import GRU, Conv1D, Dense, Input, MaxPooling1D

    model = Sequential(
        [
            Input((None, data.shape[1])),
            Conv1D(32, 5, activation="relu"),
            MaxPooling1D(3),
            Conv1D(32, 5, activation="relu"),
            GRU(32, dropout=0.1, recurrent_dropout=0.5),
            Dense(1),
        ]
    )
    model.compile(optimizer="rmsprop", loss="mae")
    validating = options.validation_end - options.train_end - LOOKBACK - DELAY
    started = time.perf_counter()
    history = model.fit(
        generator(data, 0, options.train_end, shuffle=True),
        steps_per_epoch=options.steps,
        epochs=options.epochs,
        validation_data=generator(data, options.train_end, options.validation_end, shuffle=False),
        validation_steps=-(-validating // BATCH),
        verbose=2,
    )
    print(json.dumps({"fit": time.perf_counter() - started, **history.history}))


if __name__ == "__main__":
    main()
