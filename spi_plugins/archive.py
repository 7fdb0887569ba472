"""Files of JSON and plain arrays: a zip whose entries are ``data`` and ``state.npz``, nothing that is unpickled.

Loading a stranger's file can run no code. Writes are atomic: a killed process leaves the old file or the new one.
"""

import io
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from spi_plugins.errors import ModelFileError

PathOrFile: TypeAlias = str | pathlib.Path | io.BufferedIOBase | BinaryIO


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        name: stands in the file.
        version: the newest that this release reads, and the one that it writes.
        what: for messages, as in "no spi-plugins model".
    """

    name: str
    version: int
    what: str


class Archive(NamedTuple):
    """What a file holds."""

    data: dict[str, Any]
    arrays: dict[str, np.ndarray[Any, Any]]

    def part(self, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays whose name begins with ``prefix``, without it."""
        return {key[len(prefix) :]: value for key, value in self.arrays.items() if key.startswith(prefix)}


def zip_path(path: str | pathlib.Path, *, for_reading: bool) -> pathlib.Path:
    """SB3's habit: ``.zip`` is appended where there is no suffix."""
    path = pathlib.Path(path)
    if path.suffix == "" and not (for_reading and path.is_file()):
        path = path.with_name(path.name + ".zip")
    return path


def write_archive(
    target: PathOrFile,
    kind: Format,
    data: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    texts: Mapping[str, str],
) -> None:
    """Write to a path (atomically, missing folders are made) or into an open binary file.

    Args:
        target: where; ``.zip`` is appended to a path without a suffix.
        kind: of the file.
        data: what JSON can hold.
        arrays: by name.
        texts: further entries by name.
    """
    packed = io.BytesIO()
    np.savez(packed, **dict(arrays))  # type: ignore[arg-type]
    content = io.BytesIO()
    # Trained weights do not compress; storing them keeps frequent checkpoints cheap.
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        header = {"format": kind.name, "format_version": kind.version}
        archive.writestr("data", json.dumps({**header, **data}, indent=1, allow_nan=True))
        archive.writestr("state.npz", packed.getvalue())
        for name, text in texts.items():
            archive.writestr(name, text)
    if isinstance(target, str | os.PathLike):
        write_atomically(zip_path(target, for_reading=False), content.getbuffer())
    else:
        target.write(content.getbuffer())


def write_atomically(path: pathlib.Path, content: memoryview) -> None:
    """Write a file so that a killed process leaves the old one or the new one; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only the owner can read; give the usual permissions instead.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException:
        pathlib.Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_archive(source: PathOrFile, kind: Format, *, otherwise: str) -> Archive:
    """Read what ``write_archive`` wrote.

    Args:
        source: a path, with or without ``.zip``, or an open binary file.
        kind: that it must be.
        otherwise: what to say of a file of another kind.

    Raises:
        FileNotFoundError: there is no such file.
        ModelFileError: the file is damaged, of another kind, or comes from a newer version.
    """
    name = str(source)
    if isinstance(source, str | os.PathLike):
        path = zip_path(source, for_reading=True)
        name = str(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no {kind.what} file {name}.")
        source = io.BytesIO(path.read_bytes())
    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            data = json.loads(archive.read("data")) if "data" in names else {}
            if not isinstance(data, dict) or data.get("format") != kind.name:
                raise ModelFileError(
                    f"{name} is no spi-plugins {kind.what}, or damaged; its entries: {sorted(names)[:8]}. {otherwise}"
                )
            if data["format_version"] > kind.version:
                raise ModelFileError(
                    f"{name} has format version {data['format_version']}; this release reads up to "
                    f"{kind.version}. Upgrade spi-plugins."
                )
            with np.load(io.BytesIO(archive.read("state.npz")), allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
    except ModelFileError:
        raise
    except Exception as error:  # zip, JSON and npy readers raise a dozen different types on damaged input
        raise ModelFileError(
            f"{name} is damaged or no {kind.what} file: {type(error).__name__}: {error}."
        ) from error
    return Archive(data, arrays)
