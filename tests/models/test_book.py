"""The book's settings and parameter counts, as the contract lists them."""

import pytest

from seqconv.cli.overrides import read_command_line
from seqconv.config.registry import MODELS
from seqconv.tasks.contract import SequenceSpec

CONV1D = [
    "Conv1D",
    "Conv1D",
    "Conv1D",
    "GlobalMaxPooling1D",
    "Dense",
    "Reshape",
]
TEXT_CONV1D = [
    "Embedding",
    "Conv1D",
    "Conv1D",
    "GlobalMaxPooling1D",
    "Dense",
]
CONV_GRU = ["Conv1D", "Conv1D", "GRU", "Dense", "Reshape"]


def settings(*words):
    return read_command_line(words).only_job


def built(config, features=14):
    import keras

    keras.backend.clear_session()
    spec = SequenceSpec(
        time=config.settings.time_steps,
        features=features,
        vocabulary=None if features else config.settings.max_features,
        embedding=None if features else config.settings.embedding_size,
        outputs=(1, 1) if features else (1,),
        targets=(1, 1) if features else (1,),
    )
    return MODELS.get(config.model.name).build(config.model, spec)


def layers_of(network):
    """Layers after the input; of those that are computed together each one."""
    for layer in network.layers[1:]:
        if layer.name == "of_tokens":
            yield from (layer.embedding, layer.convolution)
        elif layer.name == "convolutions":
            yield from (*layer.convolutions, *filter(None, [layer.pooling]))
        else:
            yield layer


@pytest.mark.parametrize(
    ("model", "window", "layers", "parameters"),
    [
        ("conv1d", (1440, 6, 144), CONV1D, 12_609),
        ("conv_gru", (720, 3, 144), CONV_GRU, 13_793),
        ("gru", (1440, 6, 144), ["GRU", "Dense", "Reshape"], 4_641),
    ],
)
def test_the_jena_recipes(model, window, layers, parameters):
    config = settings("dataset=jena", f"model={model}")
    network = built(config)

    assert (config.settings.lookback, config.settings.step, *config.settings.delay) == window
    assert [type(layer).__name__ for layer in layers_of(network)] == layers
    assert network.count_params() == parameters
    assert config.settings.loss == "mean_absolute_error"
    assert config.settings.target == "value"
    assert (config.settings.split.train_end, config.settings.split.validation_end) == (
        200_000,
        300_000,
    )
    trainer = config.trainer
    assert (trainer.optimizer, trainer.learning_rate) == ("rmsprop", 1e-3)
    assert (trainer.epochs, trainer.steps_per_epoch, config.batch_size) == (20, 500, 128)


def test_the_layers_of_the_jena_recipes_have_the_books_sizes():
    network = built(settings("dataset=jena", "model=conv_gru"))
    convolutions = [layer for layer in layers_of(network) if type(layer).__name__ == "Conv1D"]
    (gru,) = [layer for layer in network.layers if type(layer).__name__ == "GRU"]

    assert [(c.filters, c.kernel_size, c.activation.__name__) for c in convolutions] == [
        (32, (5,), "relu")
    ] * 2
    assert [c.pool_size for c in convolutions] == [3, 1]
    assert (gru.units, gru.dropout, gru.recurrent_dropout) == (32, 0.1, 0.5)


def test_the_original_gru_has_fewer_parameters():
    config = settings("dataset=jena", "model=conv_gru", "model.reset_after=false")

    assert built(config).count_params() == 13_697


def test_gru_of_the_book_alone():
    config = settings("dataset=jena", "model=gru")

    assert (config.model.dropout, config.model.recurrent_dropout) == (0.2, 0.2)


@pytest.mark.parametrize("flattening", ["global_max", "global_average", "flatten"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_pooling_and_what_follows_are_configuration(flattening, pooling):
    config = settings(
        "dataset=jena", "model=conv1d", f"model.flattening={flattening}", f"model.pooling={pooling}",
        "model.filters=[8,16]", "model.dropout=0.5", "lookback=144",
    )  # fmt: skip
    network = built(config)

    # 24 steps: convolution to 20, pooling to 6, convolution to 2.
    features = 2 * 16 if flattening == "flatten" else 16
    assert network.get_layer("output").kernel.shape == (features, 1)
    pool_sizes = [layer.pool_size for layer in layers_of(network) if "convolution_" in layer.name]
    assert pool_sizes == ([3, 1] if pooling == "max" else [1, 1])
    averages = [layer.pool_size for layer in network.layers if layer.name == "pooling_1"]
    assert averages == ([] if pooling == "max" else [(3,)])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["dataset=imdb"], id="imdb"),
        pytest.param(["dataset=text", "dataset.path=reviews.csv"], id="text"),
    ],
)
def test_the_recipes_of_texts(words):
    config = settings(*words, "model=conv1d")
    network = built(config, features=None)

    task, trainer = config.settings, config.trainer
    assert (task.max_features, task.max_len, task.embedding_size) == (10_000, 500, 128)
    assert task.split.validation == 0.2
    layers = list(layers_of(network))
    assert [type(layer).__name__ for layer in layers] == TEXT_CONV1D
    assert network.count_params() == 1_315_937
    convolutions = [layer for layer in layers if type(layer).__name__ == "Conv1D"]
    assert [(c.filters, c.kernel_size, c.activation.__name__) for c in convolutions] == [
        (32, (7,), "relu")
    ] * 2
    assert [c.pool_size for c in convolutions] == [5, 1]
    assert network.get_layer("output").activation.__name__ == "linear"
    assert (trainer.optimizer, trainer.learning_rate, trainer.schedule) == (
        "rmsprop", 1e-4, "constant",
    )  # fmt: skip
    assert (trainer.epochs, trainer.steps_per_epoch, config.batch_size) == (10, None, 128)
    assert (trainer.weight_decay, trainer.clip_norm, trainer.early_stopping) == (0.0, None, None)


def test_text_has_the_model_and_the_training_of_imdb():
    imdb = settings("dataset=imdb", "model=conv1d")
    text = settings("dataset=text", "dataset.path=reviews.csv", "model=conv1d")

    assert text.model == imdb.model
    assert text.trainer == imdb.trainer
    assert text.batch_size == imdb.batch_size
