"""Downloads are whole and verified, or leave nothing. The only server is one on this machine."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from small_records import csv_text, noise, stamps, zipped

from seqconv.config.errors import DataError
from seqconv.data import cache
from seqconv.data.cache import Remote, cached, download, remove
from seqconv.data.datasets import jena
from seqconv.data.weather import COLUMNS

CONTENT = bytes(range(256)) * 200
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves the server's `content` at `/good`, and misbehaves elsewhere."""

    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.content
        if self.path.startswith("/error/"):
            self.send_error(int(self.path.removeprefix("/error/")))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # HTTP/1.0: the connection is closed after the answer, here in the middle of it.
        self.wfile.write(content[: len(content) // 2] if self.path == "/cut" else content)

    def log_message(self, *_):
        """Nothing."""


class Server(HTTPServer):
    content = CONTENT

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []

    def remote(self, path="/good", **facts) -> Remote:
        url = f"http://127.0.0.1:{self.server_address[1]}{path}"
        return Remote(**({"url": url, "filename": "data.bin"} | facts))


@contextlib.contextmanager
def serving():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The cache; it does not exist yet."""
    chosen = tmp_path / "cache"
    monkeypatch.setenv("SEQCONV_DATA_DIR", str(chosen))
    return chosen


def accept(path):
    """Whatever it is."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put_in_cache(folder: Path, content=CONTENT, pin=None) -> Remote:
    """A file in the cache, as a download leaves it."""
    remote = Remote(url="https://example.invalid/data.bin", filename="data.bin")
    folder.mkdir()
    (folder / "data.bin").write_bytes(content)
    pin = json.dumps({"sha256": SHA256}) if pin is None else pin
    (folder / "data.bin.json").write_text(pin)
    return remote


def test_a_cache_that_may_not_be_searched(folder, monkeypatch):
    remote = put_in_cache(folder)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DataError, match=r"data.bin: cannot be read \(Permission denied\)"):
        cached(remote)


# A download


@pytest.mark.parametrize("facts", [{}, {"size": len(CONTENT)}, {"sha256": SHA256}])
def test_a_good_file_lands_with_its_checksum(server, folder, facts):
    remote = server.remote(**facts)
    assert cached(remote) is None
    seen = []
    path = download(remote, lambda staged: seen.append((staged.name, staged.read_bytes())))
    assert path == folder / "data.bin"
    assert path.read_bytes() == CONTENT
    assert seen == [("data.bin", CONTENT)]
    assert names(folder) == ["data.bin", "data.bin.json"]
    pin = json.loads((folder / "data.bin.json").read_text())
    assert pin == {"sha256": SHA256, "size": len(CONTENT), "url": remote.url}
    assert cached(remote) == path
    assert server.requests == ["/good"]


def refuse(path):
    raise DataError(f"{path.name}: not what it should be")


@pytest.mark.parametrize(
    ("path", "facts", "verify", "message"),
    [
        ("/good", {"size": 99}, accept, "must have 99 bytes; received 51,200$"),
        ("/good", {"sha256": "0" * 64}, accept, f"must have sha256 0{{64}}; received {SHA256}$"),
        ("/good", {}, refuse, "^data.bin: not what it should be$"),
        ("/error/404", {}, accept, r"/error/404: cannot be downloaded \(HTTPError\)"),
        ("/error/500", {}, accept, r"/error/500: cannot be downloaded \(HTTPError\)"),
        ("/cut", {}, accept, r"/cut: cannot be downloaded \(\w+\)\. Give a local copy"),
        ("/cut", {"size": len(CONTENT)}, accept, "cannot be downloaded"),
    ],
    ids=["size", "sha256", "verify", "404", "500", "cut", "cut with size"],
)
def test_a_bad_file_leaves_nothing(server, folder, path, facts, verify, message):
    remote = server.remote(path, **facts)
    with pytest.raises(DataError, match=message):
        download(remote, verify)
    assert names(folder) == []
    assert cached(remote) is None


def test_no_connection_leaves_nothing(folder, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as gone:
        remote = gone.remote()
    with pytest.raises(DataError, match=r"cannot be downloaded \(ConnectionError\)"):
        download(remote, accept)
    assert names(folder) == []


def test_any_error_of_a_check_leaves_nothing(server, folder):
    def interrupt(path):
        raise KeyboardInterrupt("in the middle")

    with pytest.raises(KeyboardInterrupt, match="in the middle"):
        download(server.remote(), interrupt)
    assert names(folder) == []


def test_a_refused_download_leaves_the_file_that_was_there(server, folder):
    remote = server.remote()
    path = download(remote, accept)
    server.content = b"changed on the server"
    with pytest.raises(DataError, match="not what it should be"):
        download(remote, refuse)
    assert names(folder) == ["data.bin", "data.bin.json"]
    assert cached(remote) == path
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["/good", "/cut"])
def test_the_progress_bar_ends_with_the_download(server, path):
    before = set(threading.enumerate())
    with contextlib.suppress(DataError):
        download(server.remote(path), accept)
    # Else it holds the terminal: its cursor stays hidden and the error is drawn over.
    assert set(threading.enumerate()) - before == set()


def test_a_cache_that_cannot_be_made(server, folder):
    folder.write_text("a file in the way")
    with pytest.raises(
        DataError, match=r"cache: the data cache cannot be written .*SEQCONV_DATA_DIR"
    ):
        download(server.remote(), accept)
    assert server.requests == []


# The cache


def test_what_is_pinned_is_trusted(folder):
    assert cached(put_in_cache(folder)) == folder / "data.bin"


@pytest.mark.parametrize(
    ("content", "pin"),
    [
        (CONTENT[:-1], None),
        (b"", None),
        (CONTENT[:-1] + b"x", None),
        (CONTENT, "{}"),
        (CONTENT, "[]"),
        (CONTENT, '{"sha256": null}'),
        (CONTENT, "half a pi"),
        (CONTENT, ""),
    ],
)
def test_what_differs_from_its_checksum_is_refused(folder, content, pin):
    remote = put_in_cache(folder, content, pin)
    with pytest.raises(DataError, match=r"data.bin: differs from .*`seqconv data clear`"):
        cached(remote)


def test_a_file_without_checksum_is_refused(folder):
    remote = put_in_cache(folder)
    (folder / "data.bin.json").unlink()
    with pytest.raises(DataError, match=r"data\.bin: differs from what was downloaded"):
        cached(remote)


def test_a_checksum_known_beforehand_counts_more_than_the_pin(folder):
    put_in_cache(folder)
    wanted = Remote(url="https://example.invalid/", filename="data.bin", sha256="0" * 64)
    with pytest.raises(DataError, match=r"data\.bin: differs from what was downloaded"):
        cached(wanted)


def test_a_folder_in_the_place_of_the_file_is_refused(folder):
    (folder / "data.bin").mkdir(parents=True)
    with pytest.raises(DataError, match=r"data\.bin: "):
        cached(Remote(url="https://example.invalid/", filename="data.bin"))


def test_remove(server, folder):
    remote = server.remote()
    assert remove(remote) == []
    download(remote, accept)
    (folder / "other").write_text("stays")
    assert remove(remote) == [folder / "data.bin", folder / "data.bin.json"]
    assert names(folder) == ["other"]
    assert cached(remote) is None


def test_remove_takes_a_file_that_lost_its_checksum(folder):
    remote = put_in_cache(folder)
    (folder / "data.bin.json").unlink()
    assert remove(remote) == [folder / "data.bin"]


def test_cache_folder(monkeypatch, tmp_path):
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEQCONV_DATA_DIR", "~/data")
    assert cache.cache_folder() == tmp_path / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for unset in (None, ""):
        if unset is None:
            monkeypatch.delenv("SEQCONV_DATA_DIR")
        else:
            monkeypatch.setenv("SEQCONV_DATA_DIR", unset)
        assert cache.cache_folder().name == "seqconv"


# Jena's record through it

ROWS = 60
VALUES = noise(ROWS, len(COLUMNS))
RECORD = zipped({"jena.csv": csv_text(stamps(ROWS), VALUES, COLUMNS).encode()})


@pytest.fixture
def small_jena(server, monkeypatch) -> Server:
    server.content = RECORD
    remote = server.remote(filename="jena.csv.zip", size=len(RECORD))
    monkeypatch.setattr(jena, "REMOTE", remote)
    monkeypatch.setattr(jena, "REMOTE_ROWS", ROWS)
    return server


def config(path=None) -> jena.JenaConfig:
    return jena.JenaConfig(name="jena", path=path, targets=("T (degC)",), features=None)


def test_jena_is_downloaded_once(small_jena, folder):
    assert jena.find(None) == (folder / "jena.csv.zip", "download")
    assert jena.find(None) == (folder / "jena.csv.zip", "cache")
    assert small_jena.requests == ["/good"]


@pytest.mark.usefixtures("small_jena")
def test_jena_says_where_the_data_came_from():
    first, second = (jena.load(config()) for _ in range(2))
    assert [record.source for record in (first, second)] == ["download", "cache"]
    fingerprint = f"sha256:{hashlib.sha256(RECORD).hexdigest()}"
    assert first.fingerprint == second.fingerprint == fingerprint
    np.testing.assert_array_equal(first.values, VALUES.astype(np.float32))


def test_jena_of_another_length_is_no_jena(small_jena, folder, monkeypatch):
    monkeypatch.setattr(jena, "REMOTE_ROWS", ROWS + 1)
    with pytest.raises(DataError, match="must have 61 rows; received 60"):
        jena.find(None)
    assert names(folder) == []
    assert small_jena.requests == ["/good"]


def test_a_web_page_instead_of_jena(small_jena, folder, monkeypatch):
    small_jena.content = b"<html>Sign in to the network</html>"
    monkeypatch.setattr(jena, "REMOTE", small_jena.remote())
    with pytest.raises(DataError, match="no column `Date Time`"):
        jena.find(None)
    assert names(folder) == []


def test_a_local_file_needs_no_cache(small_jena, folder, tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text(csv_text(stamps(ROWS), VALUES, COLUMNS))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jena.find("~/mine.csv") == (tmp_path / "mine.csv", "file")
    data = jena.load(config("~/mine.csv"))
    assert data.source == "file"
    assert small_jena.requests == []
    assert not folder.exists()


def test_a_missing_local_file_is_not_replaced_by_a_download(small_jena):
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        jena.load(config("none.csv"))
    assert small_jena.requests == []
