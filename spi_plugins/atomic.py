"""Atomic writes: a killed process leaves the old file or the new one, and the next write clears away its leavings."""

import contextlib
import fcntl
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import BinaryIO

_PREFIX, _SUFFIX = ".spi-", ".tmp"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """An open file that takes the place of ``path`` once it is written in full; missing folders are created.

    Temporary files that killed processes left in the folder are deleted.

    Raises:
        OSError: the file cannot be written; the error names ``path``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        with _temporary(path.parent) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno is None or not (error.filename is None or str(error.filename).endswith(_SUFFIX)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def _temporary(folder: pathlib.Path) -> Iterator[BinaryIO]:
    """A new file in ``folder``, locked while it is written; deleted unless it was renamed."""
    while True:
        name = folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        with name.open("xb") as file:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            if not os.fstat(file.fileno()).st_nlink:
                continue  # another process swept it before it was locked
            try:
                yield file
            except BaseException:
                name.unlink(missing_ok=True)
                raise
            return


def _sweep(folder: pathlib.Path) -> None:
    """Delete the temporary files that are not locked: locks go with their process, however it ends."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        for name in names:
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                with contextlib.suppress(OSError), (folder / name).open("r+b") as file:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    (folder / name).unlink()


def _sync_folder(folder: pathlib.Path) -> None:
    # Some file systems cannot, and the file is there.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
