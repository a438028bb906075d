"""Reviews come out of a pickle; nothing else does, and nothing in it is run."""

import io
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqconv.config.errors import DataError
from seqconv.data import archives
from seqconv.data.pickles import read_npz

LISTS = [[1, 2, 3], [4], [5, 600_000], []]
PATH = Path("reviews.npz")


def as_array(items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npz_of_pickle(pickled, shape=(3,)):
    """An archive whose `x` claims to be an object array."""
    member = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return zipped({"x.npy": member.getvalue() + pickled})


def zipped(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def repacked(content, compression):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return zipped({name: archive.read(name) for name in archive.namelist()}, compression)


def read(content, *names):
    return read_npz(content, names or ("x",), PATH)


# What is read


def test_lists_of_integers():
    found = read(npz(x=as_array(LISTS), y=np.array([0, 1, 1, 0])), "x", "y")
    assert found["x"].tolist() == LISTS
    assert found["y"].tolist() == [0, 1, 1, 0]


def test_lists_of_one_length():
    assert read(npz(x=as_array([[1, 2]] * 3)))["x"].tolist() == [[1, 2]] * 3


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_both_names_of_numpys_module_and_every_protocol(module, protocol):
    pickled = pickle.dumps(as_array(LISTS), protocol=protocol)
    if protocol == 3:
        pickled = re.sub(rb"cnumpy\.?_?core\.multiarray\n", f"c{module}\n".encode(), pickled)
        assert module.encode() in pickled
    assert read(npz_of_pickle(pickled, (4,)))["x"].tolist() == LISTS


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_packed_in_every_way(compression):
    assert read(repacked(npz(x=as_array(LISTS)), compression))["x"].tolist() == LISTS


def test_arrays_that_are_not_asked_for_are_not_read(tmp_path):
    marker = tmp_path / "marker"
    content = npz(x=as_array(LISTS), other=as_array([Runs(os.mkdir, str(marker))]))
    assert read(content)["x"].tolist() == LISTS
    assert not marker.exists()


# What is refused


class Runs:
    """Pickled, it says: call this function."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def refused(content, part, *names):
    with pytest.raises(DataError, match=re.escape(part)) as caught:
        read(content, *names)
    assert str(caught.value).startswith(f"{PATH}: ")


def test_a_hostile_pickle_is_refused_without_running(tmp_path):
    marker = tmp_path / "marker"
    hostile = Runs(os.system, f"touch '{marker}'")
    for item in (hostile, [hostile], [1, hostile]):
        refused(npz(x=as_array([[1], item])), "it asks for posix.system")
    refused(npz_of_pickle(pickle.dumps(hostile)), "it asks for posix.system")
    assert not marker.exists()
    np.load(io.BytesIO(npz(x=as_array([hostile]))), allow_pickle=True)["x"]
    assert marker.exists(), "it would have been run"


@pytest.mark.parametrize(
    "function",
    [eval, getattr, __import__, np.load, np.fromfile, np.frombuffer, np.array, pickle.loads],
)
def test_nothing_may_be_called_but_what_rebuilds_an_array(function):
    refused(npz_of_pickle(pickle.dumps(Runs(function, "1"))), "it asks for ")


@pytest.mark.parametrize("name", ["ndarray.tofile", "ndarray.dump", "dtype.__class__"])
def test_nothing_below_an_allowed_name_may_be_called(name):
    # Protocol 4 looks up dotted names.
    pickled = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    refused(npz_of_pickle(pickled), f"it asks for numpy.{name}")


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(None, id="none"),
        pytest.param(7, id="number"),
        pytest.param("words", id="text"),
        pytest.param((1, 2), id="tuple"),
        pytest.param({1: 2}, id="dict"),
        pytest.param([1.0], id="float"),
        pytest.param([1, True], id="bool"),
        pytest.param([1, None], id="none in a list"),
        pytest.param([[1]], id="list of lists"),
        pytest.param(["1"], id="text in a list"),
    ],
)
def test_what_is_no_list_of_integers(item):
    refused(npz(x=as_array([[1], [2], item])), "`x`, row 2: must be a list of integers")


@pytest.mark.parametrize("items", [[], {"a": 1}, 5, "text", None, (1, 2)])
def test_a_pickle_of_something_else(items):
    refused(npz_of_pickle(pickle.dumps(items)), "`x` cannot be read safely")


@pytest.mark.parametrize("shape", [(4,), (2,), (3, 1), (), (10**12,)])
def test_a_header_that_says_otherwise(shape):
    refused(npz_of_pickle(pickle.dumps(as_array([[1], [2], [3]])), shape), "`x`")


def test_a_table_of_lists():
    table = as_array([[1], [2], [3], [4]]).reshape(2, 2)
    refused(npz(x=table), "`x` must be a list of reviews")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_shape_of_more_than_the_file_holds(compression):
    header = io.BytesIO()
    shape = {"descr": "<i8", "fortran_order": False, "shape": (2**40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    content = zipped({"x.npy": header.getvalue() + bytes(64)}, compression)
    refused(content, "8,796,093,022,208 bytes; received 64")


def test_an_array_that_unpacks_to_too_much(monkeypatch):
    content = repacked(npz(x=np.zeros(10_000)), zipfile.ZIP_DEFLATED)
    assert len(content) < 1000
    monkeypatch.setattr(archives, "LARGEST_UNPACKED", 2**16)
    refused(content, "unpacks to more than a file of its size can hold")


RECONSTRUCT = (np._core.multiarray._reconstruct, np.ndarray, (0,), b"b")
ADDRESSES = b"A" * 24


class Rebuilt(Runs):
    """An array with the state given."""

    def __init__(self, dtype, content):
        function, *arguments = RECONSTRUCT
        self.reduced = (function, tuple(arguments), (1, (3,), dtype, False, content))


class Misled(Runs):
    """A type with the state given."""

    def __init__(self, name, *state):
        self.reduced = (np.dtype, (name, False, True), (3, "|", *state))


def objects():
    return Runs(np.dtype, "O")


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(Runs(np.ndarray, (3,), objects(), ADDRESSES), id="buffer"),
        pytest.param(Rebuilt(objects(), ADDRESSES), id="bytes"),
        pytest.param(Rebuilt(objects(), [[1]]), id="too few items"),
        pytest.param(
            Rebuilt(Misled("O8", None, None, None, -1, -1, 0), ADDRESSES), id="no objects"
        ),
        pytest.param(
            Rebuilt(Misled("V8", (np.dtype("O"), (1,)), None, None, 8, 1, 0), ADDRESSES),
            id="objects below",
        ),
        pytest.param(
            Rebuilt(Misled("V8", None, ("a",), {"a": (np.dtype("O"), 4096)}, 8, 1, 27), ADDRESSES),
            id="field beyond the end",
        ),
    ],
)
def test_bytes_are_not_taken_for_addresses(hostile):
    # numpy's own classes can be told to, which ends the process or worse.
    refused(npz_of_pickle(pickle.dumps(hostile)), "`x`")


# Files that are no such archive


def test_a_missing_array_is_named():
    content = npz(x=as_array(LISTS), y=np.array([1]))
    refused(content, "no array `z` in it; found ['x.npy', 'y.npy']", "x", "z")


@pytest.mark.parametrize(
    "content",
    [b"", b"nothing of the kind", b"PK\x03\x04" + bytes(100), zipped({})[:-1]],
)
def test_no_archive(content):
    refused(content, "not an npz file, truncated or damaged")


@pytest.mark.parametrize("member", [b"", b"\x93NUMPY", b"\x93NUMPY\x03\x00", b"text\n" * 9])
def test_no_array_in_it(member):
    refused(zipped({"x.npy": member}), "`x` cannot be read safely")


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.99])
def test_truncated(kept):
    content = npz(x=as_array(LISTS * 50))
    refused(content[: int(len(content) * kept)], "not an npz file, truncated or damaged")


def test_a_pickle_cut_off():
    pickled = pickle.dumps(as_array(LISTS))
    for kept in range(0, len(pickled), 7):
        refused(npz_of_pickle(pickled[:kept], (4,)), "`x`")
