"""`seqconv data`, over a server on loopback that stands in for the web."""

import dataclasses
import functools
import http.server
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from seqconv.cli import tools as commands
from seqconv.config.registry import DATASETS
from seqconv.data import checksums
from seqconv.data.cache import Remote
from seqconv.data.datasets import jena
from seqconv.data.kept_tables import load_or_make
from seqconv.data.store import Store


@pytest.fixture
def served(write_jena, aside, in_empty_folder, monkeypatch):
    """The Jena record, short and simulated, where `jena.REMOTE` leads."""
    path = write_jena(aside / "jena_climate_2009_2016.csv.zip", 500)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(aside))
    handler.log_message = lambda *arguments: None
    monkeypatch.setattr(
        http.server.SimpleHTTPRequestHandler, "log_message", lambda *arguments: None
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/{path.name}"
    remote = Remote(url, path.name, size=path.stat().st_size)
    entry = DATASETS.get("jena")
    download = dataclasses.replace(entry.download, remote=remote)
    monkeypatch.setitem(DATASETS._entries, "jena", dataclasses.replace(entry, download=download))
    monkeypatch.setattr(jena, "REMOTE", remote)
    monkeypatch.setattr(jena, "REMOTE_ROWS", 500)
    yield path
    server.shutdown()
    thread.join()
    server.server_close()


def invoke(*words):
    return CliRunner().invoke(commands.app, ["data", *words])


def test_list_fetch_list_clear(served):
    assert "not fetched" in invoke("list").output
    fetched = invoke("fetch", "jena")
    assert fetched.exit_code == 0, fetched.output
    assert "MB" in invoke("list").output
    again = invoke("fetch", "jena")
    assert again.output.splitlines()[-1] == fetched.output.splitlines()[-1]
    assert invoke("clear", "jena").output.count("removed") == 2
    assert "not fetched" in invoke("list").output
    assert "nothing to remove" in invoke("clear").output


def test_clear_removes_what_is_kept_of_files_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path))
    kept = ["tables/" + "ab" * 16 + "/table.json", "prepared/ridge-" + "01" * 16 + ".npz"]
    others = ["tables/mine.csv", "tables/.writing-x/values", "prepared/notes.txt", "data.csv"]
    for name in (*kept, "checksums/66-1234.json", *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")

    assert invoke("clear", "jena").output == "nothing to remove\n"
    assert invoke("clear").output.count("removed ") == 3
    assert sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    ) == sorted(others)


def test_clear_finds_what_a_run_keeps(tmp_path, monkeypatch):
    def make(writer):
        writer.write(None, np.zeros((3, 2)), None)
        writer.finish({})

    monkeypatch.setenv("SEQCONV_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(checksums, "SMALL_BYTES", 0)
    monkeypatch.setattr(checksums, "SETTLED_SECONDS", -1)
    load_or_make({}, make, keep=True)
    for kind in ("ridge", "nbsvm", "imdb", "text"):
        Store(kind, 1, {}).save({"weights": np.zeros(3)})
    (tmp_path / "table.csv").write_text("x,y")
    with (tmp_path / "table.csv").open("rb") as stream:
        checksums.file_checksum(stream)

    assert invoke("clear").output.count("removed ") == 6
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_training_downloads_once(served, command):
    words = ["dataset=jena", "model=conv1d", "trainer=smoke", "lookback=48", "step=6", "delay=6"]
    words += ["model.filters=[8]", "split.train_end=0.5", "split.validation_end=0.75"]
    sources = []
    for _ in range(2):
        code, stdout, stderr = command(words)
        assert code == 0, stderr
        metrics = json.loads((Path(json.loads(stdout)["run_dir"]) / "metrics.json").read_text())
        sources.append(metrics["dataset"]["source"])

    assert sources == ["download", "cache"]


def test_a_download_of_other_length_is_refused_and_not_kept(served, monkeypatch, tmp_path):
    monkeypatch.setattr(jena, "REMOTE_ROWS", 420_551)
    refused = invoke("fetch", "jena")

    assert "must have 420,551 rows; received 500" in str(refused.exception)
    assert not list((tmp_path / "cache").iterdir())


def test_check_prints_what_is_in_a_file(served):
    found = json.loads(invoke("check", str(served), "--json").output)

    assert found["rows"] == 500
    assert found["period_seconds"] == 600
    assert "rows" in invoke("check", str(served)).output


def test_an_unknown_dataset_is_wrong_usage(served):
    for verb in ("fetch", "clear"):
        answer = invoke(verb, "jna")
        assert answer.exit_code == 2
        assert "jena" in answer.output
