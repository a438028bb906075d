"""What wrong texts get: the contract's exit code, a message with file and row, and nothing half-read left behind.

TensorFlow cannot be imported in these tests, so each of them shows too that it is not needed to say no.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqconv.data import texts as text_files
from seqconv.data.store import Store

WRONG = 2
NO_DATA = 3
FILES = ["notes.csv", "notes.jsonl", "notes.parquet"]
FORMATS = [*FILES, "notes"]
SMALL = ["max_features=20", "max_len=64", "embedding_size=4"]

Refuse = Callable[..., list[str]]


@pytest.fixture
def refuse(command, in_empty_folder: Path, without_tensorflow) -> Refuse:
    """`refuse(words, exit_code, *parts)`: run a command line that must be refused.

    Returns:
        The lines of the message after its head, one for each problem.
    """
    around = in_empty_folder.parent

    def check(words: list[str], exit_code: int, *parts: str) -> list[str]:
        before = set(around.rglob("*"))
        answer = command(words)
        assert answer.exit_code == exit_code, answer.stderr
        assert answer.stdout == ""
        assert "Traceback" not in answer.stderr
        assert 'File "' not in answer.stderr
        for part in parts:
            assert part in answer.stderr
        assert list(in_empty_folder.iterdir()) == []
        # Tokens of texts that can be read may be kept, whole; nothing else.
        kept = [path for path in set(around.rglob("*")) - before if path.is_file()]
        for path in kept:
            assert path.parent == around / "cache" / "prepared"
            store = Store("any", 1, {})
            store.path = path
            assert store.load() is not None
        return answer.stderr.splitlines()[1:]

    return check


@pytest.fixture
def refuse_reading(refuse: Refuse, in_empty_folder: Path) -> Refuse:
    """As `refuse`, for texts of which nothing may be kept."""

    def check(words: list[str], exit_code: int, *parts: str) -> list[str]:
        lines = refuse(words, exit_code, *parts)
        assert not (in_empty_folder.parent / "cache").exists()
        return lines

    return check


@pytest.fixture
def write(aside: Path, write_texts, text_corpus) -> Callable[..., Path]:
    """`write(name, text=..., label=..., part=...)`: the corpus with one of the rows, number 7, changed."""

    def changed(name: str, parts: list[Any] | None = None, **cells: Any) -> Path:
        columns = {"text": list(text_corpus.texts), "label": list(text_corpus.labels)}
        for column, value in cells.items():
            columns[column][7] = value
        return write_texts(aside / name, columns["text"], columns["label"], parts)

    return changed


def text_words(path: Path, *words: str) -> list[str]:
    return ["dataset=text", f"dataset.path={path}", *SMALL, *words]


def place(name: str, row: int = 7) -> str:
    return f"line {row + 1}" if "jsonl" in name else f"row {row}"


@pytest.mark.parametrize("name", FORMATS)
def test_the_texts_of_these_tests_are_right_but_for_what_is_changed(write, name: str):
    found = text_files.read_labelled(write(name), text="text", label="label", part=None)
    assert len(found.texts) == 300
    assert set(found.labels) == {"cooking", "sailing", "gardening"}


# Texts


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", ["", "  \n ", None])
def test_an_empty_text(refuse_reading: Refuse, write, name: str, text: str | None):
    path = write(name, text=text)
    refuse_reading(text_words(path), NO_DATA, f"{path}: {place(name)}: the text is empty")


@pytest.mark.parametrize("content", [b"", b"  \n"])
def test_an_empty_file_in_a_folder(refuse_reading: Refuse, write, content: bytes):
    path = write("notes")
    (path / "sailing" / "7.txt").write_bytes(content)
    refuse_reading(text_words(path), NO_DATA, f"{path}", "sailing/7.txt: the ", " is empty")


@pytest.mark.parametrize("name", FILES)
def test_a_text_without_a_word(refuse: Refuse, write, name: str):
    path = write(name, text="?! ...")
    refuse(text_words(path), NO_DATA, str(path), place(name), "no token", "?! ...")


@pytest.mark.parametrize("name", FORMATS)
def test_a_text_that_is_too_long(refuse_reading: Refuse, write, monkeypatch, name: str):
    monkeypatch.setattr(text_files, "LONGEST_TEXT", 1000)
    path = write(name, text="long " * 210)
    where = "sailing/7.txt" if name == "notes" else place(name)
    refuse_reading(
        text_words(path),
        NO_DATA,
        f"{path}: {where}: a text of 1,050 characters; at most 1,000 are read",
    )


def test_a_line_that_is_too_long(refuse_reading: Refuse, write, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_TEXT", 1000)
    path = write("notes.jsonl")
    path.write_text(path.read_text() + '{"text": "' + "x" * 3000)
    refuse_reading(text_words(path), NO_DATA, f"{path}: line 301 has 3,010 characters")


def test_json_lines_that_are_no_utf8(refuse_reading: Refuse, write):
    path = write("notes.jsonl", text="BYTES")
    content = path.read_bytes()
    line = content[: content.index(b"BYTES")].count(b"\n") + 1
    path.write_bytes(content.replace(b"BYTES", b"caf\xe9"))
    refuse_reading(text_words(path), NO_DATA, f"{path}: line {line} is no UTF-8 (byte 0xe9)")


def test_bytes_that_are_no_utf8_in_a_folder(refuse_reading: Refuse, write):
    path = write("notes")
    (path / "sailing" / "7.txt").write_bytes(b"fine\ncaf\xe9")
    refuse_reading(
        text_words(path), NO_DATA, f"{path / 'sailing' / '7.txt'}: line 2 is no UTF-8 (byte 0xe9)"
    )


@pytest.mark.parametrize("key", ["text", "label"])
@pytest.mark.parametrize("words", [[], ["dataset.units=characters", "dataset.standardize=none"]])
def test_half_a_pair_of_surrogates(refuse_reading: Refuse, write, key: str, words: list[str]):
    path = write("notes.jsonl", **{key: "half \ud83d"})
    refuse_reading(text_words(path, *words), NO_DATA, f"{path}: line 8")


@pytest.mark.parametrize("name", FILES)
def test_control_characters_of_a_file_do_not_reach_the_terminal(
    refuse_reading: Refuse, write_texts, aside: Path, text_corpus, name: str
):
    path = write_texts(aside / name, *text_corpus, names=("te\x1b[2Jxt", "label", "split"))
    lines = refuse_reading(text_words(path), WRONG, "no column `text`")
    assert "\x1b" not in "".join(lines)


# Labels


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("label", ["", " ", None])
def test_a_missing_label(refuse_reading: Refuse, write, name: str, label: str | None):
    path = write(name, label=label)
    refuse_reading(text_words(path), NO_DATA, f"{path}: {place(name)}: the label is missing")


@pytest.mark.parametrize("name", FORMATS)
def test_one_class_only(refuse: Refuse, write_texts, aside: Path, text_corpus, name: str):
    path = write_texts(aside / name, text_corpus.texts, ["same"] * 300)
    refuse(text_words(path), NO_DATA, f"{path}: all texts have one label, 'same'")


@pytest.mark.parametrize("name", FILES)
def test_a_continuous_label_column(
    refuse: Refuse, write_texts, aside: Path, text_corpus, name: str
):
    scores = np.random.default_rng(0).normal(size=300).round(4).tolist()
    scores[0] = 2.0
    path = write_texts(aside / name, text_corpus.texts, scores)
    refuse(
        text_words(path),
        NO_DATA,
        f"{path}: ",
        "`dataset.label=label`",
        f"measurement {scores[1]}",
        place(name, 1),
    )


def test_a_label_column_of_names(refuse: Refuse, write_texts, aside: Path, text_corpus):
    path = write_texts(aside / "notes.csv", text_corpus.texts, [f"id-{n}" for n in range(300)])
    refuse(text_words(path), NO_DATA, f"{path}: ", "`dataset.label=label`", "300 distinct values")


@pytest.mark.parametrize("name", FORMATS)
def test_a_class_too_rare_for_every_split(refuse: Refuse, write, name: str):
    path = write(name, label="rare")
    refuse(text_words(path), NO_DATA, str(path), "class `rare` is absent from the")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("absent", ["validation", "test"])
def test_a_class_absent_from_a_part(
    refuse: Refuse, write_texts, aside: Path, text_corpus, name: str, absent: str
):
    names = ["train", "train", "validation", "test"]
    parts = [names[number // 3 % 4] for number in range(300)]
    labels = [
        "cooking" if part == absent and label == "sailing" else label
        for part, label in zip(parts, text_corpus.labels, strict=True)
    ]
    path = write_texts(aside / name, text_corpus.texts, labels, parts)
    column = [] if name == "notes" else ["dataset.split_column=split"]
    refuse(
        text_words(path, *column),
        NO_DATA,
        str(path),
        f"class `sailing` is absent from the {absent} split (75 texts)",
    )


# Parts


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", ["dev", "", None])
def test_an_unknown_part(refuse_reading: Refuse, write, name: str, part: str | None):
    parts = ["train", "test"] * 150
    parts[7] = part
    path = write(name, parts)
    refuse_reading(
        text_words(path, "dataset.split_column=split"),
        NO_DATA,
        f"{path}: {place(name)}: the part must be one of train, validation, test; received {part or ''!r}",
    )


@pytest.mark.parametrize("name", FORMATS)
def test_no_test_part(refuse: Refuse, write, name: str):
    path = write(name, ["train", "validation"] * 150)
    column = [] if name == "notes" else ["dataset.split_column=split"]
    refuse(text_words(path, *column), NO_DATA, f"{path}: there is no test part")


# Files


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(refuse_reading: Refuse, aside: Path, name: str):
    refuse_reading(text_words(aside / name), NO_DATA, f"{aside / name}: no such file")


@pytest.mark.parametrize("name", FILES)
def test_an_empty_file(refuse_reading: Refuse, aside: Path, name: str):
    (aside / name).touch()
    refuse_reading(text_words(aside / name), NO_DATA, f"{aside / name}: the file is empty")


def test_an_empty_folder(refuse_reading: Refuse, aside: Path):
    refuse_reading(text_words(aside), NO_DATA, f"{aside}: there are no texts in it")


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_something_else(refuse_reading: Refuse, aside: Path, name: str):
    path = aside / name
    path.write_bytes(b"\x93NUMPY\x01\x00 nothing of the kind\n")
    refuse_reading(text_words(path), NO_DATA, f"{path}: ")


def test_a_line_that_is_no_json(refuse_reading: Refuse, write):
    path = write("notes.jsonl")
    path.write_text(path.read_text()[:-10])
    refuse_reading(text_words(path), NO_DATA, f"{path}: line 300 is no JSON")


# Where the configuration is at fault


@pytest.mark.parametrize("name", FILES)
def test_wrong_column_names_are_told_at_once(refuse_reading: Refuse, write, name: str):
    path = write(name, ["train", "test"] * 150)
    words = ["dataset.text=txt", "dataset.label=labels", "dataset.split_column=splt"]
    lines = refuse_reading(text_words(path, *words), WRONG, "3 problems with the configuration")
    assert lines == [
        f"  {key}: no column `{wrong}`. Did you mean `{right}`? The file has: text, label, split"
        for key, wrong, right in (
            ("dataset.text", "txt", "text"),
            ("dataset.label", "labels", "label"),
            ("dataset.split_column", "splt", "split"),
        )
    ]


def test_a_missing_path(refuse_reading: Refuse):
    (line,) = refuse_reading(["dataset=text"], WRONG, "1 problem with the configuration")
    assert line.startswith("  dataset.path: is missing: name a .csv, .jsonl or .parquet file")


@pytest.mark.parametrize("name", ["notes.txt", "notes.csv.bz2", "notes"])
def test_an_unknown_suffix(refuse_reading: Refuse, aside: Path, name: str):
    path = aside / name
    path.write_text("text,label\n")
    (line,) = refuse_reading(text_words(path), WRONG, "1 problem with the configuration")
    assert line.startswith("  dataset.path: must be a folder or end in .csv, ")
    assert line.endswith(f"received {path}")


def test_a_vocabulary_larger_than_the_texts_give(refuse: Refuse, write):
    path = write("notes.jsonl")
    (line,) = refuse(text_words(path, "max_features=10000"), WRONG, "1 problem")
    assert line.startswith("  max_features: the training texts give ")
    assert "received 10000. Use max_features=" in line


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["split.validation=0.6", "split.test=0.4"], "split.validation"),
        (["split.validation=0"], "split.validation"),
        (["max_features=3"], "max_features"),
        (["max_len=0"], "max_len"),
        (["max_len=20", "model=conv1d"], "model.filters"),
        (["dataset.ngrams=4"], "dataset.ngrams"),
        (["dataset.units=bytes"], "dataset.units"),
        (["dataset.standardize=upper"], "dataset.standardize"),
        (["lookback=720"], "lookback"),
        (["objective=val_mae"], "objective"),
    ],
)
def test_settings_that_cannot_be(refuse_reading: Refuse, aside: Path, words: list[str], key: str):
    # Found before the file is looked for.
    words = text_words(aside / "nowhere.csv", *words)
    (line,) = refuse_reading(words, WRONG, "1 problem with the configuration")
    assert line.startswith(f"  {key}: ")


# Reviews in Keras' layout


def imdb_words(path: Path, *words: str) -> list[str]:
    return ["dataset=imdb", f"dataset.path={path}", "max_features=300", "max_len=64", *words]


def with_review(review: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(arrays: dict[str, Any]) -> dict[str, Any]:
        arrays["x_test"][7] = review
        return arrays

    return change


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        pytest.param({"values": np.arange(5)}, "no array `x_train`", id="other arrays"),
        pytest.param(
            {name: np.ones(9) for name in ("x_train", "y_train", "x_test", "y_test")},
            "`x_train`, row 0: must be a list of words",
            id="numbers",
        ),
    ],
)
def test_an_npz_of_something_else(
    refuse_reading: Refuse, aside: Path, arrays: dict[str, np.ndarray], part: str
):
    path = aside / "reviews.npz"
    np.savez(path, **arrays)
    refuse_reading(imdb_words(path), NO_DATA, f"{path}: {part}")


@pytest.mark.parametrize("content", [b"", b"text,label\na,b\n", b"PK\x03\x04" + bytes(50)])
def test_no_npz(refuse_reading: Refuse, aside: Path, content: bytes):
    path = aside / "reviews.npz"
    path.write_bytes(content)
    refuse_reading(imdb_words(path), NO_DATA, f"{path}: ")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_npz(refuse_reading: Refuse, write_imdb, aside: Path, kept: float):
    path = write_imdb(aside / "reviews.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refuse_reading(imdb_words(path), NO_DATA, f"{path}: not an npz file, truncated or damaged")


class Hostile:
    """Pickled, it says: run this command."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",)


def test_a_hostile_pickle(refuse_reading: Refuse, write_imdb, aside: Path):
    marker = aside / "marker"
    path = write_imdb(aside / "reviews.npz", change=with_review([1, Hostile(marker)]))
    refuse_reading(imdb_words(path), NO_DATA, f"{path}: `x_test` cannot be read safely")
    assert not marker.exists()


@pytest.mark.parametrize("rank", [0, -3, 2**31 - 2, 2**80])
def test_token_numbers_out_of_range(refuse_reading: Refuse, write_imdb, aside: Path, rank: int):
    path = write_imdb(aside / "reviews.npz", change=with_review([5, rank]))
    refuse_reading(
        imdb_words(path), NO_DATA, f"{path}: `x_test`, row 7: ranks of words must lie in 1 to "
    )


def test_an_empty_review(refuse_reading: Refuse, write_imdb, aside: Path):
    path = write_imdb(aside / "reviews.npz", change=with_review([]))
    refuse_reading(imdb_words(path), NO_DATA, f"{path}: `x_test`, row 7: must be a list of words")


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_labels_other_than_two(refuse_reading: Refuse, write_imdb, aside: Path, label: float):
    def change(arrays: dict[str, Any]) -> dict[str, Any]:
        labels = arrays["y_train"].astype(float)
        labels[9] = label
        return {**arrays, "y_train": labels}

    path = write_imdb(aside / "reviews.npz", change=change)
    refuse_reading(imdb_words(path), NO_DATA, f"{path}: `y_train`", "row 9", str(label))


@pytest.mark.parametrize(("name", "split"), [("y_train", "train"), ("y_test", "test")])
def test_reviews_of_one_class(refuse: Refuse, write_imdb, aside: Path, name: str, split: str):
    path = write_imdb(aside / "reviews.npz", change=lambda arrays: {**arrays, name: np.ones(60)})
    refuse(
        imdb_words(path), NO_DATA, str(path), f"class `negative` is absent from the {split} split"
    )


def test_a_class_that_is_in_no_validating_review(refuse: Refuse, write_imdb, aside: Path):
    shuffled = np.arange(60)
    np.random.RandomState(113).shuffle(shuffled)

    def change(arrays: dict[str, Any]) -> dict[str, Any]:
        labels = arrays["y_train"].copy()
        labels[shuffled[48:]] = 1
        return {**arrays, "y_train": labels}

    path = write_imdb(aside / "reviews.npz", change=change)
    refuse(
        imdb_words(path),
        NO_DATA,
        str(path),
        "class `negative` is absent from the validation split (12 texts)",
    )


def test_a_vocabulary_larger_than_the_reviews_give(refuse: Refuse, write_imdb, aside: Path):
    path = write_imdb(aside / "reviews.npz")
    (line,) = refuse(imdb_words(path, "max_features=5000"), WRONG, "1 problem")
    assert "received 5000. Use max_features=404 or less" in line


def test_what_is_refused_is_not_taken_from_the_cache_later(
    refuse: Refuse, refuse_reading: Refuse, write_imdb, aside: Path
):
    path = write_imdb(aside / "reviews.npz", change=with_review(["text"]))
    for _ in range(2):
        refuse_reading(imdb_words(path), NO_DATA, f"{path}: `x_test`, row 7")
    write_imdb(path)
    # Read by now, and refused for another reason.
    refuse(imdb_words(path, "max_features=5000"), WRONG, "Use max_features=404")
