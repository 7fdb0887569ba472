"""Files of JSON and plain arrays: a zip with the entries ``data`` and ``state.npz``. Nothing is unpickled.

Loading an untrusted file cannot run code. Writes are atomic: a killed process leaves the old file or the new one.
"""

import contextlib
import io
import json
import os
import pathlib
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from spi_plugins.atomic import replacing
from spi_plugins.bounded_zip import BoundedZip
from spi_plugins.errors import ModelFileError

# The most bytes of JSON. The bounds of an image's space, number by number, take some megabytes.
_MAX_DESCRIPTION = 2**25

PathOrFile: TypeAlias = str | pathlib.Path | io.BufferedIOBase | BinaryIO


class Format(NamedTuple):
    """A kind of file.

    Attributes:
        name: stored in the file.
        version: the one written, and the newest that can be read.
        what: the noun used in messages, such as ``"world model"``.
        otherwise: what to say about a file of another kind.
        suffix: appended to a path that has none.
        finite: prefixes of the arrays that must not hold NaN or infinity.
    """

    name: str
    version: int
    what: str
    otherwise: str = ""
    suffix: str = ".zip"
    finite: tuple[str, ...] = ()


class Archive(NamedTuple):
    """The contents of a file.

    Attributes:
        name: of the file, for messages.
        data: its description.
        arrays: its arrays by name.
    """

    name: str
    data: dict[str, Any]
    arrays: dict[str, np.ndarray[Any, Any]]

    def part(self, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays whose names begin with ``prefix``, named without it."""
        return {key[len(prefix) :]: value for key, value in self.arrays.items() if key.startswith(prefix)}


def existing_file(path: str | os.PathLike[str], what: str, suffix: str = ".zip") -> pathlib.Path:
    """The file at ``path``, which may lack its suffix; ``what`` is the noun for messages.

    Raises:
        FileNotFoundError: it does not exist.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        file = _with_suffix(file, suffix)
    if not file.is_file():
        raise FileNotFoundError(f"There is no {what} file {file}.")
    return file


def _with_suffix(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    path = pathlib.Path(path)
    return path if path.suffix else path.with_name(path.name + suffix)


def write_archive(
    target: PathOrFile,
    kind: Format,
    data: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write to a path (atomically, creating missing folders) or into an open binary file.

    Args:
        target: the path or file; a path without a suffix gets that of ``kind``.
        kind: the file's format.
        data: the description, which JSON must be able to hold.
        arrays: arrays by name.
        texts: further entries by name.

    Raises:
        ValueError: an array has NaN or infinity that it must not have; nothing is written.
        OSError: the file cannot be written.
    """
    for name, array in arrays.items():
        if name.startswith(kind.finite) and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(
                f"{name} holds NaN or infinity; a {kind.what} file with it could not be loaded again."
            )
    if isinstance(target, str | os.PathLike):
        with replacing(_with_suffix(target, kind.suffix)) as file:
            write_archive(file, kind, data, arrays, texts)
        return
    header = {"format": kind.name, "format_version": kind.version}
    description = json.dumps({**header, **data}, indent=1, allow_nan=True)
    if len(description) > _MAX_DESCRIPTION:
        raise ValueError(
            f"The description takes {len(description)} bytes of JSON; {_MAX_DESCRIPTION} are allowed."
        )
    # Trained weights do not compress; storing them keeps frequent checkpoints cheap.
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("data", description)
        with archive.open("state.npz", "w", force_zip64=True) as state:
            np.savez(state, **dict(arrays))  # type: ignore[arg-type]
        for name, text in (texts or {}).items():
            archive.writestr(name, text)


def write_atomically(path: pathlib.Path, content: memoryview | bytes) -> None:
    """Write a file so that a killed process leaves the old one or the new one; missing folders are created."""
    with replacing(path) as file:
        file.write(content)


def read_archive(source: PathOrFile, kind: Format) -> Archive:
    """Read what ``write_archive`` wrote. Sizes are checked before memory is taken.

    Args:
        source: a path, with or without its suffix, or an open binary file.
        kind: the format that the file must have.

    Raises:
        FileNotFoundError: the file does not exist.
        ModelFileError: the file is damaged, of another kind, or from a newer version.
    """
    if isinstance(source, str | os.PathLike):
        path = existing_file(source, kind.what, kind.suffix)
        with path.open("rb") as file:
            return _read(file, str(path), kind)
    if not hasattr(source, "read"):
        raise TypeError(f"A {kind.what} file is given as a path or an open binary file, got {source!r}.")
    return _read(source, str(source), kind)


def _read(source: BinaryIO | io.BufferedIOBase, name: str, kind: Format) -> Archive:
    try:
        with BoundedZip(source) as archive:
            file = Archive(name, {}, {})
            if "format.npy" in archive.namelist():
                file = _bare(archive, name)
            elif "data" in archive.namelist():
                file = file._replace(data=json.loads(archive.entry("data", _MAX_DESCRIPTION)))
            if not isinstance(file.data, dict) or file.data.get("format") != kind.name:
                raise ModelFileError(
                    f"{name} is not a spi-plugins {kind.what} file, or is damaged; its entries: "
                    f"{sorted(archive.namelist())[:8]}. {kind.otherwise}".rstrip()
                )
            if file.data["format_version"] > kind.version:
                raise ModelFileError(
                    f"{name} has format version {file.data['format_version']}; this release reads up to "
                    f"{kind.version}. Upgrade spi-plugins."
                )
            if not file.arrays:
                with BoundedZip(io.BytesIO(archive.entry("state.npz")), archive.budget) as state:
                    file = file._replace(arrays=state.arrays())
            return file
    except ModelFileError:
        raise
    except Exception as error:  # zip, JSON and npy readers raise a dozen different types on damaged input
        raise ModelFileError(f"{name} is damaged or not a {kind.what} file: {_sentence(error)}") from error


def _bare(archive: BoundedZip, path: str) -> Archive:
    """A replay buffer of format version 1: arrays only, the numbers that describe it among them."""
    arrays = archive.arrays()
    scalars = {name: array.item() for name, array in arrays.items() if array.ndim == 0}
    name, _, version = str(scalars["format"]).rpartition(" ")
    data = {**scalars, "format": name, "format_version": int(version)}
    return Archive(path, data, {name: array for name, array in arrays.items() if array.ndim})


@contextlib.contextmanager
def describing(name: Any) -> Iterator[None]:
    """Turn every error of decoding the file ``name`` into a ``ModelFileError`` that says so."""
    try:
        yield
    except ModelFileError as error:
        if str(name) in str(error):
            raise
        raise ModelFileError(f"{name}: {error}") from error
    except Exception as error:  # garbled numbers and names fail anywhere below, in Gymnasium with assertions
        raise ModelFileError(
            f"{name} is damaged, its description is incomplete or garbled: {_sentence(error)}"
        ) from error


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).rstrip('.')}."
