"""Contestants of the benchmark. Each runs in a process of its own and is asked for blocks of steps over a pipe.

In one process they would share what is set for a whole process: seqconv asks for deterministic kernels, Keras by
default does not. `contestants.py NAME` answers each line `["conv_gru", 20]` with the seconds of 20 steps;
`contestants.py ours:2` computes with two threads, where `ours` takes one for each core.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

BATCH, COLUMNS, JENA_ROWS = 128, 14, 420_551
SERIES = ["dataset=jena", "lookback=720", "step=3"]
# The training steps, as the words of a command line.
WORKS = {
    "conv1d": [*SERIES, "model=conv1d"],
    "conv_gru": [*SERIES, "model=conv_gru"],
    "gru": [*SERIES, "model=gru"],
    "lstm": [*SERIES, "model=lstm"],
    "conv1d_imdb": ["dataset=imdb", "model=conv1d"],
}
PATIENCE = (
    5.0  # seconds after which a block ends: spinning threads on a busy machine take seconds a step
)
Runner = Callable[[], Any]


class Preset(NamedTuple):
    """The shapes of a forecasting preset's step: the record itself is not needed."""

    batch: int
    time: int
    features: int
    made: int
    """How many of the features, the last ones, are made from times."""
    leads: int
    targets: tuple[int, ...]
    """The features that are forecast."""


WEATHER = Preset(64, 720, 21, 0, 96, tuple(range(21)))
PRESETS = {
    "weather_96": WEATHER,
    "weather_192": WEATHER._replace(leads=192),
    "weather_336": WEATHER._replace(leads=336),
    "weather_720": WEATHER._replace(leads=720),
    "weather_96_conv": WEATHER,
    "weather_96_gru": WEATHER,
    "jena_24h": Preset(BATCH, 72, COLUMNS + 4, 4, 1, (1,)),
}


def serve(make: Callable[[str], tuple[Runner, dict[str, Any]]]) -> None:
    """Answer requests on stdin until it ends.

    Args:
        make: from the name of a work, something to call for one step, which returns when the step is done, and
            facts about it.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print must not get between the answers.
    made: dict[str, tuple[Runner, dict[str, Any]]] = {}
    for line in sys.stdin:
        work, count = json.loads(line)
        # A pipeline goes on filling its buffers while others are timed: they are emptied first.
        warming = count if work == "windows" else max(5, count // 10)
        if work not in made:
            made[work] = make(work)
        run, facts = made[work]
        for _ in range(warming):
            run()
        seconds = []
        for _ in range(count):
            before = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - before)
            if sum(seconds) > PATIENCE:
                break
        print(json.dumps({"seconds": seconds, "facts": facts}), file=answers, flush=True)


def ten_times(run: Runner) -> Runner:
    """Ten steps at once: pipelines give in bursts."""
    return lambda: [run() for _ in range(10)]


def batch_of(work: str, time_steps: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """A batch of the shapes of a work: a series, or tokens and classes."""
    random = np.random.default_rng(0)
    if work in PRESETS:
        shapes = PRESETS[work]
        windows = random.normal(size=(shapes.batch, shapes.time, shapes.features))
        targets = random.normal(size=(shapes.batch, shapes.leads, len(shapes.targets)))
        return windows.astype(np.float32), targets.astype(np.float32)
    if work == "conv1d_imdb":
        tokens = random.integers(1, 10_000, size=(BATCH, 500)).astype(np.int32)
        return tokens, random.integers(2, size=(BATCH, 1)).astype(np.float32)
    windows = random.normal(size=(BATCH, time_steps, COLUMNS)).astype(np.float32)
    return windows, random.normal(size=(BATCH, 1)).astype(np.float32)


def many_windows() -> np.ndarray:
    """Windows to forecast from, several batches of an evaluation."""
    return np.random.default_rng(0).normal(size=(2048, 240, COLUMNS)).astype(np.float32)


# seqconv


def our_config(words: list[str]) -> Any:
    """The checked configuration of a command line."""
    from seqconv.cli.overrides import read_command_line

    return read_command_line(words).only_job


def our_spec(words: list[str]) -> Any:
    """Shapes of a work on Jena's record or on IMDB."""
    from seqconv.tasks.contract import SequenceSpec

    config = our_config(words)
    tokens, keys = config.dataset.name == "imdb", config.settings
    return SequenceSpec(
        time=keys.time_steps,
        features=None if tokens else COLUMNS,
        vocabulary=keys.max_features if tokens else None,
        embedding=keys.embedding_size if tokens else None,
        outputs=(1,) if tokens else (1, 1),
        targets=(1,) if tokens else (1, 1),
    )


def kept_memory() -> contextlib.AbstractContextManager[None]:
    """As a run of seqconv has it while it trains."""
    from seqconv.training import memory

    return memory.kept()


def our_threads(count: int) -> None:
    """As a run with `threads=count`; before anything is computed."""
    from seqconv.training.tensorflow_import import use_threads

    use_threads(count)


def our_training(words: list[str], task: Any = None) -> tuple[Callable[..., Any], Any]:
    """The compiled training step of seqconv, and its model."""
    from seqconv.tasks.contract import Loss
    from seqconv.training.predictor import build_model
    from seqconv.training.steps import build_optimizer, compile_training

    config = our_config(words)
    if task is None:
        spec = our_spec(words)
        loss = Loss(name=config.settings.loss if spec.vocabulary is None else "binary_crossentropy")
    else:
        spec, loss = task.spec, task.loss
    model = build_model(config, spec)
    optimizer = build_optimizer(config.trainer, model)
    return compile_training(config.trainer, model, spec, loss, optimizer), model


def our_preset(work: str) -> tuple[list[str], Any]:
    """The words of a preset, and what `our_training` asks its task for."""
    from types import SimpleNamespace

    from seqconv.tasks.contract import SequenceSpec
    from seqconv.tasks.forecasting.losses import forecast_loss
    from seqconv.tasks.forecasting.preparation import ORIGINS

    words = [f"experiment={work}", "dataset.path=not_read.csv"]
    config, shapes = our_config(words), PRESETS[work]
    if (config.batch_size, config.settings.time_steps) != (shapes.batch, shapes.time):
        raise ValueError(f"PRESETS has other shapes than conf/experiment/{work}.yaml")
    targets = (shapes.leads, len(shapes.targets))
    spec = SequenceSpec(
        time=shapes.time,
        features=shapes.features,
        vocabulary=None,
        embedding=None,
        outputs=targets,
        targets=targets,
        target_features=shapes.targets,
        made=shapes.made,
        origin=ORIGINS[config.settings.target],
    )
    return words, SimpleNamespace(spec=spec, loss=forecast_loss(config.settings, shapes.leads))


def our_step(
    words: list[str], batch: tuple[np.ndarray, np.ndarray], task: Any = None
) -> tuple[Runner, Any]:
    """One step as the loop takes it: arrays in, the loss and the predictions out."""
    from seqconv.tasks.forecasting.windows import aligned_empty
    from seqconv.training.tensorflow_import import deterministic_operations

    with deterministic_operations(True):
        train, model = our_training(words, task)
    inputs, targets = batch
    if inputs.dtype == np.float32:  # Windows are gathered into aligned arrays; tokens are not.
        inputs = aligned_empty(batch[0].shape)
        inputs[:] = batch[0]
        targets = targets if targets.ndim == 3 else targets[:, None]

    def run() -> None:
        with deterministic_operations(True):
            loss, predictions = train(inputs, targets, np.float32(1e-3))
        float(loss)
        predictions.numpy()

    return run, {"parameters": model.count_params()}


def our_predictions(work: str) -> Runner:
    """Forecasts of many windows, in the batches of an evaluation."""
    from seqconv.training.predictor import EVALUATION_BATCH
    from seqconv.training.steps import compile_prediction

    model = our_training(WORKS[work])[1]
    spec = our_spec(WORKS[work])
    predict = compile_prediction(model, spec, None)
    windows = many_windows()
    targets = np.zeros((EVALUATION_BATCH, *spec.targets), np.float32)

    def run() -> None:
        for first in range(0, len(windows), EVALUATION_BATCH):
            predict(windows[first : first + EVALUATION_BATCH], targets)[0].numpy()

    return run


def our_task(rows: int, *words: str) -> Any:
    """Windows of a simulated record of so many rows."""
    from seqconv.config.cleaning import NO_CLEANING
    from seqconv.data.cleaning import clean
    from seqconv.data.records import Measurements
    from seqconv.data.simulated.climate import COLUMNS as NAMES
    from seqconv.data.simulated.climate import simulate_climate
    from seqconv.tasks.forecasting.prepare import prepare

    times, values = simulate_climate(rows)
    measured = Measurements(
        times=times,
        values=values,
        columns=NAMES,
        targets=(NAMES[1],),
        features=len(NAMES),
        source="simulated",
        fingerprint="",
    )
    record = clean(measured, NO_CLEANING)
    return prepare("jena", record, our_config([*SERIES, *words]).settings)


def our_batches(task: Any = None) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Batch after batch, sampled as in training."""
    from seqconv.training.sampling import TrainingOrder

    samples = (task or our_task(JENA_ROWS)).samples("train")
    order, steps = TrainingOrder(len(samples), BATCH, 500, seed=0), itertools.count()
    return lambda: samples.batch(order.indices(1, next(steps)))


def our_step_on_rows(rows: int) -> Runner:
    """Sampling a batch from a record of so many rows, and the step on it."""
    task = our_task(rows, "split.train_end=0.5", "split.validation_end=0.75")
    train, _ = our_training(WORKS["conv_gru"], task)
    batches = our_batches(task)

    def run() -> None:
        inputs, targets = batches()
        float(train(inputs, targets, np.float32(1e-3))[0])

    return run


def our_checkpoint() -> Runner:
    """Saving a training of the book's conv_gru, flushed to disk, as after an epoch that was the best."""
    import tempfile
    from pathlib import Path

    from seqconv.runs.checkpoints import CheckpointStore
    from seqconv.training.loop import Training
    from seqconv.training.run import build_predictor
    from seqconv.training.signals import Signals

    split = ["split.train_end=0.5", "split.validation_end=0.75"]
    task, config = our_task(50_000, *split), our_config([*WORKS["conv_gru"], *split])
    store = CheckpointStore(Path(tempfile.mkdtemp(dir=os.environ["SEQCONV_DATA_DIR"])))
    training = Training(
        config,
        task,
        build_predictor(config, task),
        checkpoints=store,
        signals=Signals(),
        record_epoch=lambda record: None,
    )

    def save() -> None:
        training.progress.epoch += 1
        training.save(best=True)

    return save


# Keras


def keras_model(work: str) -> Any:
    """The model as a script would write it."""
    from keras import Sequential, layers

    kernel, pool, filters = (7, 5, 2) if work == "conv1d_imdb" else (5, 3, 3)
    tokens = [layers.Input((500,)), layers.Embedding(10_000, 128)]
    stack = tokens if work == "conv1d_imdb" else [layers.Input((240, COLUMNS))]
    for index in range({"conv_gru": 2, "gru": 0, "lstm": 0}.get(work, filters)):
        stack += [layers.MaxPooling1D(pool)] if index else []
        stack += [layers.Conv1D(32, kernel, activation="relu")]
    if "gru" in work:
        dropout, recurrent = (0.1, 0.5) if work == "conv_gru" else (0.2, 0.2)
        stack += [layers.GRU(32, dropout=dropout, recurrent_dropout=recurrent)]
    elif work == "lstm":
        stack += [layers.LSTM(32, dropout=0.2, recurrent_dropout=0.2)]
    else:
        stack += [layers.GlobalMaxPooling1D()]
    return Sequential([*stack, layers.Dense(1)])


def keras_step(work: str, jit_compile: bool | str) -> tuple[Runner, dict[str, Any]]:
    """One call of the function that `fit` calls for every batch."""
    import keras
    import tensorflow as tf

    model = keras_model(work)
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)
    loss = entropy if work == "conv1d_imdb" else "mae"
    model.compile(optimizer="rmsprop", loss=loss, jit_compile=jit_compile)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(batch_of(work)).cache().repeat())
    forward, first = flop(model)
    facts = {"parameters": model.count_params(), "jit_compile": bool(model.jit_compile)}
    facts |= {"gflop": 3 * forward / 1e9, "gflop_needed": (3 * forward - first) / 1e9}
    return lambda: float(model.train_function(batches)["loss"]), facts


def flop(model: Any) -> tuple[float, float]:
    """Operations of the matrix products of a forward pass, and of the input gradient that nobody needs."""
    counts = []
    for layer in model.layers:
        recurrent = any(name in layer.name for name in ("gru", "lstm"))
        times = layer.input.shape[1] if recurrent else 1
        times = layer.output.shape[1] if "conv" in layer.name else times
        kernels = {w.name: float(np.prod(w.shape)) * times for w in layer.weights}
        counts.append({n: 2 * BATCH * k for n, k in kernels.items() if "kernel" in n})
    embedded = "embedding" in model.layers[0].name
    first = 0.0 if embedded else next(iter(counts[0].values()))
    return sum(sum(layer.values()) for layer in counts), first


# Batches of windows, and the machine's own speed


def scaled_record() -> np.ndarray:
    """A simulated record of Jena's length, `(rows, 14)` float64."""
    from seqconv.data.simulated.climate import simulate_climate

    values = simulate_climate(JENA_ROWS)[1].astype(np.float64)
    return (values - values.mean(axis=0)) / values.std(axis=0)


def book_batches() -> Runner:
    """The book's generator."""
    from book_program import generator

    batches = generator(scaled_record(), 0, 200_000, shuffle=True)
    return lambda: next(batches)


def keras_batches() -> Runner:
    """Keras' own maker of windows."""
    import keras

    data = scaled_record().astype(np.float32)[:200_000]
    batches = keras.utils.timeseries_dataset_from_array(
        data[: -720 - 144],
        data[720 + 144 :, 1],
        sequence_length=240,
        sampling_rate=3,
        batch_size=BATCH,
        shuffle=True,
    )
    iterator = iter(batches.repeat())
    return lambda: next(iterator)


def gathered_batches() -> Runner:
    """One `tf.gather` per batch inside tf.data."""
    import tensorflow as tf

    data = tf.constant(scaled_record().astype(np.float32)[:200_000])
    offsets = tf.range(0, 720, 3)

    def draw(_: Any) -> Any:
        rows = tf.random.uniform((BATCH,), 0, 200_000 - 720 - 144, tf.int32)
        return tf.gather(data, rows[:, None] + offsets), tf.gather(data[:, 1], rows + 864)

    iterator = iter(tf.data.Dataset.range(2**40).map(draw))
    return lambda: next(iterator)


def matrix_product() -> Runner:
    """A float32 product of 2048 x 2048 matrices."""
    import tensorflow as tf

    left = tf.random.normal((2048, 2048))
    return lambda: float(tf.linalg.matmul(left, left)[0, 0])


def make(contestant: str, work: str) -> tuple[Runner, dict[str, Any]]:
    """What `contestant` does of `work`."""
    kind, _, size = work.partition("/")
    if work == "windows":
        makers = {"book": book_batches, "keras": keras_batches, "tf_gather": gathered_batches}
        return ten_times(makers.get(contestant, our_batches)()), {}
    if work == "product":
        return matrix_product(), {"gflop": 2 * 2048**3 / 1e9}
    if kind == "rows":
        return our_step_on_rows(int(size)), {}
    if kind == "predict" and contestant == "ours":
        return our_predictions(size), {}
    if kind == "predict":
        model, forecast_of = keras_model(size), many_windows()
        return lambda: model.predict(forecast_of, batch_size=512, verbose=0), {}
    if work == "checkpoint":
        return our_checkpoint(), {}
    if contestant == "ours" and work in PRESETS:
        words, task = our_preset(work)
        return our_step(words, batch_of(work), task)
    if contestant == "ours":
        words = [f"lookback={3 * int(size)}"] if size else []
        return our_step([*WORKS[kind], *words], batch_of(kind, int(size or 240)))
    return keras_step(work, "auto" if contestant == "keras" else False)


if __name__ == "__main__":
    name, _, count = sys.argv[1].partition(":")
    with kept_memory() if name == "ours" else contextlib.nullcontext():
        if count:
            our_threads(int(count))
        serve(lambda work: make(name, work))
