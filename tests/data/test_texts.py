"""Labelled texts from files: every format gives the same, and what cannot be used is refused by file and row."""

import gzip
import json
import os
import random
import re
import zipfile

import polars as pl
import pytest

from seqconv.config.errors import ConfigError, DataError
from seqconv.data import texts as text_files
from seqconv.data.texts import read_labelled, read_unlabelled

FILES = ["notes.csv", "notes.jsonl", "notes.parquet"]
FORMATS = [*FILES, "notes"]
TEXTS = ["first, with a comma", 'second\nwith "quotes"', "third: crème", "fourth's"]
LABELS = ["pos", "neg", "pos", "neg"]
PARTS = ["train", "train", "test", "test"]


def read(path, *, text="text", label="label", part=None):
    return read_labelled(path, text=text, label=label, part=part)


def write_lines(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


# What is read


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same(tmp_path, write_texts, text_corpus, name):
    found = read(write_texts(tmp_path / name, *text_corpus))
    assert sorted(zip(found.texts, found.labels, strict=True)) == sorted(
        zip(*text_corpus, strict=True)
    )
    assert found.parts is None
    reference = read(write_texts(tmp_path / "reference.jsonl", *text_corpus))
    assert found == reference
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found.fingerprint)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_parts(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, TEXTS, LABELS, PARTS)
    found = read(path, part=None if name == "notes" else "split")
    assert sorted(zip(found.texts, found.labels, found.parts, strict=True)) == sorted(
        zip(TEXTS, LABELS, PARTS, strict=True)
    )
    reference = write_texts(tmp_path / "reference.jsonl", TEXTS, LABELS, PARTS)
    assert found == read(reference, part="split")


def test_the_order_of_the_source_does_not_matter(tmp_path, write_texts, text_corpus):
    rows = list(zip(*text_corpus, strict=True))
    random.Random(0).shuffle(rows)
    mixed = write_texts(tmp_path / "mixed.csv", *zip(*rows, strict=True))
    plain = write_texts(tmp_path / "plain.csv", *text_corpus)
    assert mixed.read_bytes() != plain.read_bytes()
    assert read(mixed) == read(plain)


def test_the_fingerprint_is_of_texts_labels_and_parts(tmp_path, write_texts):
    path = tmp_path / "notes.jsonl"
    prints = [
        read(write_texts(path, TEXTS, LABELS)).fingerprint,
        read(write_texts(path, [*TEXTS[:3], "other"], LABELS)).fingerprint,
        read(write_texts(path, TEXTS, [*LABELS[:3], "pos"])).fingerprint,
        read(write_texts(path, TEXTS, LABELS, PARTS), part="split").fingerprint,
        read(write_texts(path, TEXTS, LABELS, PARTS[::-1]), part="split").fingerprint,
    ]
    assert len(set(prints)) == 5


@pytest.mark.parametrize("name", FILES)
def test_columns_are_called_as_the_user_says(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, TEXTS, LABELS, PARTS, names=("review", "kind", "part"))
    found = read(path, text="review", label="kind", part="part")
    assert set(found.texts) == set(TEXTS)
    assert set(found.parts) == {"train", "test"}


# As `conf/dataset/text.yaml` says: .gz and .zip may follow.
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_packed_files(tmp_path, write_texts, name, suffix):
    plain = write_texts(tmp_path / name, TEXTS, LABELS)
    packed = tmp_path / (name + suffix)
    if suffix == ".gz":
        packed.write_bytes(gzip.compress(plain.read_bytes()))
    else:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(plain, name)
    assert read(packed) == read(plain)


@pytest.mark.parametrize("name", ["NOTES.CSV", "notes.ndjson", "notes.JSONL"])
def test_suffixes(tmp_path, write_texts, name):
    plain = write_texts(tmp_path / f"plain{'.csv' if 'CSV' in name else '.jsonl'}", TEXTS, LABELS)
    assert read(plain.rename(tmp_path / name)).labels


@pytest.mark.parametrize("name", ["notes.csv", "notes.jsonl"])
def test_a_mark_of_utf8_and_the_lines_of_windows(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, ["one", "two"], ["a", "b"])
    expected = read(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(path) == expected


def test_empty_lines_between_objects_are_no_texts(tmp_path):
    rows = [json.dumps({"text": "same", "label": label}) for label in "ab"]
    path = write_lines(tmp_path / "notes.jsonl", "", rows[0], " ", rows[1], "")
    assert read(path).labels == ("a", "b")


@pytest.mark.parametrize("name", ["notes.jsonl", "notes.parquet"])
@pytest.mark.parametrize("labels", [[1, 0, 1, 0], [1.0, 0.0, 1.0, 0.0]])
def test_labels_that_are_whole_numbers_are_the_classes_that_csv_has(
    tmp_path, write_texts, name, labels
):
    reference = write_texts(tmp_path / "notes.csv", TEXTS, ["1", "0", "1", "0"])
    assert read(write_texts(tmp_path / name, TEXTS, labels)) == read(reference)


@pytest.mark.parametrize("name", ["notes.csv", "notes.parquet"])
def test_labels_written_with_decimals_are_those_without(tmp_path, write_texts, name):
    reference = write_texts(tmp_path / "reference.csv", TEXTS, ["1", "0", "1", "0"])
    assert read(write_texts(tmp_path / name, TEXTS, ["1.0", "0", "1", "0.0"])) == read(reference)


def test_names_that_read_as_numbers_are_names(tmp_path, write_texts):
    """`nan` is a language (Min Nan Chinese), too."""
    path = write_texts(tmp_path / "notes.csv", TEXTS, ["nan", "inf", "nan", "inf"])
    assert set(read(path).labels) == {"nan", "inf"}


def test_labels_lose_the_space_around_them(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes.csv", TEXTS, ["pos", " pos", "neg", "neg "])
    assert set(read(path).labels) == {"pos", "neg"}


def test_the_layout_of_acl_imdb(tmp_path, write_texts):
    path = write_texts(tmp_path / "aclImdb", TEXTS, LABELS, PARTS)
    write_texts(path / "train", ["no label"], ["unsup"])
    (path / "README").write_text("about")
    (path / "imdb.vocab").write_text("the")
    (path / "train" / "labeledBow.feat").write_text("1 0:9")
    (path / "train" / "pos" / ".DS_Store").write_bytes(b"\xff")
    found = read(path)
    assert set(found.texts) == set(TEXTS)
    assert set(found.labels) == {"pos", "neg"}


# What is refused


def refused(path, *parts, **columns):
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        read(path, **columns)
    for part in parts:
        assert part in str(caught.value)


def no_training(path, *parts, **columns):
    """Such texts are read, for a finished run may be evaluated on them, and say why none can be trained."""
    refusal = read(path, **columns).refusal
    for part in (str(path), *parts):
        assert part in str(refusal)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("empty", ["", " \n\t", None])
def test_an_empty_text(tmp_path, write_texts, name, empty):
    path = write_texts(tmp_path / name, [*TEXTS[:2], empty, TEXTS[3]], LABELS)
    refused(path, "line 3" if "jsonl" in name else "row 2", "the text is empty")


def test_a_number_is_no_text(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": 5, "label": "a"}\n')
    refused(path, "line 1: must be a text; received 5. Is `dataset.text` the right column?")


def test_empty_lines_at_the_end_are_no_texts(tmp_path):
    path = tmp_path / "texts.csv"
    path.write_text("text,label\na film,x\na book,y\n\r\n\n")
    assert sorted(read(path).texts) == ["a book", "a film"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("missing", ["", " ", None])
def test_a_missing_label(tmp_path, write_texts, name, missing):
    path = write_texts(tmp_path / name, TEXTS, ["pos", missing, "neg", "neg"])
    refused(path, "line 2" if "jsonl" in name else "row 1", "the label is missing")


@pytest.mark.parametrize("name", ["notes.jsonl", "notes.parquet"])
def test_a_label_that_is_not_a_number_is_missing(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, TEXTS, [1.0, float("nan"), 0.0, 0.0])
    refused(path, "line 2" if "jsonl" in name else "row 1", "the label is missing")


@pytest.mark.parametrize("label", [["pos"], {"a": 1}])
def test_a_label_that_is_no_single_value(tmp_path, write_texts, label):
    refused(write_texts(tmp_path / "notes.jsonl", TEXTS, ["a", "b", label, "a"]), "line 3")


@pytest.mark.parametrize("text", [7, True, ["a"], {"a": 1}])
def test_a_text_that_is_none(tmp_path, write_texts, text):
    refused(write_texts(tmp_path / "notes.jsonl", ["a", text, "b", "c"], LABELS), "line 2")


@pytest.mark.parametrize("name", FORMATS)
def test_one_class_only(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, TEXTS, ["good"] * 4)
    no_training(path, "all texts have one label, 'good'; at least two are needed")


@pytest.mark.parametrize("name", FILES)
def test_measurements_for_labels(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, TEXTS, [1.0, 0.5, 2.0, 1.0])
    no_training(
        path, "dataset.label=label", "measurement 0.5", "line 2" if "jsonl" in name else "row 1"
    )


def test_as_many_whole_numbers_as_texts_are_measurements_too(tmp_path, write_texts):
    texts = [f"text {number}" for number in range(40)]
    path = write_texts(tmp_path / "notes.csv", texts, list(range(40)))
    no_training(path, "40 distinct values in 40 texts")


def test_more_classes_than_any_classifier_has(tmp_path, write_texts, monkeypatch):
    monkeypatch.setattr(text_files, "MOST_CLASSES", 5)
    texts = [f"text {number}" for number in range(40)]
    assert read(write_texts(tmp_path / "five.csv", texts, [f"c{n % 5}" for n in range(40)]))
    path = write_texts(tmp_path / "six.csv", texts, [f"c{n % 6}" for n in range(40)])
    no_training(path, "6 distinct values in 40 texts")


@pytest.mark.parametrize("name", FORMATS)
def test_a_text_that_is_too_long(tmp_path, write_texts, monkeypatch, name):
    monkeypatch.setattr(text_files, "LONGEST_TEXT", 100)
    assert read(write_texts(tmp_path / f"longest-{name}", [*TEXTS[:3], "x" * 100], LABELS))
    path = write_texts(tmp_path / name, [*TEXTS[:3], "x" * 101], LABELS)
    refused(path, "101 characters; at most 100")
    place = {"notes": "neg/3.txt", "notes.jsonl": "line 4"}.get(name, "row 3")
    refused(path, place)


def test_a_line_that_is_too_long_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_TEXT", 100)
    row = json.dumps({"text": "a", "label": "x"})
    path = write_lines(tmp_path / "notes.jsonl", row, "[" * 201)
    refused(path, "line 2 has 201 characters; at most 100")


def test_a_csv_file_that_is_no_utf8_is_read_as_latin_1_with_a_note(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes.csv", ["one", "two", "three", "four"], LABELS)
    path.write_bytes(path.read_bytes().replace(b"three", b"thr\xe9e"))
    found = read_labelled(path, text="text", label="label", part=None)
    assert "thrée" in found.texts
    assert found.notes == ("read as Latin-1: line 4 is no UTF-8",)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_csv_file_with_one_byte_that_is_no_utf8(tmp_path, mark):
    """As Latin-1 every other letter with an accent would be two wrong ones."""
    path = tmp_path / "notes.csv"
    rest = "text,label\nplain,a\n" if mark else "text,label\ncrème brûlée,a\n"
    path.write_bytes(mark + rest.encode() + b"na\xefve,b\n")
    refused(path, "line 3 is no UTF-8 (byte 0xef), where the rest is")


def test_a_few_letters_that_could_be_utf8_leave_a_file_latin_1(tmp_path):
    rows = [("Der Spaß« begann", "a"), ("Ärger", "b"), ("Öl", "a"), ("über", "b")]
    path = tmp_path / "notes.csv"
    path.write_bytes("\n".join(["text,label", *map(",".join, rows)]).encode("latin-1"))
    found = read_labelled(path, text="text", label="label", part=None)
    assert sorted(found.texts) == sorted(text for text, _ in rows)


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_text_of_blanks_does_not_keep_others_from_being_predicted(tmp_path, blank):
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("one", blank, None)))
    assert read_unlabelled(path, text="text") == (["one", "", ""], ())


def test_json_lines_that_are_no_utf8(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes.jsonl", ["one", "two", "three", "four"], LABELS)
    path.write_bytes(path.read_bytes().replace(b"three", b"thr\xe9e"))
    refused(path, "line 3 is no UTF-8 (byte 0xe9)")


def test_bytes_that_are_no_utf8_in_a_folder(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes", TEXTS, LABELS)
    (path / "pos" / "0.txt").write_bytes(b"fine\n\xff\xfe")
    refused(path, f"{path / 'pos' / '0.txt'}: line 2 is no UTF-8 (byte 0xff)")


def test_half_a_pair_of_surrogates_is_no_text(tmp_path):
    rows = ['{"text": "fine", "label": "a"}', '{"text": "half \\ud83d", "label": "b"}']
    refused(write_lines(tmp_path / "notes.jsonl", *rows), "line 2")


def test_half_a_pair_of_surrogates_is_no_label(tmp_path):
    rows = ['{"text": "fine", "label": "a"}', '{"text": "half", "label": "\\ud83d"}']
    refused(write_lines(tmp_path / "notes.jsonl", *rows), "line 2")


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('{"text": "cut', "line 2 is no JSON"),
        ("[" * 100_000, "line 2 is no JSON"),
        ("[1, 2]", "line 2 must be an object; received list"),
        ('"text"', "line 2 must be an object; received str"),
        ("null", "line 2 must be an object; received NoneType"),
    ],
)
def test_lines_that_are_no_objects(tmp_path, line, part):
    row = json.dumps({"text": "a", "label": "x"})
    refused(write_lines(tmp_path / "notes.jsonl", row, line), part)


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        pytest.param(["text,label", '"cut,pos', "b,neg"], "cannot be read as CSV", id="quote"),
        pytest.param(["text,label", "a,pos", "b,neg,1"], "row 1: must have 2 cells", id="more"),
        pytest.param(["text,label", "a,pos", "b"], "row 1: the label is missing", id="cell less"),
        pytest.param(["text,label"], "there are no texts in it", id="header only"),
        pytest.param([""], "the file is empty", id="blank"),
        pytest.param(["text,text,label", "a,b,x", "a,b,y"], "`text` twice", id="column twice"),
    ],
)
def test_tables_that_are_none(tmp_path, lines, part):
    refused(write_lines(tmp_path / "notes.csv", *lines), part)


@pytest.mark.parametrize("name", ["notes.csv.gz", "notes.jsonl.gz", "notes.jsonl.zip"])
def test_a_truncated_archive(tmp_path, write_texts, text_corpus, name):
    path = tmp_path / name
    plain = write_texts(tmp_path / name.rpartition(".")[0], *text_corpus)
    if name.endswith(".gz"):
        content = gzip.compress(plain.read_bytes())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(plain, plain.name)
        content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path, "truncated or damaged")


@pytest.mark.parametrize("kept", [3, 0.5, 0.99])
def test_a_truncated_parquet_file(tmp_path, write_texts, text_corpus, kept):
    path = write_texts(tmp_path / "notes.parquet", *text_corpus)
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(len(content) * kept)])
    refused(path, "cannot be read as Parquet")


def test_a_parquet_file_of_more_rows_than_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MANY_ROWS", 10_000)
    path = tmp_path / "notes.parquet"
    rows = {"text": ["the same text"] * 100_000, "label": ["pos", "neg"] * 50_000}
    pl.DataFrame(rows).write_parquet(path)
    refused(path, "states 100,000 rows, but has ")


def test_a_parquet_file_that_makes_its_reader_panic(
    tmp_path, write_texts, text_corpus, monkeypatch, capfd
):
    path = write_texts(tmp_path / "notes.parquet", *text_corpus)

    def panic(content):
        os.write(2, b"thread 'async-executor-1' panicked at range.rs\n")
        raise pl.exceptions.PanicException("called `Result::unwrap()`")

    # Which files do so differs between versions; the fuzz test has found some.
    monkeypatch.setattr(pl, "read_parquet", panic)
    refused(path, "cannot be read as Parquet (called `Result::unwrap()`)")
    assert capfd.readouterr().err == ""


def test_an_empty_file_and_an_empty_folder(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    refused(tmp_path / "empty.jsonl", "the file is empty")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "there are no texts in it")


def test_an_empty_file_in_a_folder(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes", TEXTS, LABELS)
    (path / "neg" / "1.txt").write_text(" \n")
    refused(path, "neg/1.txt: the text is empty")
    (path / "neg" / "1.txt").write_text("")
    refused(path, f"{path / 'neg' / '1.txt'}: the file is empty")


def test_a_link_in_a_folder_is_not_followed(tmp_path, write_texts):
    secret = tmp_path / "secret.txt"
    secret.write_text("mine")
    path = write_texts(tmp_path / "notes", TEXTS, LABELS)
    (path / "pos" / "link.txt").symlink_to(secret)
    refused(path, f"{path / 'pos' / 'link.txt'}: must be a plain file")


def test_a_linked_class_is_not_followed(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes", [*TEXTS, "fifth", "sixth"], [*LABELS, "pos", "neg"])
    secret = write_texts(tmp_path / "elsewhere", ["mine"], ["secret"]) / "secret"
    (path / "linked").symlink_to(secret, target_is_directory=True)
    refused(path, f"{path / 'linked'}")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("part", ["valid", "", None, "Train"])
def test_an_unknown_part(tmp_path, write_texts, name, part):
    path = write_texts(tmp_path / name, TEXTS, LABELS, ["train", "test", part, "test"])
    place = "line 3" if "jsonl" in name else "row 2"
    refused(path, place, "the part must be one of train, validation, test", part="split")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_part_that_must_be_there(tmp_path, write_texts, name, missing):
    other = {"train": "test", "test": "train"}[missing]
    path = write_texts(tmp_path / name, TEXTS, LABELS, [other, other, "validation", other])
    column = None if name == "notes" else "split"
    no_training(path, f"there is no {missing} part", part=column)


@pytest.mark.parametrize(
    ("lines", "texts"),
    [
        (("text,label", 'He said "hi" ok,1', '5" nail,2'), ['5" nail', 'He said "hi" ok']),
        (("label,text", '1,5" nail', "2,x"), ['5" nail', "x"]),
    ],
)
def test_a_quote_within_a_cell_is_a_character(tmp_path, lines, texts):
    assert sorted(read(write_lines(tmp_path / "a.csv", *lines)).texts) == texts


def test_a_row_of_too_many_cells_is_named(tmp_path):
    path = write_lines(tmp_path / "a.csv", "text,label", "one,a", "two,b,c", "three,a")
    refused(path, "row 1: must have 2 cells; received 3")


def test_a_folder_holds_no_texts_to_predict(tmp_path):
    with pytest.raises(DataError, match="is a folder; texts are predicted of a"):
        read_unlabelled(tmp_path, text="text")


# Folders


def test_a_folder_of_a_part_by_another_name(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes", TEXTS, LABELS, PARTS)
    (path / "val").mkdir()
    refused(
        path, "val: beside test, train there may be no other folder; parts are train, validation"
    )


def test_a_class_without_a_text(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes", TEXTS, LABELS)
    (path / "other").mkdir()
    (path / "other" / "1").write_text("a text")
    refused(path, "other: has no text: files must end in .txt")


def test_endings_of_texts_and_other_files_in_a_folder(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes", TEXTS, LABELS)
    (path / ".git").mkdir()
    (path / "pos" / "more.TXT").write_text("one more")
    (path / "pos" / "README.md").write_text("no text")
    found = read(path)
    assert "one more" in found.texts
    assert found.notes == ("left out 1 files that do not end in .txt",)


def test_classes_may_be_named_as_parts_are(tmp_path):
    for name in ("test", "bug", "docs"):
        (tmp_path / "notes" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "notes" / name / f"{number}.txt").write_text(f"{name} {number}")
    found = read(tmp_path / "notes")
    assert set(found.labels) == {"test", "bug", "docs"}
    assert found.parts is None


def test_true_and_false_are_the_same_in_every_format(tmp_path):
    frame = pl.DataFrame({"text": TEXTS, "label": [True, False, True, False]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    first, *others = [read(tmp_path / f"a.{ending}") for ending in ("csv", "parquet", "jsonl")]
    assert set(first.labels) == {"true", "false"}
    assert all(other == first for other in others)


def test_names_of_columns_have_no_blanks_at_their_ends(tmp_path):
    path = write_lines(tmp_path / "a.csv", "text, label", "one,a", "two,b")
    assert read(path).labels == ("a", "b")


# Where the configuration is at fault


def test_texts_without_the_column_of_parts_can_be_evaluated_on(tmp_path, write_texts):
    path = write_texts(tmp_path / "notes.csv", TEXTS, LABELS)
    found = read(path, part="split")
    assert found.parts is None
    assert isinstance(found.refusal, ConfigError)
    assert "dataset.split_column" in str(found.refusal)
    assert "no column `split`" in str(found.refusal)


@pytest.mark.parametrize("name", FILES)
def test_columns_wrongly_named_are_told_at_once(tmp_path, write_texts, name):
    path = write_texts(tmp_path / name, TEXTS, LABELS, PARTS)
    with pytest.raises(ConfigError, match=r"no column `txt`\. Did you mean `text`") as caught:
        read(path, text="txt", label="labels", part="part")
    assert [problem.key for problem in caught.value.problems] == [
        "dataset.text",
        "dataset.label",
        "dataset.split_column",
    ]


def test_columns_wrongly_named_below_an_empty_line(tmp_path):
    path = write_lines(tmp_path / "notes.jsonl", "", '{"txt": "a", "label": "x"}')
    with pytest.raises(ConfigError, match="no column `text`"):
        read(path)


@pytest.mark.parametrize("name", ["notes.csv", "notes.jsonl"])
def test_a_message_stays_short_whatever_the_columns_are_called(tmp_path, name):
    key = "x" * 500_000
    path = tmp_path / name
    path.write_text(key if name == "notes.csv" else json.dumps({key: 1, "label": "a"}))
    with pytest.raises(
        (ConfigError, DataError), match=r"no column `text`|header cannot be read"
    ) as caught:
        read(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["notes.txt", "notes", "notes.csv.bz2", "notes.zip", "csv"])
def test_an_unknown_suffix(tmp_path, name):
    path = tmp_path / name
    path.write_text("text,label\na,x\nb,y\n")
    with pytest.raises(ConfigError, match=r"dataset.path: must be a folder or end in .csv, .jsonl"):
        read(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere.jsonl.gz", "nowhere.parquet"])
def test_a_missing_file(tmp_path, name):
    refused(tmp_path / name, "no such file")
