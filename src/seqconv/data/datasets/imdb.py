"""The IMDB reviews (Maas et al., 2011, Learning Word Vectors for Sentiment Analysis), as Keras distributes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seqconv.config.errors import DataError
from seqconv.config.fields import DatasetSection
from seqconv.config.registry import Download, register_dataset
from seqconv.data.cache import Remote, is_local, locate
from seqconv.tasks.classification import CLASSIFICATION
from seqconv.tasks.classification.settings import LastShareSettings

if TYPE_CHECKING:
    import numpy as np

    from seqconv.data.corpus import Corpus
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
# Raised when `read` gives other words or labels for the same file.
FORM = 1


def verify_download(path: Path) -> None:
    """Refuse a download that holds something else."""
    read(path)


@dataclass(frozen=True, kw_only=True, slots=True)
class IMDBConfig(DatasetSection):
    """Keys of the `dataset` section of `conf/dataset/imdb.yaml`."""

    name: Literal["imdb"]
    path: str | None
    """A local file in the layout of Keras' imdb.npz; None: the cache, else a download."""

    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return is_local(REMOTE, self.path)


@register_dataset(
    IMDBConfig,
    CLASSIFICATION,
    settings=LastShareSettings,
    download=Download(REMOTE, verify_download),
)
def load(config: IMDBConfig) -> Corpus:
    """Find, read and check the reviews.

    Raises:
        DataError: if there is no such file, or it holds something else.
    """
    import numpy as np

    from seqconv.data.corpus import Corpus
    from seqconv.data.tokens import joined, with_start

    path, source = find(config.path)
    parts, fingerprint = read(path)
    tokens, labels = [], []
    rng = np.random.RandomState(KERAS_SEED)
    for words, part_labels in parts.values():
        order = np.arange(len(part_labels))
        rng.shuffle(order)
        # Before anything is cut: cutting keeps the end of a review, and may lose its start token, as in Keras.
        tokens.append(with_start(words.select(order)))
        labels.append(part_labels[order])
    return Corpus(
        tokens=joined(tokens),
        words=None,
        labels=np.concatenate(labels),
        classes=CLASSES,
        parts=np.repeat(PARTS, [len(part) for part in labels]),
        source=source,
        fingerprint=fingerprint,
        notes=(),
        origin=str(path),
    )


def find(path: str | None) -> tuple[Path, str]:
    """The file to read, and where it came from: `file`, `cache` or `download`."""
    return locate(REMOTE, path, verify_download)


def read(path: Path) -> tuple[dict[str, tuple[Tokens, np.ndarray]], str]:
    """Words and labels of both parts, and the file's checksum.

    Words are ranks shifted by 3, as in Keras. What was read once is kept in the cache, flat and without pickle,
    and read from there next time.

    Raises:
        DataError: if the file is missing or holds something else.
    """
    from seqconv.data.archives import read_bytes
    from seqconv.data.store import Store

    content = read_bytes(path)
    checksum = hashlib.sha256(content).hexdigest()
    store = Store("imdb", FORM, {"checksum": checksum})
    arrays = store.load()
    if arrays is None:
        arrays = _read_original(content, path)
        store.save(arrays)
    return {part: _part(arrays, part) for part in PARTS}, f"sha256:{checksum}"


def _part(arrays: dict[str, np.ndarray], part: str) -> tuple[Tokens, np.ndarray]:
    from seqconv.data.tokens import Tokens

    tokens = Tokens(arrays[f"{part}_tokens"], arrays[f"{part}_offsets"])
    return tokens, arrays[f"{part}_labels"]


def _read_original(content: bytes, path: Path) -> dict[str, np.ndarray]:
    import numpy as np

    from seqconv.data.pickles import read_npz
    from seqconv.data.tokens import FIRST_WORD, from_lists

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
