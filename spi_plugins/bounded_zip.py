"""Zip entries and arrays of untrusted files: sizes are checked before memory is taken."""

import io
import math
import zipfile
from typing import IO, Any, cast

import numpy as np

# Files of this project store their entries uncompressed. Those of other tools may unpack to this many times the size of
# the file, all entries together.
_MAX_RATIO = 16
# Text in small files may compress better.
_SLACK = 2**20
_MAX_HEADER = 10_000


class BoundedZip(zipfile.ZipFile):
    """A zip file whose entries are read whole, so that their checksums are verified.

    Args:
        file: open for reading.
        budget: the most bytes to unpack; by default in proportion to the size of the file.
    """

    def __init__(self, file: IO[bytes] | io.BufferedIOBase, budget: int | None = None) -> None:
        super().__init__(cast(IO[bytes], file))
        size = file.seek(0, io.SEEK_END)
        self.budget = _MAX_RATIO * size + _SLACK if budget is None else budget

    def entry(self, name: str, most: float = math.inf) -> bytes:
        """The content of the entry ``name``.

        Raises:
            ValueError: it has more bytes than ``most`` or than the file's size allows, or an unusual compression.
        """
        info = self.getinfo(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"entry {name!r} uses the compression method {info.compress_type}")
        if info.file_size > min(most, self.budget):
            raise ValueError(
                f"entry {name!r} claims to hold {info.file_size} bytes; {min(most, self.budget)} are allowed"
            )
        self.budget -= info.file_size
        with self.open(info) as file:
            # Without a size, read() would unpack everything before it cuts.
            content = file.read(info.file_size)
        if len(content) != info.file_size:
            raise ValueError(f"entry {name!r} holds {len(content)} bytes, not {info.file_size}")
        return content

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """All entries by name, if each is a ``.npy`` file.

        Raises:
            ValueError: an entry is not one, or larger than the file's size allows.
        """
        arrays = {}
        for name in self.namelist():
            try:
                arrays[name.removesuffix(".npy")] = read_npy(self.entry(name))
            except ValueError as error:
                raise ValueError(f"array {name!r}: {error}") from error
        return arrays


def read_npy(content: bytes) -> np.ndarray[Any, Any]:
    """The array in the content of a ``.npy`` file, read-only and without a copy.

    Raises:
        ValueError: it is malformed, holds objects, or its header does not fit the number of bytes.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the .npy format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file, max_header_size=_MAX_HEADER)
    if dtype.hasobject:
        raise ValueError("holds Python objects")
    size = len(content) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"shape {shape} and type {dtype} do not fit {size} bytes")
    array = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    if dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise ValueError("a boolean is neither 0 nor 1")
    return array.reshape(shape[::-1]).T if fortran_order else array.reshape(shape)
