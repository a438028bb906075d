"""The IMDB reviews (Maas et al., 2011, Learning Word Vectors for Sentiment Analysis), as Keras distributes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seqconv.data.cache import Remote, locate
from seqconv.data.tasks import SplitTextTask
from seqconv.errors import DataError
from seqconv.fields import STRICT
from seqconv.registry import DATASETS

if TYPE_CHECKING:
    import numpy as np

    from seqconv.data.texts import TextData
    from seqconv.data.tokens import Tokens

REMOTE = Remote(
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz",
    filename="imdb.npz",
    sha256="69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
)
# Keras shuffles the reviews with this seed before it gives them out; "the last 20 %" of the book are the last of these.
KERAS_SEED = 113
CLASSES = ("negative", "positive")
# Ranks beyond this are no word of any list: Keras' own has 88,584 words.
LARGEST_RANK = 10_000_000
PARTS = ("train", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class IMDBConfig:
    """Keys of the `dataset` section of `conf/dataset/imdb.yaml`."""

    __pydantic_config__ = STRICT

    name: Literal["imdb"]
    path: str | None
    """A local file in the layout of Keras' imdb.npz; None: the cache, else a download."""

    def may_be_read_beside(self) -> bool:
        """Not beside another thread: while the file is unpickled, the memory of the whole process is limited."""
        return False


@DATASETS.register("imdb", config=IMDBConfig, task=SplitTextTask)
def load(config: IMDBConfig, task: SplitTextTask) -> TextData:
    """Find, read and check the reviews.

    Raises:
        DataError: if there is no such file, or it holds something else.
        ConfigError: if the configuration does not fit the reviews.
    """
    import numpy as np

    from seqconv.data.texts import Labelled, TextData, check_vocabulary
    from seqconv.data.tokens import limited, with_start

    path, source = find(config.path)
    parts, fingerprint = read(path)
    rng = np.random.RandomState(KERAS_SEED)
    prepared = {}
    for part, (words, labels) in parts.items():
        order = np.arange(len(labels))
        rng.shuffle(order)
        # Before anything is cut: cutting keeps the end of a review, and may lose its start mark, as in Keras.
        prepared[part] = (with_start(words.select(order)), labels[order])
    largest = max(int(tokens.flat.max()) for tokens, _ in prepared.values())
    check_vocabulary(task.max_features, largest + 1)
    splits = {
        part: Labelled(limited(tokens, task.max_features).last(task.max_len), tokens, labels)
        for part, (tokens, labels) in prepared.items()
    }
    training = splits["train"]
    first_validating = round(len(training.labels) * (1 - task.split.validation))
    order = np.arange(len(training.labels))
    splits["train"] = training.select(order[:first_validating])
    splits["validation"] = training.select(order[first_validating:])
    facts = {
        "source": source,
        "fingerprint": fingerprint,
        "rows": sum(len(labels) for _, labels in parts.values()),
        "notes": [],
    }
    return TextData(config.name, splits, task, CLASSES, facts, origin=str(path))


def find(path: str | None) -> tuple[Path, str]:
    """The file to read, and where it came from: `file`, `cache` or `download`."""
    return locate(REMOTE, path, verify_download)


def verify_download(path: Path) -> None:
    """Refuse a download that holds something else."""
    read(path)


def read(path: Path) -> tuple[dict[str, tuple[Tokens, np.ndarray]], str]:
    """Words and labels of both parts, and the file's checksum.

    Words are ranks shifted by 3, as in Keras. What was read once is kept in the cache, flat and without pickle,
    and read from there next time.

    Raises:
        DataError: if the file is missing or holds something else.
    """
    from seqconv.data.reading import read_bytes
    from seqconv.data.store import Store

    content = read_bytes(path)
    checksum = hashlib.sha256(content).hexdigest()
    store = Store(f"imdb-{checksum[:32]}")
    arrays = store.load()
    if arrays is None:
        arrays = _read_original(content, path)
        store.save(arrays)
    return {part: _part(arrays, part) for part in PARTS}, f"sha256:{checksum}"


def _part(arrays: dict[str, Any], part: str) -> tuple[Tokens, np.ndarray]:
    from seqconv.data.tokens import Tokens

    tokens = Tokens(arrays[f"{part}_tokens"], arrays[f"{part}_offsets"])
    return tokens, arrays[f"{part}_labels"]


def _read_original(content: bytes, path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    from seqconv.data.tokens import FIRST_WORD, from_lists
    from seqconv.data.unpickling import read_npz

    names = tuple(f"{kind}_{part}" for part in PARTS for kind in ("x", "y"))
    found = read_npz(content, names, path)
    arrays: dict[str, np.ndarray] = {}
    for part in PARTS:
        reviews, labels = found[f"x_{part}"], found[f"y_{part}"]
        _check(reviews, labels, part, path)
        # Rank 1 is the most frequent word. Keras adds 3, which leaves token 3 unused; so do we.
        words = from_lists([[rank + FIRST_WORD for rank in review] for review in reviews])
        arrays[f"{part}_tokens"] = words.flat
        arrays[f"{part}_offsets"] = words.offsets
        arrays[f"{part}_labels"] = labels.astype(np.int64)
    return arrays


def _check(reviews: np.ndarray, labels: np.ndarray, part: str, path: Path) -> None:
    """Refuse what is no list of reviews with a label of 0 or 1 each."""
    import numpy as np

    if len(reviews) == 0:
        raise DataError(f"{path}: `x_{part}` holds no review")
    if labels.dtype.kind not in "biuf" or labels.shape != reviews.shape:
        raise DataError(
            f"{path}: `y_{part}` must hold 0 or 1 for each of {len(reviews)} reviews; "
            f"received an array of shape {labels.shape} and type {labels.dtype}"
        )
    wrong = np.flatnonzero(~np.isin(labels, (0, 1)))
    if len(wrong):
        raise DataError(
            f"{path}: `y_{part}` must hold 0 or 1 for each of {len(reviews)} reviews; "
            f"received {labels[wrong[0]]} in row {wrong[0]}"
        )
    for row, review in enumerate(reviews):
        if not isinstance(review, list) or not review:
            raise DataError(
                f"{path}: `x_{part}`, row {row}: must be a list of words; received nothing"
            )
        if min(review) < 1 or max(review) > LARGEST_RANK:
            raise DataError(
                f"{path}: `x_{part}`, row {row}: ranks of words must lie in 1 to {LARGEST_RANK:,}; "
                f"received {min(review)} to {max(review)}"
            )
