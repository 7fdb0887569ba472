"""Files that are damaged or made to do damage: one documented error that names the file, and no memory taken."""

import io
import json
import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from spi_plugins.archive import Format, read_archive, write_archive
from spi_plugins.arrays import restore_arrays
from spi_plugins.bounded_zip import read_npy
from spi_plugins.errors import ModelFileError
from spi_plugins.space_json import decode_space

KIND = Format("test", 2, "test")
DATA = {"name": "x", "numbers": [1, 2.5, None]}
ARRAYS = {
    "weights": np.linspace(0.0, 1.0, 12, dtype=np.float32).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "number": np.float64(2.5),
}


@pytest.fixture
def path(tmp_path):
    write_archive(tmp_path / "file.zip", KIND, DATA, ARRAYS)
    return tmp_path / "file.zip"


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(shape, descr="<f4"):
    """The content of a ``.npy`` file that has a header only."""
    file = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def archive(entries, method=zipfile.ZIP_STORED, data=DATA):
    """The content of a file with these entries in ``state.npz``."""
    state, file = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(state, "w", method) as inner:
        for name, content in entries.items():
            inner.writestr(name, content)
    with zipfile.ZipFile(file, "w", method) as outer:
        outer.writestr("data", json.dumps({"format": "test", "format_version": 2, **data}))
        outer.writestr("state.npz", state.getvalue())
    return file.getvalue()


def same(file):
    assert {name: file.data[name] for name in DATA} == DATA
    assert file.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)


def test_what_is_written_is_read_back_from_a_path_or_an_open_file(path):
    same(read_archive(path, KIND))
    same(read_archive(path.with_suffix(""), KIND))
    with path.open("rb") as file:
        same(read_archive(file, KIND))
    memory = io.BytesIO()
    write_archive(memory, KIND, DATA, ARRAYS)
    same(read_archive(memory, KIND))


def test_a_file_that_another_tool_compressed_is_read(path):
    entries = {f"{name}.npy": npy(array) for name, array in ARRAYS.items()}
    path.write_bytes(archive(entries, zipfile.ZIP_DEFLATED))
    same(read_archive(path, KIND))


def test_every_truncated_file_is_refused(path):
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match=re.escape(str(path))):
            read_archive(path, KIND)


def test_a_flipped_bit_is_refused_or_makes_no_difference(path):
    content, refused = path.read_bytes(), 0
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content), size=1500):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            same(read_archive(path, KIND))  # a date or the like
        except ModelFileError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"x.npy": header((2**40,))}, "'x.npy': shape .* do not fit 0 bytes"),
        ({"x.npy": header((-1,)) + bytes(4)}, "do not fit 4 bytes"),
        ({"x.npy": header((0, 2**62)) + bytes(4)}, "do not fit 4 bytes"),
        ({"x.npy": header((1,), "|O") + bytes(8)}, "holds Python objects"),
        ({"x.npy": header((2,), "|b1") + b"\1\2"}, "neither 0 nor 1"),
        ({"x.npy": b"\x93NUMPY\7\0"}, r"version \(7, 0\)"),
        ({"x.npy": npy(np.ones(3)) + b"more"}, "do not fit 28 bytes"),
        ({"x.txt": b"hello"}, "'x.txt'"),
    ],
)
def test_arrays_that_lie_about_their_size_are_refused(path, entries, message):
    path.write_bytes(archive(entries))
    with pytest.raises(ModelFileError, match=message) as caught:
        read_archive(path, KIND)
    assert str(path) in str(caught.value)


def lying(zeros):
    """An archive whose directory says that an entry has 10 bytes, where it unpacks to many more."""
    size = len(zeros).to_bytes(4, "little")
    return archive({"x.npy": zeros}, zipfile.ZIP_DEFLATED).replace(size, (10).to_bytes(4, "little"))


@pytest.mark.parametrize(
    "bomb",
    [
        lambda zeros: archive({"x.npy": zeros}, zipfile.ZIP_DEFLATED),
        lambda zeros: archive({f"{i}.npy": zeros[: 2**22] for i in range(16)}, zipfile.ZIP_DEFLATED),
        lambda zeros: archive({}, zipfile.ZIP_DEFLATED, {"x": "0" * len(zeros)}),
        lambda zeros: archive({"x.npy": zeros}, zipfile.ZIP_LZMA),
        lying,
    ],
)
def test_bombs_are_refused_before_they_take_memory(path, bomb):
    path.write_bytes(bomb(npy(np.zeros(2**24, np.float32))))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="damaged"):
        read_archive(path, KIND)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_entries_that_share_their_bytes_are_refused(path):
    """Many names for the same bytes: small on the disk, large when each is unpacked."""
    state = io.BytesIO()
    with zipfile.ZipFile(state, "w") as inner:
        inner.writestr("x.npy", npy(np.zeros(2**17, np.float64)))
        inner.filelist *= 40
    path.write_bytes(archive({}))
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("data", json.dumps({"format": "test", "format_version": 2}))
        outer.writestr("state.npz", state.getvalue())
    with pytest.raises(ModelFileError, match="claims to hold"):
        read_archive(path, KIND)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.0, np.nan]), "layer/bias holds NaN or infinity"),
        (np.array([1.0, -np.inf]), "layer/bias holds NaN or infinity"),
        (np.array([1.0, 1e300]), "layer/bias holds NaN or infinity"),
        (np.array(["a", "b"]), "layer/bias holds <U1, expected numbers"),
        (np.zeros(3), r"layer/bias has shape \(3,\), expected \(2,\)"),
    ],
)
def test_weights_that_no_network_has_are_refused_by_name(array, message):
    target = {"layer": {"bias": np.zeros(2, np.float32)}, "count": np.zeros((), np.int32)}
    with pytest.raises(ModelFileError, match=f"^The weights do not fit this model: {message}"):
        restore_arrays(target, {"layer/bias": array, "count": np.int32(0)}, what="The weights")
    for count in (np.float32(1.0), np.int64(2**40)):
        with pytest.raises(ModelFileError, match="count holds"):
            restore_arrays(target, {"layer/bias": np.zeros(2), "count": count}, what="The weights")
    restored = restore_arrays(target, {"layer/bias": np.ones(2), "count": np.int64(3)}, what="The weights")
    assert restored["layer"]["bias"].dtype == np.float32
    assert restored["count"] == 3


def test_a_space_of_terabytes_is_refused():
    box = {"type": "Box", "shape": [2**20, 2**20], "dtype": "float32", "low": 0, "high": 1}
    for stored in (box, {"type": "Dict", "spaces": {"a": {"type": "Dict", "spaces": {"b": box}}}}):
        with pytest.raises(ModelFileError, match="a space of 4398046511104 bytes"):
            decode_space(stored)
    small = {**box, "shape": [2**12, 2**10]}
    with pytest.raises(ModelFileError, match="a space of 83886080 bytes"):
        decode_space({"type": "Dict", "spaces": dict.fromkeys("abcde", small)})


def test_an_array_of_a_file_is_not_copied():
    content = npy(np.arange(1000))
    assert np.shares_memory(read_npy(content), np.frombuffer(content, np.uint8))
